"""A pytorch_model.bin as arrays mapped from the disk, whichever of its two containers torch.save wrote it in.

Its pickle describes the tensors; unpickle.py reads it without executing it. Here every description is held
against the bytes that lie in the file before it is believed.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deberta_ref.checkpoints.safetensors_map import widened
from deberta_ref.checkpoints.torch.unpickle import MEND, SAVE, Storage, Tensor, evaluate, short

Bytes = NDArray[np.uint8]

ZIP = b"PK\x03\x04"
PICKLES = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
"""How a file begins: as an archive since PyTorch 1.6, before that with the pickles of a magic number and of 1001."""

MOST_BYTES = 2**20
"""The longest pickle, and the longest directory of an archive, that is looked at: enough for 5,000 tensors."""

MOST_NUMBERS = 2**59
"""More than any offset, size or stride may be, so that their bytes can be counted in 63 bits."""


@dataclass(frozen=True)
class Contents:
    """What a container describes, the bytes of its storages by their keys, and their order: '<' or '>'."""

    value: Any
    storages: dict[str, Bytes]
    byteorder: Literal["<", ">"]


class _File(io.FileIO):
    """A file of which one read takes MOST_BYTES at most, whatever size the file itself speaks of."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is not None and 0 <= size < MOST_BYTES else MOST_BYTES)


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of the file by its name, as read-only views of one memory map; bfloat16 widened to float32.

    Tensors that share a storage share it here too, and a transposed one is a view. Copied is only what cannot be
    computed with where it lies: bfloat16, and the byte order of other machines. Checksums are not compared, which would
    read every byte. Raises ValueError for a file that is cut short, that torch.save has not written, or that holds
    anything but a mapping of names to tensors.
    """
    with _File(path) as file:
        try:
            return _tensors(_contents(file))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _contents(file: _File) -> Contents:
    start = file.read(512)
    if start.startswith((ZIP, PICKLES)):
        data: Bytes = np.memmap(file, np.uint8, mode="r")
        return _from_zip(file, data) if start.startswith(ZIP) else _from_pickles(file, data)
    if start[257:262] == b"ustar":
        raise ValueError(f"PyTorch's tar archives, its format of 2016, are not served. {SAVE}")
    raise ValueError(f"torch.save writes no file that begins with {start[:24]!r}. {MEND}")


def _from_zip(file: _File, data: Bytes) -> Contents:
    """An archive with NAME/data.pkl, perhaps NAME/byteorder, and NAME/data/KEY for every storage, none compressed."""
    try:
        with zipfile.ZipFile(file) as archive:
            listed, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, OverflowError, struct.error) as error:
        raise ValueError(f"the zip archive is cut short or broken: {error}. {MEND}") from None
    records = {record.filename: record for record in listed}
    roots = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1 or len(records) < len(listed):
        raise ValueError(f"the zip archive must have one data.pkl, and no name twice. {SAVE}")
    places = []

    def content(name: str) -> Bytes:
        record = records.get(roots[0] + name)
        if record is None:
            raise ValueError(f"the zip archive has no record {short.repr(name)}. {MEND}")
        place = _place(record, data[:end])
        places.append(place)
        return data[slice(*place)]

    value, storages = evaluate(io.BytesIO(content("data.pkl")[:MOST_BYTES].tobytes()))
    stored = {key: content(f"data/{key}") for key in storages}
    order = content("byteorder")[:8].tobytes() if f"{roots[0]}byteorder" in records else b"little"
    if order not in {b"little", b"big"}:
        raise ValueError(f"byteorder must be little or big; got {order!r}. {MEND}")
    if any(stop > start for (_, stop), (start, _) in pairwise(sorted(places))):
        raise ValueError(f"no two records of the zip archive may overlap. {MEND}")
    return Contents(value, stored, "<" if order == b"little" else ">")


def _place(record: zipfile.ZipInfo, data: Bytes) -> tuple[int, int]:
    """Where the content of a record starts, behind its local header, and where it stops."""
    name, head = short.repr(record.filename), record.header_offset
    if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
        raise ValueError(f"{name} must be neither compressed nor encrypted, so that it can be mapped. {SAVE}")
    header = data[head : head + 30].tobytes() if head >= 0 else b""
    start = head + 30 + sum(struct.unpack("<HH", header[26:])) if len(header) == 30 else data.size + 1
    stop = start + record.file_size
    if not header.startswith(ZIP) or stop > data.size or record.compress_size != record.file_size:
        raise ValueError(f"{name} must lie whole behind its header, ahead of the archive's directory. {MEND}")
    return start, stop


def _from_pickles(file: _File, data: Bytes) -> Contents:
    """Pickles of the machine, of the value, of the storages' keys; then for each storage its count and its numbers.

    The numbers are little-endian whatever the machine.
    """
    with mmap.mmap(file.fileno(), min(data.size, MOST_BYTES), access=mmap.ACCESS_READ) as pickles:
        pickles.seek(len(PICKLES))
        evaluate(pickles)
        value, storages = evaluate(pickles)
        keys, _ = evaluate(pickles)
        stop = pickles.tell()
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise ValueError(f"the file must list the keys of its {len(storages)} storages, each once. {MEND}")
    stored = {}
    for key in keys:
        start = stop + 8
        stop = start + int.from_bytes(data[stop:start].tobytes(), "little") * _type(storages[key]).itemsize
        if stop > data.size:
            raise ValueError(f"the file is cut short: storage {short.repr(key)} goes on to byte {stop}. {MEND}")
        stored[key] = data[start:stop]
    return Contents(value, stored, "<")


def _tensors(contents: Contents) -> dict[str, NDArray[Any]]:
    if type(contents.value) is not dict:
        raise ValueError(f"the file must map names to tensors; it holds {type(contents.value).__name__}. {SAVE}")
    arrays: dict[str, NDArray[Any]] = {}
    stored: dict[Storage, NDArray[Any]] = {}
    for name, tensor in contents.value.items():
        if type(tensor) is not Tensor:
            raise ValueError(f"{short.repr(name)} must be a tensor; got {type(tensor).__name__}. {SAVE}")
        if tensor.storage not in stored:
            stored[tensor.storage] = _numbers(tensor.storage, contents)
        arrays[name] = _view(name, tensor, stored[tensor.storage])
    return arrays


def _numbers(storage: Storage, contents: Contents) -> NDArray[Any]:
    """All numbers of a storage, (count,), in the byte order of this machine."""
    data, dtype = contents.storages[storage.key], _type(storage).newbyteorder(contents.byteorder)
    size = storage.count * dtype.itemsize
    if data.size != size:
        raise ValueError(
            f"storage {short.repr(storage.key)} must have {short.repr(size)} bytes, for {short.repr(storage.count)} of "
            f"{storage.dtype}; got {data.size}. {MEND}"
        )
    numbers: NDArray[Any] = data.view(dtype)
    return widened(numbers) if storage.dtype == "bfloat16" else numbers.astype(dtype.newbyteorder("="), copy=False)


def _type(storage: Storage) -> np.dtype[Any]:
    """The type of a storage's numbers as they lie in the file."""
    return np.dtype("uint16" if storage.dtype == "bfloat16" else storage.dtype)


def _view(name: str, tensor: Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    """The tensor as a read-only view of its storage, no number of it outside."""
    offset, size, stride = tensor.offset, tensor.size, tensor.stride
    counts = (offset, *size, *stride, math.prod(n or 1 for n in size))
    stop = offset + (sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 if all(size) else 0)
    expanded = math.prod(size) > numbers.size  # a stride of 0 makes any number of one
    if min(counts) < 0 or max(counts) >= MOST_NUMBERS or stop > numbers.size or expanded:
        raise ValueError(
            f"{short.repr(name)} must lie within its storage of {numbers.size} numbers; got size {short.repr(size)}, "
            f"stride {short.repr(stride)}, offset {short.repr(offset)}. {MEND}"
        )
    width = numbers.itemsize
    view = np.ndarray(size, numbers.dtype, numbers, offset * width, [s * width for s in stride])
    view.flags.writeable = False
    return view
