"""A pytorch_model.bin as torch.save writes it, without PyTorch: what torch_pickle.py reads, the other way round."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deberta_ref.precision import Array

STORAGES = {"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage"}


def write(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write tensors under their names, each with a storage of its own: torch.load opens it with weights_only=True."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _pickle(tensors))
        archive.writestr("archive/byteorder", "little")
        for key, tensor in enumerate(tensors.values()):
            with archive.open(f"archive/data/{key}", "w", force_zip64=True) as record:
                record.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).data.cast("B"))
        archive.writestr("archive/version", "3\n")


def _pickle(tensors: Mapping[str, Array]) -> bytes:
    """The program that rebuilds the mapping, in protocol 2, operation by operation."""
    entries = b"".join(_text(name) + _rebuilt(key, tensor) for key, (name, tensor) in enumerate(tensors.items()))
    return b"\x80\x02" + b"ccollections\nOrderedDict\n)R" + b"(" + entries + b"u."  # PROTO, {} by REDUCE, SETITEMS


def _rebuilt(key: int, tensor: Array) -> bytes:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)."""
    kind = b"ctorch\n" + STORAGES[tensor.dtype.name].encode() + b"\n"
    storage = b"(" + _text("storage") + kind + _text(str(key)) + _text("cpu") + _int(tensor.size) + b"tQ"  # BINPERSID
    strides = [int(np.prod(tensor.shape[axis + 1 :], dtype=int)) for axis in range(tensor.ndim)]
    layout = _int(0) + _tuple(tensor.shape) + _tuple(strides) + b"\x89" + b"ccollections\nOrderedDict\n)R"  # NEWFALSE
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + layout + b"tR"


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _int(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)  # LONG1


def _tuple(values: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"
