"""Values of a checkpoint that are not finite, by name and place: a training diverged, or a file was damaged."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 22
"""Values at a time: as much of a mapped file is in memory at once, and no more of it afterwards."""


def refuse_nonfinite(arrays: Mapping[str, NDArray[Any]], where: object) -> None:
    """Raise ValueError with the name, value and place of the first value that is not finite."""
    for name, array in arrays.items():
        rows = max(1, BLOCK // max(1, array[:1].size))
        for start in range(0, len(array), rows):
            block = array[start : start + rows]
            with np.errstate(all="ignore"):
                suspicious = not np.isfinite(block.sum())  # or the sum has overflowed: then every value decides
            if suspicious and not (finite := np.isfinite(block)).all():
                within = np.argwhere(~finite)[0].tolist()
                raise ValueError(
                    f"{where}: {name} has {block[tuple(within)]} at {[start + within[0], *within[1:]]}. If that is "
                    f"meant, allow_nonfinite=True (--allow-nonfinite) opens it all the same."
                )
            _let_go(block)


def _let_go(array: Any) -> None:
    """Give the pages of a mapped file back to the system, which keeps them cached until they are used."""
    while array is not None and not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    if array is not None and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)
