"""The floating-point types that parameters are kept in and that a forward pass computes in. Chapter 6 of spec/."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.intp]
DType = np.dtype[np.floating[Any]]

DTypeLike = Literal["float16", "float32", "float64"] | DType | type[np.floating[Any]]
"""How a caller names a type: 'float32', numpy.float32 or numpy.dtype('float32')."""

STORED = ("float16", "float32", "float64")
COMPUTED = ("float32", "float64")


def compute_dtype(dtype: DTypeLike | None, stored: DType) -> DType:
    """The type to compute in: ``dtype`` if given, else that of the parameters, but float32 at least.

    Raises ValueError for a type that is not computed in, TypeError for what names no type.
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
    if name not in known:
        raise ValueError(f"dtype must be {allowed}; got {name!r}.")
    known_type: DType = np.dtype(str(name))
    return known_type
