"""Constant folding: what depends on parameters alone is computed once. Behind ``linear`` and ``layer_norm`` of ops.py.

The relative embeddings are normalised, and projected in every layer, whatever the tokens are. Of operands that nobody
can change any more an operation gives the same result each time, so it is kept as long as the parameters are there, and
cannot be changed either. Arrays that somebody may still write to, as those that were handed to ``Params.from_arrays``,
are never folded: what they hold at a call is what counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from deberta_ref.precision import Array

Parameters = TypeVar("Parameters")


def folded(operation: Callable[[Array, Parameters], Array]) -> Callable[[Array, Parameters], Array]:
    """The same operation of an array and parameters; of constant ones it is computed once."""
    kept: WeakKeyDictionary[Any, tuple[Array, Array]] = WeakKeyDictionary()  # parameters -> array, result

    @wraps(operation)
    def once(x: Array, p: Parameters) -> Array:
        if x.flags.writeable or not all(map(is_constant, (x, *vars(p).values()))):
            return operation(x, p)
        known, result = kept.get(p, (None, x))
        if known is not x:
            result = operation(x, p)
            result.flags.writeable = False
            kept[p] = x, result
        return result

    return once


def is_constant(array: Any) -> bool:
    """Whether nobody can write to the memory of an array: neither through it nor through one that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    try:
        return array is None or memoryview(array).readonly
    except TypeError:  # of another library, which does not say
        return False


def constant(array: Array) -> Array:
    """The same array, closed to writing, and whatever it is a view of: for one that its maker alone has."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base
    return array
