"""Arrays that this package owns and has made read-only: nobody else can write to their memory.

Results are cached only for such arrays (fast/folding.py). No flag of NumPy's tells who else may write to an array, so
arrays that somebody else made, as those handed to ``Params.from_arrays``, are never owned.

A mapped file that is overwritten in place, while parameters are open on it, must be opened again.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

import numpy as np

from deberta_ref.precision import Array

_OWNED: WeakValueDictionary[int, Array] = WeakValueDictionary()
"""The owned arrays, by their identity: each owns its memory, or maps a file."""


def own(array: Array) -> Array:
    """The same array, made read-only for good, with whatever it is a view of: for one that nobody else has."""
    part = array
    part.flags.writeable = False
    while isinstance(part.base, np.ndarray):
        part = part.base
        part.flags.writeable = False
    _OWNED[id(part)] = part
    return array


def is_owned(array: Array) -> bool:
    """Whether an array, or what it is a view of, was handed to ``own``, and still is read-only."""
    part = array
    while isinstance(part.base, np.ndarray):
        part = part.base
    return _OWNED.get(id(part)) is part and not (array.flags.writeable or part.flags.writeable)
