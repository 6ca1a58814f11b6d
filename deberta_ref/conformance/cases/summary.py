"""A layer's output in a few numbers a token: what cases of published sizes hold of it. Chapter 9 of spec/.

Every feature counts, with the sign + or −, in each of four sums: a mistake in one feature moves all four, and noise
moves them as it moves the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deberta_ref.recipe import IDS, mixed

SUMS = 4
"""Sums a token."""

SUMMARY = ".summary"
"""What the name of a summary adds to its tap's."""


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
