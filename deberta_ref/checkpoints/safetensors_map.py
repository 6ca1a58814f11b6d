"""A safetensors file as arrays mapped from the disk: nothing is read before it is used."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "|u1",
    "BOOL": "|b1",
}


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of the file by its name, as read-only views of one memory map; bfloat16 widened to float32.

    NumPy has no bfloat16, and every bfloat16 is a float32, so those tensors, and only those, are copied. Raises
    ValueError for a file that is cut short or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - costs time that `import deberta_ref` need not

    try:
        with safe_open(path, framework="numpy") as checked:  # the format's own library validates the header
            names = list(checked.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is no complete safetensors file: {error}. Fetch or write it again.") from None
    with path.open("rb") as file:
        (header_size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_size))
    data = np.memmap(path, np.uint8, mode="r", offset=8 + header_size) if path.stat().st_size > 8 + header_size else b""
    return {name: _tensor(header[name], data) for name in names}


def _tensor(entry: dict[str, Any], data: Any) -> NDArray[Any]:
    start, end = entry["data_offsets"]
    if entry["dtype"] not in DTYPES:  # bytes, which are refused where a parameter should be, and left out elsewhere
        return np.frombuffer(data[start:end], np.uint8)
    array = np.frombuffer(data[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if not array.flags.aligned:  # a header of odd length; products of such arrays are slow
        array = array.copy()
    return widened(array) if entry["dtype"] == "BF16" else array


def widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 numbers that these bfloat16 bits stand for, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
