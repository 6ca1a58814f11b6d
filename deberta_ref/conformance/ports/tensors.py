"""What a port returns, as NumPy arrays: from any framework, or from safetensors files."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref.checkpoints.safetensors_map import DTYPES, widened

ANSWER_DTYPES = {**DTYPES, "I16": "<i2", "I8": "|i1", "U16": "<u2", "U32": "<u4", "U64": "<u8"}
"""The types of a safetensors file that an answer may have, and NumPy's type of the same bits."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """Values, and the port's own type of them. bfloat16, which NumPy does not have, is widened to float32."""

    values: NDArray[Any]
    dtype: str


def as_tensor(value: Any) -> Tensor:
    """An array of NumPy, PyTorch, JAX, TensorFlow or anything else that NumPy can read.

    Raises TypeError if it cannot.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("got a masked array: return all of its values, padded ones too.")
    try:
        if hasattr(value, "detach"):  # PyTorch: it may have a gradient, be on a device, or be bfloat16
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":
                return Tensor(value.float().numpy(), "bfloat16")
            value = value.numpy()
        array = np.asarray(value)
        if array.dtype.name == "bfloat16":  # of ml_dtypes, from JAX and TensorFlow
            return Tensor(array.astype(np.float32), "bfloat16")
    except Exception as error:  # noqa: BLE001 - whatever the framework raises, it is not an array
        said = " ".join(str(error).split())
        raise TypeError(f"got a {type(value).__name__} that NumPy cannot read ({said:.200}).") from None
    if array.dtype.kind == "O":
        raise TypeError(f"got a {type(value).__name__}.")
    return Tensor(array, array.dtype.name)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file; OSError, or ValueError if it is cut short or not a safetensors file."""
    safetensors: Any = importlib.import_module("safetensors")  # it has no types, and costs time that others need not
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} must be a whole safetensors file; {error}: write it again.") from None
    return {name: _tensor(entry) for name, entry in entries}


def _tensor(entry: dict[str, Any]) -> Tensor:
    if entry["dtype"] not in ANSWER_DTYPES:  # kept as bytes: an answer of such a type is refused
        return Tensor(np.frombuffer(entry["data"], np.uint8), entry["dtype"])
    array = np.frombuffer(entry["data"], ANSWER_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return Tensor(widened(array), "bfloat16") if entry["dtype"] == "BF16" else Tensor(array, array.dtype.name)
