"""The sizes of a model, validated when they are written down. Chapter 1 of spec/, clause IN-CONFIG."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Config:
    """The sizes of one DeBERTaV3 encoder, by the names of KerasHub's ``DebertaV3Backbone``.

    All sizes are integers of at least 1. ``hidden_dim`` is a multiple of ``num_heads``, and ``bucket_size`` is at
    least 2, since with 1 the middle bucket_size // 2 would be 0 and the formula of the log buckets divides by it.
    ``dropout`` is a probability in [0, 1): it is recorded for those who train, and a forward pass has none.

    Raises TypeError for a size that is not an integer, ValueError for one that cannot be.
    """

    vocabulary_size: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    dropout: float = 0.1
    max_sequence_length: int = 512
    bucket_size: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "dropout":  # IN-CONFIG
                least = 2 if field.name == "bucket_size" else 1
                object.__setattr__(self, field.name, _size(field.name, getattr(self, field.name), least))
        object.__setattr__(self, "dropout", _probability("dropout", self.dropout))
        _check_heads(self.hidden_dim, self.num_heads)

    @property
    def head_dim(self) -> int:
        """The width d of one attention head: hidden_dim / num_heads."""
        return self.hidden_dim // self.num_heads

    @property
    def num_relative(self) -> int:
        """The number R of relative embeddings: 2 · bucket_size."""
        return 2 * self.bucket_size


def _check_heads(hidden_dim: int, num_heads: int) -> None:
    if hidden_dim % num_heads:  # IN-CONFIG
        raise ValueError(
            f"hidden_dim must be a multiple of num_heads, so that every head is as wide; got hidden_dim {hidden_dim} "
            f"and num_heads {num_heads}."
        )


def _size(name: str, value: Any, least: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError  # noqa: TRY301 - True is no size, though Python counts it as one
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer of at least {least}; got {value!r}.") from None
    if size < least:
        raise ValueError(f"{name} must be at least {least}; got {size}.")
    return size


def _probability(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number in [0, 1); got {value!r}.")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1); got {value!r}.")
    return float(value)
