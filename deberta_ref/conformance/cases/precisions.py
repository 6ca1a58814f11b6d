"""The precisions that ports are judged in, and the legal ways to compute in each. Chapter 14 of spec/.

Implementations of one precision round in different places. Each way here is one that real implementations have, or the
reference with roundings at random. Together they say how large a right port's error is, and how it is distributed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref import ops
from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.noise import Size
from deberta_ref.conformance.cases.variants import Edit, combined
from deberta_ref.fast import gelu
from deberta_ref.params import Linear
from deberta_ref.precision import Array, DType, Precision, bfloat16, wide

AT_RANDOM = 8
"""Evaluations with roundings at random, beside the ways that implementations have."""

Functions = Mapping[str, Callable[..., Any]]
Rounding = Callable[[Any], Any]

SCORES = "model.disentangled_attention", "attention.scores"
EACH_TERM = Edit(*SCORES, "scaled(c2c, (n := 3 * query.shape[-1])) + scaled(c2p, n) + scaled(p2c, n)")
ROUNDED_SCALE = Edit(*SCORES, "((c2c + c2p + p2c) / c2c.dtype.type((3 * query.shape[-1]) ** 0.5)).astype(c2c.dtype)")


@dataclass(frozen=True)
class Way:
    """A legal way to compute: a type, functions in place of the model's, and edits of it."""

    dtype: str
    functions: Functions
    edits: tuple[Edit, ...] = ()
    at_random: bool = False  # whether roundings are random: twice as large in the mean square, and without a bias

    def model(self) -> ModuleType:
        """The copy of the model that computes so."""
        model = combined(*self.edits)
        for name, function in self.functions.items():
            setattr(model, name, function)
        return model


def ways(precision: Precision) -> Iterator[Way]:
    """The legal ways to compute in a precision; the first is the reference's own."""
    # PREC-WAYS
    if precision == "float32":
        yield Way("float32", {})
        yield from (Way("float32", _random_float32(n), at_random=True) for n in range(AT_RANDOM))
    elif precision == "tf32":
        yield from (Way("float32", products(rounding)) for rounding in (tf32, cut(13)))
        for n in range(AT_RANDOM):
            dithered = partial(_dithered, bits=10, random=np.random.default_rng(n))
            yield Way("float32", products(dithered), at_random=True)
    else:
        dtype = bfloat16() if precision == "bfloat16" else np.dtype(np.float16)
        for edits in ((), (EACH_TERM,), (ROUNDED_SCALE,)):
            yield from (Way(precision, functions, edits) for functions in ({}, {"linear": _bias_inside}))
        yield Way("float32", _autocast(dtype))
        bits = 7 if precision == "bfloat16" else 10
        for n in range(AT_RANDOM):
            yield Way(precision, _random_half(bits, np.random.default_rng(n)), at_random=True)


def floors(
    precision: Precision,
    evaluate: Callable[[ModuleType, str], Mapping[str, Any]],
    errors_of: Callable[[Mapping[str, Any]], Mapping[str, Size]],
) -> dict[str, Size]:
    """The noise floor of every value in a precision: its root mean square error over the ways, and the largest.

    Ways at random do not count, except in float32, and neither does autocast, which rounds less than the others.
    """
    # PREC-FLOOR
    if precision == "float32":
        return noise.ensemble(lambda module: evaluate(module, "float32"), errors_of)
    counted = [way for way in ways(precision) if not way.at_random and precision in {way.dtype, "tf32"}]
    found = [errors_of(evaluate(way.model(), way.dtype)) for way in counted]
    return {
        name: Size(math.sqrt(np.mean([sizes[name].rms ** 2 for sizes in found])), max(s[name].max for s in found))
        for name in found[0]
    }


def _bias_inside(x: Array, p: Linear) -> Array:
    """The linear map with one rounding, after the bias."""
    weight, bias = p.weight.astype(x.dtype, copy=False), p.bias.astype(x.dtype, copy=False)
    return (np.matmul(wide(x), wide(weight).T) + wide(bias)).astype(x.dtype)


def _autocast(dtype: DType) -> Functions:
    """Products take and return the half precision; all else is float32, but GELU."""

    def matmul(a: Array, b: Array) -> Array:
        return ops.matmul(a.astype(dtype), b.astype(dtype))

    return {
        **of_attention(matmul),
        "linear": lambda x, p: _bias_inside(x.astype(dtype), p),
        "softmax": lambda x: ops.softmax(x.astype(np.float32)),
    }


def products(rounding: Rounding) -> dict[str, Any]:
    """Matrix products of rounded operands, summed in float32."""

    def matmul(a: Array, b: Array) -> Array:
        return np.matmul(rounding(a), rounding(b))

    return {**of_attention(matmul), "linear": lambda x, p: matmul(x, p.weight.T.astype(np.float32)) + p.bias}


def of_attention(matmul: Callable[[Array, Array], Array]) -> dict[str, Any]:
    """The matrix products of attention with this function, those with relative embeddings included."""
    return {
        "matmul": matmul,
        "relative_products": lambda x, relative, row: ops.gather_rows(matmul(x, ops.mT(relative)), row),
    }


def tf32(x: Array) -> Array:
    """The nearest numbers of TensorFloat-32, which has 11 bits, as float32."""
    return cut(13)((x.astype(np.float32).view(np.uint32) + np.uint32(0x1000)).view(np.float32))


def cut(bits: int) -> Rounding:
    """Rounding towards zero that clears the last ``bits`` of float32, as hardware does that drops them in a product."""
    mask = np.uint32(2**32 - 2**bits)
    return lambda x: (x.astype(np.float32).view(np.uint32) & mask).view(np.float32)


def _dithered(x: Array, bits: int, random: np.random.Generator) -> Array:
    """float32 numbers with so many bits after the leading one, up or down at random, with the right mean."""
    raw = np.ascontiguousarray(x, np.float32).view(np.uint32)
    moved = raw + random.integers(0, 1 << (23 - bits), raw.shape, np.uint32)
    return cut(23 - bits)(moved.view(np.float32))


def _random_float32(seed: int) -> Functions:
    names = ("matmul", "relative_products", "linear", "layer_norm", "softmax", "gelu")
    evaluation = noise.evaluation(np.random.default_rng([seed]))
    return {name: getattr(evaluation, name) for name in names}


def _random_half(bits: int, random: np.random.Generator) -> Functions:
    """Every operation's float32 result rounded up or down at random."""

    def rounded(x: Array, dtype: DType) -> Array:
        return _dithered(x, bits, random).astype(dtype)

    def matmul(a: Array, b: Array) -> Array:
        return rounded(np.matmul(wide(a), wide(b)), a.dtype)

    def linear(x: Array, p: Linear) -> Array:
        bias = wide(p.bias.astype(x.dtype, copy=False))
        return rounded(wide(matmul(x, p.weight.T.astype(x.dtype, copy=False))) + bias, x.dtype)

    return {
        **of_attention(matmul),
        "linear": linear,
        "layer_norm": lambda x, p: rounded(ops.layer_norm(wide(x), p), x.dtype),
        "softmax": lambda x: rounded(ops.softmax(wide(x)), x.dtype),
        "gelu": lambda x: rounded(gelu(wide(x)), x.dtype),
        "scaled": lambda x, n: rounded(wide(x) / math.sqrt(n), x.dtype),
    }
