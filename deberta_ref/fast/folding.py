"""Constant folding: what depends on parameters alone is computed once. Behind ``linear`` and ``layer_norm`` of ops.py.

The relative embeddings are normalised, and projected in every layer, whatever the tokens are. Where the parameters are
arrays that this package made or mapped itself, and gave to nobody but to be read, an operation gives the same result
each time, so it is kept as long as they are there. Arrays of somebody else, as those handed to ``Params.from_arrays``,
are never folded, since no flag tells who else may write to their memory: what they hold at a call is what counts.

A mapped file that is overwritten in place, while parameters are open on it, must be opened again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from deberta_ref.precision import Array

Parameters = TypeVar("Parameters")

_OURS: WeakValueDictionary[int, Array] = WeakValueDictionary()
"""The arrays that nobody writes to, by their identity: each owns its memory, or maps a file."""


def folded(operation: Callable[[Array, Parameters], Array]) -> Callable[[Array, Parameters], Array]:
    """The same operation of an array and parameters; of constant ones it is computed once."""
    kept: WeakKeyDictionary[Any, tuple[Array, Array]] = WeakKeyDictionary()  # parameters -> array, result

    @wraps(operation)
    def once(x: Array, p: Parameters) -> Array:
        if x.flags.writeable or not all(map(is_constant, (x, *vars(p).values()))):
            return operation(x, p)
        known, result = kept.get(p, (None, x))
        if known is not x:
            result = constant(operation(x, p))
            kept[p] = x, result
        return result

    return once


def constant(array: Array) -> Array:
    """The same array, closed to writing for good, with whatever it is a view of: for one that its maker alone has."""
    part = array
    part.flags.writeable = False
    while isinstance(part.base, np.ndarray):
        part = part.base
        part.flags.writeable = False
    _OURS[id(part)] = part
    return array


def is_constant(array: Array) -> bool:
    """Whether an array, or what it is a view of, was closed by ``constant``, and still is."""
    part = array
    while isinstance(part.base, np.ndarray):
        part = part.base
    return _OURS.get(id(part)) is part and not part.flags.writeable
