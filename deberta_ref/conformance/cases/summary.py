"""A layer's output in a few numbers per token, as cases of the published sizes hold it. Chapter 9 of spec/.

Every feature is added to each of four sums, with the sign + or −. A mistake in one feature changes all four sums, and
rounding changes them about as much as the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deberta_ref.recipe import IDS, mixed

SUMS = 4
"""Sums per token."""

SUMMARY = ".summary"
"""The name of a summary is that of its tap with this at the end."""


def summarised(taps: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of every layer's output among ``taps``, (B, T, D) -> (B, T, 4), and ``output`` as it is."""
    found = {
        name + SUMMARY: tap @ signs(tap.shape[-1]).astype(tap.dtype)  # VEC-SUMMARY
        for name, tap in taps.items()
        if name.startswith("layers.") and name.split(".")[2:] == ["output"]
    }
    return found | ({"output": taps["output"]} if "output" in taps else {})


def signs(hidden_dim: int) -> Any:
    """+1 where the draw's highest bit is 0 and −1 where it is 1, of the stream after that of token ids: (D, 4)."""
    highest = mixed(0, IDS + 1, 0, hidden_dim * SUMS) >> np.uint64(63)
    return 1.0 - 2.0 * highest.reshape(hidden_dim, SUMS).astype(np.float64)
