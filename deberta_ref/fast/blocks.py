"""Attention, so many heads at a time that its temporaries stay in the processor's cache. Chapter 4 of spec/."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from deberta_ref.precision import Array, Integers

SCORES_AT_A_TIME = 1 << 18
"""Scores, heads times pairs of tokens: attention has half a dozen temporaries of their number."""

Attention = Callable[[Array, Array, Array, Array, Array, Integers, Any], Array]


def a_few_heads_at_a_time(attention: Attention) -> Attention:
    """The same attention, computed for up to ``SCORES_AT_A_TIME`` scores, or one head, at a time.

    A tap is told which heads a value is of: ``tap(name, value, heads=slice)``.
    """

    @wraps(attention)
    def blocked(
        query: Array, key: Array, value: Array, relative_query: Array, relative_key: Array, row: Integers, tap: Any
    ) -> Array:
        few = max(1, SCORES_AT_A_TIME // row.size)
        if few >= len(query):
            return attention(query, key, value, relative_query, relative_key, row, tap)
        context = np.empty_like(value)  # (H, T, d)
        for h in (slice(start, start + few) for start in range(0, len(query), few)):
            operands = query[h], key[h], value[h], relative_query[h], relative_key[h]
            context[h] = attention(*operands, row, lambda name, value, h=h: tap(name, value, heads=h))
        return context

    return blocked
