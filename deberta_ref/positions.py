"""Distance -> bucket -> row: which relative embedding stands for a pair of tokens. Chapter 3 of spec/.

Integers only. Written with logarithms, as the ports write it, a bucket depends on how they are rounded; the same
inequality between powers of integers has one answer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from deberta_ref.config import Config
from deberta_ref.precision import Integers


def relative_row(length: int, config: Config) -> Integers:
    """The row of the relative embeddings for every pair of positions (i, j): (T, T), values in 0 … R − 1.

    It depends on i − j alone: a view, along whose diagonals the memory is the same.
    Raises ValueError where a distance below ``length`` has no bucket (REL-LONG).
    """
    distance = np.arange(1 - length, length)  # (2T − 1,)
    magnitude = np.array(_magnitudes(length, config.bucket_size, config.max_sequence_length), np.intp)  # (T,)
    bucket = np.sign(distance) * magnitude[abs(distance)]  # (2T − 1,)   REL-BUCKET: odd in the distance
    row: Integers = np.clip(bucket + config.bucket_size, 0, config.num_relative - 1)  # (2T − 1,)   REL-ROW, REL-LONG
    step = row.itemsize
    return as_strided(row[length - 1 :], (length, length), (step, -step), writeable=False)  # REL-DISTANCE: i − j


def bucket(distance: int, config: Config) -> int:
    """The signed bucket of one distance (i − j): the distance itself when near, logarithmic when far.

    Raises ValueError where the distance has no bucket (REL-LONG).
    """
    magnitude = _magnitudes(abs(distance) + 1, config.bucket_size, config.max_sequence_length)[-1]
    return magnitude if distance >= 0 else -magnitude  # REL-BUCKET


@lru_cache(maxsize=64)
def _magnitudes(count: int, bucket_size: int, max_sequence_length: int) -> tuple[int, ...]:
    """The bucket of each of the distances 0, 1, …, count − 1."""
    m, M = bucket_size // 2, max_sequence_length
    check_distance(count - 1, bucket_size, M)
    found = list(range(min(count, m + 1)))  # REL-BUCKET: one bucket a distance
    t, left, right = 0, 1, m ** (m - 1)  # left is m^t, right is (M−1)^t · m^(m−1)
    for distance in range(m + 1, count):
        while distance ** (m - 1) * left > right:  # REL-BUCKET: until |δ|^(m−1) · m^t ≤ (M−1)^t · m^(m−1)
            t, left, right = t + 1, left * m, right * (M - 1)  # never less than at the distance before
        found.append(m + t)
    return tuple(found)


def check_distance(longest: int, bucket_size: int, max_sequence_length: int) -> None:
    """Raise ValueError if a distance has no bucket (REL-LONG)."""
    m, M = bucket_size // 2, max_sequence_length
    if longest > m >= M - 1:
        raise ValueError(
            f"A distance over {m} (bucket_size // 2) has a bucket only if max_sequence_length − 1 is over {m} too; "
            f"got max_sequence_length {M} and distance {longest}: shorten the sequence to {m + 1} tokens."
        )
