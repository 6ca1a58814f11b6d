"""The names of the intermediate values, and how the model shows them. Chapter 9 of spec/, clause VEC-TAPS."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deberta_ref.config import Config
from deberta_ref.precision import DType

Tap = Callable[..., Any]
"""``tap(name, value)`` returns the value, and shows it to whoever asked for it.

Of a value of pairs of tokens it is told whose it is as well: ``tap(name, value, sequence=…, heads=…)``.
"""

FIRST = {"embeddings": "BTD", "relative_embeddings": "RD", "relative_row": "TT"}
"""The taps before the layers, in order, with their axes."""

LAYER = {
    "attention.query": "BHTd",
    "attention.key": "BHTd",
    "attention.value": "BHTd",
    "attention.relative_query": "HRd",
    "attention.relative_key": "HRd",
    "attention.c2c": "BHTT",
    "attention.c2p": "BHTT",
    "attention.p2c": "BHTT",
    "attention.scores": "BHTT",
    "attention.probs": "BHTT",
    "attention.context": "BTD",
    "attention.output": "BTD",
    "feedforward.inner": "BTF",
    "output": "BTD",
}
"""The taps of each layer, in order, with their axes; their names begin with ``layers.n.``."""

LAST = {"output": "BTD"}
"""The tap after the layers."""


def tap_axes(config: Config) -> dict[str, str]:
    """The axes of every tap by its name, in the order of the computation: a letter an axis, as in chapter 0."""
    # VEC-TAPS
    layers = {f"layers.{n}.{name}": axes for n in range(config.num_layers) for name, axes in LAYER.items()}
    return {**FIRST, **layers, **LAST}


def untapped(_name: str, value: Any, **_where: Any) -> Any:
    """The tap of a forward pass whose intermediate values nobody asked for."""
    return value


class Overflow:
    """A tap that remembers which values are infinite, or no numbers because of an infinity before them."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.found: dict[str, bool] = {}  # in the order of the computation, which each sequence goes through anew

    def __call__(self, name: str, value: Any, **_where: Any) -> Any:
        """Return the value."""
        self.found[name] = self.found.get(name, False) or not np.isfinite(value).all()
        return value

    @property
    def name(self) -> str:
        """The first of them in the order of the computation, or nothing."""
        return next((name for name, found in self.found.items() if found), "")


@contextmanager
def watched(dtype: DType, depth: int = 0) -> Iterator[Tap]:
    """A tap for a forward pass in that type, and no warnings of NumPy's; in float16 one that says where it overflows.

    Warns with RuntimeWarning when the block ends, on behalf of the caller's caller, ``depth`` calls further up. Nothing
    is lost by an overflow: what is computed is returned.
    """
    tap = Overflow() if dtype == np.float16 else untapped
    with np.errstate(all="ignore"):
        yield tap
    if isinstance(tap, Overflow) and tap.name:  # HALF-OVERFLOW
        warnings.warn(
            f"float16 overflowed, first at or before {tap.name}: numbers beyond ±65504 became infinite. Compute in "
            f"bfloat16 or float32.",
            RuntimeWarning,
            stacklevel=4 + depth,
        )


def at(tap: Tap, prefix: str = "", **where: Any) -> Tap:
    """The same tap for the values of one layer, whose names begin with ``prefix``, or of one sequence."""
    return lambda name, value, **more: tap(prefix + name, value, **where, **more)
