"""How far apart two right evaluations in float32 may be: chapter 11 of spec/.

The noise floor of a tap is its float32 rounding error, measured: the error of an ensemble of legal float32 evaluations
of the reference against float64. A port's score is its error divided by the floor. It is about 1 for a right port,
however sharp the attention is, and large for a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref.config import EPSILON
from deberta_ref.conformance.cases.summary import SUMMARY
from deberta_ref.conformance.cases.variants import exchanged
from deberta_ref.fast.gelu import gelu
from deberta_ref.ops import gather_rows
from deberta_ref.params import Linear, Norm, Params
from deberta_ref.precision import Array, Integers
from deberta_ref.taps import tap_axes
from deberta_ref.tracing import record, trace

MEMBERS = 8
"""Evaluations in an ensemble."""


@dataclass(frozen=True)
class Size:
    """How large an error is over the valid positions of a tap: root mean square and maximum."""

    rms: float
    max: float


def floors(params: Params, inputs: Any, *, seed: int = 0, allow_long: bool = False) -> dict[str, Size]:
    """The floor of every tap of a model, measured against float64."""
    truth = trace(params, inputs, "float64", allow_long=allow_long)
    return ensemble(
        lambda module: record(module, params, inputs, "float32", allow_long=allow_long),
        lambda found: errors(found, truth, params, inputs),
        seed,
    )


def ensemble(
    evaluate: Callable[[ModuleType], Mapping[str, Any]],
    errors_of: Callable[[Mapping[str, Any]], Mapping[str, Size]],
    seed: int = 0,
) -> dict[str, Size]:
    """The floor of every value: the root mean square of its error over all members, and the largest.

    ``evaluate`` takes a variant of the model and returns its values in float32; ``errors_of`` returns their errors. The
    same ``seed`` gives the same ensemble.
    """
    found = [errors_of(evaluate(evaluation(np.random.default_rng([seed, member])))) for member in range(MEMBERS)]
    return {  # NOISE-FLOOR
        name: Size(
            math.sqrt(np.mean([sizes[name].rms ** 2 for sizes in found])), max(sizes[name].max for sizes in found)
        )
        for name in found[0]
    }


def errors(found: Mapping[str, Any], truth: Mapping[str, Any], params: Params, inputs: Any) -> dict[str, Size]:
    """The size of the error of every tap in ``found``, or of its summary, over all valid positions and pairs."""
    mask = np.asarray(inputs["padding_mask"]).astype(bool)
    axes = tap_axes(params.config)
    return {name: error(found[name], truth[name], valid(axes[name.removesuffix(SUMMARY)], mask)) for name in found}


def error(found: Any, truth: Any, where: Any = ...) -> Size:
    """The size of the difference between ``found`` and ``truth``; of integers that differ it is infinite."""
    if np.asarray(truth).dtype.kind in "biu":
        return Size(0.0, 0.0) if np.array_equal(found[where], truth[where]) else Size(math.inf, math.inf)
    return size_of((np.asarray(found, np.float64) - truth)[where])


def valid(axes: str, mask: Any) -> Any:
    """An index of a tap's valid positions, or pairs of them: padded ones are never judged (PAD-OUTPUT)."""
    if axes in {"BTD", "BTF"}:
        return mask
    if axes == "BHTd":
        return np.nonzero(mask)[0], slice(None), np.nonzero(mask)[1]
    if axes == "BHTT":
        b, i, j = np.nonzero(mask[:, :, None] & mask[:, None, :])
        return b, slice(None), i, j
    return slice(None)


def size_of(error: Any) -> Size:
    """The root mean square and the maximum of an error; infinite where it is not a number."""
    if not error.size:
        return Size(0.0, 0.0)
    if not np.isfinite(error).all():
        return Size(math.inf, math.inf)
    with np.errstate(over="ignore"):  # an error whose square overflows is infinitely large
        return Size(float(np.sqrt(np.mean(np.square(error)))), float(abs(error).max()))


def scores(found: Mapping[str, Size], floor: Mapping[str, Size]) -> dict[str, float]:
    """The score of every tap: the greater of its two errors, each divided by its floor."""
    # NOISE-SCORE
    return {
        name: max(_multiple(size.rms, floor[name].rms), _multiple(size.max, floor[name].max))
        for name, size in found.items()
    }


def _multiple(error: float, floor: float) -> float:
    return error / floor if floor else math.inf if error else 0.0


def evaluation(random: np.random.Generator) -> Any:
    """One legal float32 evaluation: every result rounded at random, every sum in a random order."""
    # NOISE-LEGAL

    def rounded(x: Array) -> Array:
        """``x`` moved by up to half an ulp at random, and rounded to float32."""
        return (x * (1 + random.uniform(-(2.0**-24), 2.0**-24, x.shape))).astype(np.float32)

    def matmul(a: Array, b: Array) -> Array:
        order = random.permutation(a.shape[-1])
        return rounded(np.matmul(a[..., order], b[..., order, :]))

    def relative_products(x: Array, relative: Array, row: Integers) -> Array:
        return gather_rows(matmul(x, relative.swapaxes(1, 2)), row)

    def linear(x: Array, p: Linear) -> Array:
        weight, bias = p.weight.astype(np.float32, copy=False), p.bias.astype(np.float32, copy=False)
        return rounded(matmul(x, weight.T) + bias)

    def total(x: Array) -> Array:
        """The sum over the last axis, in a random order."""
        return rounded(x[..., random.permutation(x.shape[-1])].sum(axis=-1, keepdims=True))

    def layer_norm(x: Array, p: Norm) -> Array:
        x, D = rounded(x), np.float32(x.shape[-1])
        exponent = np.maximum(np.frexp(abs(x).max(axis=-1, keepdims=True))[1], 0)
        x, epsilon = np.ldexp(x, -exponent), np.ldexp(np.float32(EPSILON), -2 * exponent)  # exact: no square overflows
        centred = rounded(x - rounded(total(x) / D))
        variance = rounded(total(rounded(centred * centred)) / D)
        normalised = rounded(centred / rounded(np.sqrt(rounded(variance + epsilon))))
        scale, bias = p.scale.astype(np.float32, copy=False), p.bias.astype(np.float32, copy=False)
        return rounded(rounded(normalised * scale) + bias)

    def softmax(x: Array) -> Array:
        x = rounded(x)
        exp = rounded(np.exp(rounded(x - x.max(axis=-1, keepdims=True))))
        return rounded(exp / total(exp))

    def half_x_times_1_plus_erf(x: Array) -> Array:
        wide = np.where(x == 0, 1.0, x.astype(np.float64))
        erf = rounded(2 * gelu(wide) / wide - 1)
        return rounded(rounded(np.float32(0.5) * x) * rounded(1 + erf))

    return exchanged(
        matmul=matmul,
        relative_products=relative_products,
        linear=linear,
        layer_norm=layer_norm,
        softmax=softmax,
        gelu=half_x_times_1_plus_erf,
    )
