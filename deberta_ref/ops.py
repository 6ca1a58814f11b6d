"""The operations that the model is made of, one definition each. Chapters 4 to 6 of spec/.

What is slow as defined here has an equal in fast/; tests/test_fast.py holds both together. Each returns the type
of its first argument. Parameters kept in another type are cast where they are used. In float16 and bfloat16 it computes
in float32 and rounds once, and ``linear`` rounds its product first. None changes its arguments.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deberta_ref.config import EPSILON
from deberta_ref.params import Linear, Norm
from deberta_ref.precision import Array, Integers, rounded, wide

SAFE = 32
"""Squares of numbers up to 2 ** SAFE, and sums of such squares, stay finite in float32."""


def matmul(a: Array, b: Array) -> Array:
    """The matrix product over the last two axes: (…, n, k) and (…, k, m) -> (…, n, m)."""
    return np.matmul(wide(a), wide(b)).astype(a.dtype, copy=False)  # HALF-PRODUCTS


def linear(x: Array, p: Linear) -> Array:
    """The linear map x · weightᵀ + bias: (…, in) -> (…, out)."""
    weight, bias = rounded(p.weight, x.dtype), rounded(p.bias, x.dtype)  # NUM-DTYPE
    return matmul(x, weight.T) + bias  # ATT-PROJECTIONS, ATT-SHARED, HALF-PRODUCTS


def layer_norm(x: Array, p: Norm) -> Array:
    """(x − mean) / sqrt(variance + EPSILON) · scale + bias over the last axis: (…, D) -> (…, D)."""
    dtype, x = x.dtype, wide(x)  # HALF-NORM
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
        normalised = np.divide(centred, deviation, out=centred)  # NORM-DEFINITION
        normalised *= scale
        normalised += bias
    return normalised.astype(dtype, copy=False)


def gelu(x: Array) -> Array:
    """The product x · Φ(x), Φ the standard normal distribution function: any shape, the same shape."""
    return (x * _normal_distribution(wide(x))).astype(x.dtype)  # GELU-ERF, HALF-RESULTS


def softmax(x: Array) -> Array:
    """exp(x) over its sum along the last axis: (…, T) -> (…, T)."""
    dtype, x = x.dtype, wide(x)  # HALF-SOFTMAX
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exp = x - x.max(axis=-1, keepdims=True)  # NUM-SOFTMAX: at most 0, so that nothing overflows
        np.exp(exp, out=exp)
        exp /= exp.sum(axis=-1, keepdims=True)
    return exp.astype(dtype, copy=False)


def scaled(x: Array, n: int) -> Array:
    """X / sqrt(n): any shape, the same shape."""
    return (wide(x) / math.sqrt(n)).astype(x.dtype, copy=False)  # ATT-SCALE, HALF-RESULTS


def relative_products(x: Array, relative: Array, row: Integers) -> Array:
    """For every pair (i, j) the product of token i and its relative row: (H, T, d), (H, R, d), (T, T) -> (H, T, T)."""
    return gather_rows(matmul(x, mT(relative)), row)  # ATT-C2P, ATT-P2C: every token by every row, and a choice


def gather_rows(products: Array, row: Integers) -> Array:
    """For every pair (i, j) the product of token i with relative row[i, j]: (H, T, R) and (T, T) -> (H, T, T)."""
    return np.take_along_axis(products, row[None], axis=-1)  # ATT-C2P, ATT-P2C


def split_heads(x: Array, num_heads: int) -> Array:
    """Head h is features h·d to (h + 1)·d: (N, D) -> (H, N, d), a view."""
    return x.reshape(len(x), num_heads, x.shape[1] // num_heads).swapaxes(0, 1)  # ATT-HEADS


def merge_heads(x: Array) -> Array:
    """The inverse of ``split_heads``: (H, T, d) -> (T, D)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], len(x) * x.shape[2])  # ATT-HEADS, ATT-CONTEXT


def mT(x: Any) -> Any:  # noqa: N802 - the array API's name
    """The transposed matrices: (…, n, m) -> (…, m, n), a view."""
    return x.swapaxes(-1, -2)


_normal_distribution = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[np.float64])
"""Φ, number by number, in float64: ½(1 + erf(x/√2)) without its cancellation where x is far below 0."""
