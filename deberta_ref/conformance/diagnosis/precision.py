"""Lower precisions: what was computed in one, and what was computed in float32 and rounded when it was returned.

Computing in a lower precision is recognised by the size of the errors: no two implementations round alike, so no value
can be predicted. Such a port errs by about as much as the reference does with operations in that precision, in every
case: in the mean and at the largest, so that no case and no number stands out, as they do with a mistake.

Rounding a float32 result at the end is recognised number by number. Every number is the nearest one that the type has,
or the other neighbour where float32 noise decides between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref import ops
from deberta_ref.conformance.cases.precisions import cut, of_attention, products, tf32
from deberta_ref.conformance.cases.variants import exchanged
from deberta_ref.conformance.diagnosis.evidence import Evidence
from deberta_ref.conformance.mistakes.loading import bfloat16
from deberta_ref.conformance.mistakes.mistake import Lowered, Mistake, Returned, Rounding, predicted
from deberta_ref.conformance.verdict import LIMIT, Match
from deberta_ref.fast import gelu

FACTOR = 2.25
"""By what factor a port's error may differ from the predicted one, in any case. Measured: up to 2.1 if other operations
or their results are in that precision too; 8 for the next rougher precision; 3.8 and more for mistakes."""


def float16(x: Any) -> Any:
    """The nearest numbers of float16, as float32."""
    return x.astype(np.float16).astype(np.float32)


def int8(x: Any) -> Any:
    """The nearest of 255 evenly spaced numbers, scaled to the largest in ``x``."""
    step = abs(x).max(initial=0) / 127 or 1
    return (np.rint(x / step) * step).astype(np.float32)


def softmax(rounding: Rounding) -> dict[str, Any]:
    """The softmax of rounded scores, rounded."""
    return {"softmax": lambda x: rounding(ops.softmax(rounding(x)))}


def exponentials(rounding: Rounding) -> dict[str, Any]:
    """The softmax with only the exponential and its argument rounded; summed in float32."""

    def softmax(x: Any) -> Any:
        exp = rounding(np.exp(rounding(x - x.max(axis=-1, keepdims=True))))
        return exp / exp.sum(axis=-1, keepdims=True)

    return {"softmax": softmax}


def everything(rounding: Rounding) -> dict[str, Any]:
    """Every operation computed in float32, with its operands and its result rounded."""

    def matmul(a: Any, b: Any) -> Any:
        return rounding(np.matmul(rounding(a), rounding(b)))

    return {
        **of_attention(matmul),
        "linear": lambda x, p: rounding(matmul(x, p.weight.T.astype(np.float32)) + rounding(p.bias)),
        "layer_norm": lambda x, p: rounding(ops.layer_norm(rounding(x), p)),
        "gelu": lambda x: rounding(gelu(x)),
        **softmax(rounding),
    }


def autocast(rounding: Rounding) -> dict[str, Any]:
    """Matrix products with operands and results rounded; all else in float32, as under torch.autocast."""
    return {name: everything(rounding)[name] for name in ("matmul", "relative_products", "linear")}


def attention(rounding: Rounding) -> dict[str, Any]:
    """Only the matrix products of attention, of rounded operands."""
    return of_attention(products(rounding)["matmul"])


def all_of_attention(rounding: Rounding) -> dict[str, Any]:
    """Only attention: its products with their results, and its softmax, as in a half-precision kernel."""
    return {**of_attention(everything(rounding)["matmul"]), **softmax(rounding)}


def linear(rounding: Rounding) -> dict[str, Any]:
    """Only linear maps, of rounded operands."""
    return {"linear": products(rounding)["linear"]}


PRECISIONS = (
    Mistake(
        "precision-tf32-products",
        "NOISE-LEGAL",
        "Matrix products round their operands to TensorFloat-32 or float16. Recognised by the size of the errors.",
        Lowered((products(tf32), products(cut(13))), ("products-in-half",)),
    ),
    Mistake(
        "precision-bfloat16-products",
        "NOISE-LEGAL",
        "Matrix products round their operands to bfloat16. Recognised by the size of the errors.",
        Lowered((products(bfloat16), products(cut(16)))),
    ),
    Mistake(
        "precision-bfloat16-autocast",
        "NUM-DTYPE",
        "Matrix products take and return bfloat16, as under autocast. Recognised by the size of the errors.",
        Lowered((autocast(bfloat16),)),
    ),
    Mistake(
        "precision-float16-attention",
        "NOISE-LEGAL",
        "Only attention is computed in float16 or TensorFloat-32. Recognised by the size of the errors.",
        Lowered((attention(tf32), all_of_attention(float16))),
    ),
    Mistake(
        "precision-bfloat16-attention",
        "NOISE-LEGAL",
        "Only attention is computed in bfloat16. Recognised by the size of the errors.",
        Lowered((attention(bfloat16), all_of_attention(bfloat16))),
    ),
    Mistake(
        "precision-int8-products",
        "NOISE-LEGAL",
        "Linear maps round their operands to integers of 8 bits. Recognised by the size of the errors.",
        Lowered((linear(int8),)),
    ),
    Mistake(
        "precision-half-softmax",
        "NUM-DTYPE",
        "The softmax is computed in float16. Recognised by the size of the errors.",
        Lowered((softmax(float16), exponentials(float16)), ("softmax-in-half",)),
    ),
    Mistake(
        "precision-bfloat16-softmax",
        "NUM-DTYPE",
        "The softmax is computed in bfloat16. Recognised by the size of the errors.",
        Lowered((softmax(bfloat16),)),
    ),
    Mistake(
        "precision-float16",
        "NUM-DTYPE",
        "Everything is computed in float16. Recognised by the size of the errors.",
        Lowered((everything(float16),)),
    ),
    Mistake(
        "precision-bfloat16",
        "NUM-DTYPE",
        "Everything is computed in bfloat16. Recognised by the size of the errors.",
        Lowered((everything(bfloat16),)),
    ),
)


def recognised(evidence: Sequence[Evidence], out_of_time: Callable[[], bool]) -> list[Match]:
    """The lower precisions in which all answers may have been computed, best first.

    The score is the factor by which the port's error differs from the predicted one, in the worst case: 1 if it never
    differs, at most ``FACTOR``.
    """
    found = []
    for precision in PRECISIONS:
        ways = [functions for lowered in precision.of(Lowered) for functions in lowered.ways]
        score = min(_worst(exchanged(**functions), evidence, out_of_time) for functions in ways)
        if score <= FACTOR:
            found.append(precision.match(score))
    return sorted(found, key=lambda match: match.score)


def _worst(model: ModuleType, evidence: Sequence[Evidence], out_of_time: Callable[[], bool]) -> float:
    """The worst factor over the cases, up to the first over ``FACTOR``; infinite if the time is up before."""
    worst = 1.0
    for e in evidence:
        if worst > FACTOR:
            break
        if out_of_time():
            return math.inf
        worst = max(worst, _factor(model, e))
    return worst


def _factor(model: ModuleType, e: Evidence) -> float:
    """By what factor an answer's errors and those of this variant of the model differ: the mean, or the largest."""
    theirs = predicted(model, e.case, e.case.params, "float32", e.found)
    with np.errstate(all="ignore"):
        pairs = zip(e.case.errors(e.found).items(), e.case.errors(theirs).values(), strict=True)
    factors = [1.0]
    for (name, port), expected in pairs:
        floor = e.case.floors[name]
        for one, other, noise in ((port.rms, expected.rms, floor.rms), (port.max, expected.max, floor.max)):
            ratio = math.hypot(one, noise) / math.hypot(other, noise)
            factors += [] if math.isinf(one) and math.isinf(other) else [ratio, 1 / ratio if ratio else math.inf]
    return max(factors)


