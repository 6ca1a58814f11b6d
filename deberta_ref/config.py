"""The sizes of a model, validated when they are written down. Chapter 1 of spec/, clause IN-CONFIG."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

EPSILON = 1e-7
"""NORM-EPSILON: what is added to a variance, in every layer normalisation of every DeBERTaV3."""


@dataclass(frozen=True)
class Config:
    """The sizes of one DeBERTaV3 encoder, by the names of KerasHub's ``DebertaV3Backbone``; checked, and unchangeable.

    Parameters
    ----------
    vocabulary_size : int
        V, the number of token embeddings; at least 1, as every size.
    num_layers : int
        The number of encoder layers.
    num_heads : int
        H, the number of attention heads.
    hidden_dim : int
        D, the number of features of a hidden state: a multiple of ``num_heads``.
    intermediate_dim : int
        F, the number of features inside the feed-forward.
    dropout : float
        A probability in [0, 1). It is recorded for those who train; a forward pass has none.
    max_sequence_length : int
        The most tokens in a text, and the distance in tokens at which the log buckets end.
    bucket_size : int
        Half the number of relative embeddings; at least 2, since the formula of the log buckets divides by
        bucket_size // 2.

    Raises
    ------
    TypeError
        For a size that is not an integer, or a dropout that is no number.
    ValueError
        For a value outside its range, or a ``hidden_dim`` that ``num_heads`` does not divide.

    Examples
    --------
    >>> import dataclasses
    >>> from deberta_ref import Config
    >>> config = Config(vocabulary_size=40, num_layers=2, num_heads=3, hidden_dim=12, intermediate_dim=24)
    >>> config.max_sequence_length, config.bucket_size
    (512, 256)
    >>> dataclasses.replace(config, num_heads=5)
    Traceback (most recent call last):
    ValueError: hidden_dim must be a multiple of num_heads, so that every head is as wide; got hidden_dim 12 and num_heads 5.
    """  # noqa: E501 - an error is one line

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
        """The width d of one attention head: hidden_dim / num_heads.

        Examples
        --------
        >>> from deberta_ref import presets
        >>> presets["deberta_v3_base_en"].config.head_dim
        64
        """
        return self.hidden_dim // self.num_heads

    @property
    def num_relative(self) -> int:
        """The number R of relative embeddings: 2 · bucket_size.

        Examples
        --------
        >>> from deberta_ref import presets
        >>> presets["deberta_v3_base_en"].config.num_relative
        512
        """
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
