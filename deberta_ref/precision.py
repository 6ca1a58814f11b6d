"""The floating-point types that parameters are kept in and that a forward pass computes in. Chapter 6 of spec/."""

from __future__ import annotations

import importlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.intp]
DType = np.dtype[np.floating[Any]]

DTypeLike = (
    Literal["float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"]
    | DType
    | type[np.floating[Any]]
)
"""How a caller names a type: 'float32', numpy.float32 or numpy.dtype('float32'), ml_dtypes.bfloat16 too; or one of
Keras's policies, whose parameters are kept in float32."""

MIXED = "mixed_"
"""What a policy's name begins with; the type that is computed in follows."""

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
"""What a port can be judged in. In tf32, TensorFloat-32, the operands of products have 11 significant bits."""

PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16", "float16")

STORED = ("float16", "bfloat16", "float32", "float64")
COMPUTED = (*STORED, "mixed_float16", "mixed_bfloat16")

LARGEST = {
    "float16": 65504.0,
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float32": (2 - 2**-23) * 2.0**127,
    "float64": (2 - 2**-52) * 2.0**1023,
}
"""The largest number of each type that parameters are kept in."""


def compute_dtype(dtype: DTypeLike | None, stored: DType) -> DType:
    """The type to compute in: ``dtype`` if given, else that of the parameters, but float32 at least.

    Raises ValueError for a type that is not computed in, TypeError for what names no type, ImportError without
    ml_dtypes where it is bfloat16.
    """
    return np.result_type(stored, np.float32) if dtype is None else known_dtype(dtype, COMPUTED)  # NUM-DTYPE


def known_dtype(dtype: DTypeLike, known: tuple[str, ...]) -> DType:
    """``dtype``, a name or a NumPy type, as one of the ``known`` ones; ValueError or TypeError with what is allowed."""
    allowed = " or ".join(repr(name) for name in known)
    name: object = dtype
    if not isinstance(dtype, str):
        if not isinstance(dtype, (np.dtype, type)):
            raise TypeError(f"dtype must be {allowed}; got {dtype!r}.")
        try:
            name = np.dtype(dtype).name
        except TypeError:
            raise TypeError(f"dtype must be {allowed}; got {dtype!r}.") from None
    if name in COMPUTED and name not in known:
        raise ValueError(
            f"dtype must be {allowed}; got {name!r}, a policy of computation, whose parameters are kept in float32: "
            f"take 'float32' here, and {name!r} where something is computed."
        )
    if name not in known:
        raise ValueError(f"dtype must be {allowed}; got {name!r}.")
    name = str(name).removeprefix(MIXED)
    return bfloat16() if name == "bfloat16" else np.dtype(name)


def bfloat16() -> DType:
    """NumPy's type of the bfloat16 of ml_dtypes; ImportError with what to install."""
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        raise ImportError("bfloat16 needs the package ml_dtypes: pip install 'deberta-ref[half]'.") from None


def rounded(x: Array, dtype: DType) -> Array:
    """The values of ``x`` in another type, each rounded once, to the nearest, of two equally near ones to the even one.

    ml_dtypes rounds float64 to bfloat16 by way of float32, that is twice.
    """
    if x.dtype == np.float64 and dtype.name == "bfloat16":
        x = _rounded_to_odd(x)
    return x.astype(dtype, copy=False)


def _rounded_to_odd(x: Array) -> NDArray[np.float32]:
    """float64 as float32, inexact values as the neighbour whose last bit is 1: to round this once more errs no more."""
    nearest = x.astype(np.float32)
    other = np.nextafter(nearest, np.where(x > nearest, np.inf, -np.inf).astype(np.float32))
    even = nearest.view(np.uint32) % 2 == 0
    return np.where((nearest != x) & even, other, nearest)


def wide(x: Array) -> Array:
    """The same numbers in float32, if they are of a half precision; else ``x`` itself."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x  # HALF-RESULTS