RETURNED = (
    Mistake(
        "output-rounded-to-float16",
        "NUM-DTYPE",
        "The values are right and were computed in float32, but they were rounded to float16 before being returned.",
        Returned(float16, 11, -13),
    ),
    Mistake(
        "output-rounded-to-bfloat16",
        "NUM-DTYPE",
        "The values are right and were computed in float32, but they were rounded to bfloat16 before being returned.",
        Returned(bfloat16, 8, -125),
    ),
)


def returned_rounded(evidence: Sequence[Evidence]) -> list[Match]:
    """The type of half precision to which right values were rounded when they were returned; empty if there is none.

    Detects outputs computed in float32 and then cast to half. The score is that of what the rounding does not explain.
    """
    failing = [e for e in evidence if e.fails]
    if not failing or not all(e.finite for e in failing):
        return []
    scores = {
        mistake: max(_unexplained(returned, e) for e in failing for returned in mistake.of(Returned))
        for mistake in RETURNED
    }
    return [mistake.match(score) for mistake, score in scores.items() if score <= LIMIT]


def _unexplained(returned: Returned, e: Evidence) -> float:
    """The worst score of a value if each of its numbers may have been any number that rounds to it."""
    nearest = dict(e.found)
    for name, found in e.found.items():
        if found.dtype.kind == "f" and np.array_equal(returned.rounding(found), found):
            half = returned.half_a_step(found)
            nearest[name] = np.clip(e.case.expected[name], found - half, found + half)
    return max(e.case.scores(nearest).values())
