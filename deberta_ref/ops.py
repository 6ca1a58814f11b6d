"""The operations that the model is made of, one definition each. Chapters 4 to 6 of spec/.

Each computes in the type of its first argument, float32 or float64; parameters kept in another type are cast where
they are used. None changes its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from deberta_ref.config import EPSILON
from deberta_ref.fast.folding import folded
from deberta_ref.fast.gelu import gelu
from deberta_ref.params import Linear, Norm
from deberta_ref.precision import Array

__all__ = [
    "few_at_a_time",
    "gelu",
    "layer_norm",
    "linear",
    "mT",
    "matmul",
    "merge_heads",
    "softmax",
    "split_heads",
]

SAFE = 32
"""Of numbers up to 2 to this power neither the squares nor the sums of squares overflow in float32."""

CACHED = 1 << 18
"""Scores at a time. Attention has half a dozen temporaries of their number, which should stay in the cache."""


def matmul(a: Array, b: Array) -> Array:
    """The matrix product over the last two axes: (…, n, k) and (…, k, m) -> (…, n, m)."""
    product: Array = np.matmul(a, b)
    return product


@folded
def linear(x: Array, p: Linear) -> Array:
    """The linear map x · weightᵀ + bias: (…, in) -> (…, out)."""
    weight, bias = p.weight.astype(x.dtype, copy=False), p.bias.astype(x.dtype, copy=False)  # NUM-DTYPE
    return matmul(x, weight.T) + bias  # ATT-PROJECTIONS, ATT-SHARED


@folded
def layer_norm(x: Array, p: Norm) -> Array:
    """(x − mean) / sqrt(variance + EPSILON) · scale + bias over the last axis: (…, D) -> (…, D)."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scale, bias = p.scale.astype(x.dtype, copy=False), p.bias.astype(x.dtype, copy=False)
        largest = np.maximum(x.max(axis=-1, keepdims=True), -x.min(axis=-1, keepdims=True))
        exponent = np.maximum(np.frexp(largest)[1] - SAFE, 0)
        if exponent.any():
            x = np.ldexp(x, -exponent)  # by a power of two, exactly, so that no square overflows   NORM-RANGE
        centred = x - x.mean(axis=-1, keepdims=True)
        centred -= centred.mean(axis=-1, keepdims=True)  # what the rounding of a large mean left over
        variance = np.square(centred).mean(axis=-1, keepdims=True)  # over D, not D − 1
        epsilon = np.ldexp(x.dtype.type(EPSILON), -2 * exponent)  # NORM-EPSILON
        deviation = np.maximum(np.sqrt(variance + epsilon), np.finfo(x.dtype).tiny)  # not 0 where a scaled epsilon is
        normalised: Array = np.divide(centred, deviation, out=centred)  # NORM-DEFINITION
        normalised *= scale
        normalised += bias
    return normalised


def softmax(x: Array) -> Array:
    """exp(x) over its sum along the last axis: (…, T) -> (…, T)."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exp = x - x.max(axis=-1, keepdims=True)  # NUM-SOFTMAX: at most 0, so that nothing overflows
        np.exp(exp, out=exp)
        exp /= exp.sum(axis=-1, keepdims=True)
    return exp


def few_at_a_time(num_heads: int, pairs: int) -> Iterator[slice]:
    """All heads, so many at a time that their scores of these pairs stay in the cache."""
    few = max(1, CACHED // pairs)
    return (slice(h, h + few) for h in range(0, num_heads, few))


def split_heads(x: Array, num_heads: int) -> Array:
    """Head h is features h·d to (h + 1)·d: (N, D) -> (H, N, d), not copied."""
    return x.reshape(len(x), num_heads, -1).swapaxes(0, 1)  # ATT-HEADS


def merge_heads(x: Array) -> Array:
    """The inverse of ``split_heads``: (H, T, d) -> (T, D)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)  # ATT-HEADS, ATT-CONTEXT


def mT(x: Any) -> Any:  # noqa: N802 - the array API's name
    """The transposed matrices: (…, n, m) -> (…, m, n), not copied."""
    return x.swapaxes(-1, -2)
