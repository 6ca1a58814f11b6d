"""The operations that the model is made of, one definition each. Chapters 4 to 6 of spec/.

Each computes in the type of its first argument, float32 or float64; parameters kept in another type are cast where
they are used. None changes its arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deberta_ref.gelu import gelu
from deberta_ref.params import Linear, Norm
from deberta_ref.precision import Array, Integers

__all__ = ["gather_rows", "gelu", "layer_norm", "linear", "mT", "matmul", "merge_heads", "softmax", "split_heads"]

EPSILON = 1e-7
"""NORM-EPSILON: what is added to a variance, in every layer normalisation of every DeBERTaV3."""


def matmul(a: Array, b: Array) -> Array:
    """The matrix product over the last two axes: (…, n, k) and (…, k, m) -> (…, n, m)."""
    product: Array = np.matmul(a, b)
    return product


def linear(x: Array, p: Linear) -> Array:
    """The linear map x · weightᵀ + bias: (…, in) -> (…, out)."""
    weight, bias = p.weight.astype(x.dtype, copy=False), p.bias.astype(x.dtype, copy=False)  # NUM-DTYPE
    return matmul(x, weight.T) + bias  # ATT-PROJECTIONS, ATT-SHARED


def layer_norm(x: Array, p: Norm) -> Array:
    """(x − mean) / sqrt(variance + EPSILON) · scale + bias over the last axis: (…, D) -> (…, D)."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exponent = np.maximum(np.frexp(abs(x).max(axis=-1, keepdims=True))[1], 0)
        x = np.ldexp(x, -exponent)  # by a power of two, exactly, so that no square overflows   NORM-RANGE
        centred = x - x.mean(axis=-1, keepdims=True)
        centred -= centred.mean(axis=-1, keepdims=True)  # what the rounding of a large mean left over
        variance = np.square(centred).mean(axis=-1, keepdims=True)  # over D, not D − 1
        epsilon = np.ldexp(x.dtype.type(EPSILON), -2 * exponent)  # NORM-EPSILON
        deviation = np.maximum(np.sqrt(variance + epsilon), np.finfo(x.dtype).tiny)  # not 0 where a scaled epsilon is
        normalised = centred / deviation  # NORM-DEFINITION
        scale, bias = p.scale.astype(x.dtype, copy=False), p.bias.astype(x.dtype, copy=False)
        result: Array = normalised * scale + bias
    return result


def softmax(x: Array) -> Array:
    """exp(x) over its sum along the last axis: (…, T) -> (…, T)."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exp = np.exp(x - x.max(axis=-1, keepdims=True))  # NUM-SOFTMAX: at most exp(0), so that nothing overflows
        quotient: Array = exp / exp.sum(axis=-1, keepdims=True)
    return quotient


def gather_rows(products: Array, row: Integers) -> Array:
    """For every pair (i, j) the product of token i with relative row[i, j]: (H, T, R) and (T, T) -> (H, T, T)."""
    gathered: Array = np.take_along_axis(products, row[None], axis=-1)  # ATT-C2P, ATT-P2C
    return gathered


def split_heads(x: Array, num_heads: int) -> Array:
    """Head h is features h·d to (h + 1)·d: (N, D) -> (H, N, d), not copied."""
    return x.reshape(len(x), num_heads, -1).swapaxes(0, 1)  # ATT-HEADS


def merge_heads(x: Array) -> Array:
    """The inverse of ``split_heads``: (H, T, d) -> (T, D)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)  # ATT-HEADS


def mT(x: Any) -> Any:  # noqa: N802 - the array API's name
    """The transposed matrices: (…, n, m) -> (…, m, n), not copied."""
    return x.swapaxes(-1, -2)
