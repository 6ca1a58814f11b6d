"""Constant folding: what depends on parameters alone is computed once.

The relative embeddings are normalised, and projected in every layer, whatever the tokens are. Results are cached only
for arrays that this package owns and has made read-only (ownership.py); for others they are computed at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar
from weakref import finalize

import numpy as np

from deberta_ref.ownership import is_owned, own
from deberta_ref.precision import Array

First = TypeVar("First")
Second = TypeVar("Second")


def folded(operation: Callable[[First, Second], Array]) -> Callable[[First, Second], Array]:
    """The same operation of parameters and one other argument, cached where all of their arrays are owned.

    Of each parameters the last result is kept, for as long as they are alive.
    """
    cached: dict[int, tuple[Any, Array]] = {}  # identity of parameters -> other argument, result

    @wraps(operation)
    def once(one: First, other: Second) -> Array:
        if not all(is_owned(array) for argument in (one, other) for array in _arrays(argument)):
            return operation(one, other)
        parameters, rest = (one, other) if is_dataclass(one) else (other, one)
        key = id(parameters)
        known, result = cached.get(key, (None, None))
        if result is None:
            finalize(parameters, cached.pop, key, None).atexit = False
        if result is None or known is not rest:
            result = own(operation(one, other))
            cached[key] = rest, result
        return result

    return once


def _arrays(argument: Any) -> Iterator[Array]:
    """The arrays in parameters, or the array itself; none in a type."""
    if isinstance(argument, np.ndarray):
        yield argument
    elif isinstance(argument, tuple):
        for item in argument:
            yield from _arrays(item)
    elif is_dataclass(argument):
        for field in fields(argument):
            yield from _arrays(getattr(argument, field.name))
