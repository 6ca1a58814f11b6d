"""Lower precisions, recognised by the size of their errors: no two of them round alike, so no value can be predicted.

A port that computes in one errs by about as much as the reference does with operations in that precision, in every
case: in the mean and at the largest, so that no case and no number stands out, as they do with a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref import ops
from deberta_ref.conformance.cases.variants import exchanged
from deberta_ref.conformance.diagnosis.evidence import Evidence
from deberta_ref.conformance.mistakes.loading import bfloat16
from deberta_ref.conformance.mistakes.mistake import Lowered, Mistake, Rounding, predicted
from deberta_ref.conformance.verdict import Match
from deberta_ref.fast import gelu

FACTOR = 2.25
"""How many times more or less a port may err than is predicted, in any case. Measured: where other operations are in
that precision, or their results too, it is up to 2.1; a rougher precision is 8 times as far, mistakes 3.8 and more."""


def float16(x: Any) -> Any:
    """The nearest numbers that float16 has; float32 still."""
    return x.astype(np.float16).astype(np.float32)


def tf32(x: Any) -> Any:
    """The nearest numbers with the 11 bits of TensorFloat-32."""
    return cut(13)((x.astype(np.float32).view(np.uint32) + np.uint32(0x1000)).view(np.float32))


def cut(bits: int) -> Rounding:
    """What is left of float32 without its last bits, as where a product's hardware drops them: rounded towards zero."""
    mask = np.uint32(2**32 - 2**bits)
    return lambda x: (x.astype(np.float32).view(np.uint32) & mask).view(np.float32)


def int8(x: Any) -> Any:
    """The nearest of 255 numbers in even steps, up to the largest there is."""
    step = abs(x).max(initial=0) / 127 or 1
    return (np.rint(x / step) * step).astype(np.float32)


def products(rounding: Rounding) -> dict[str, Any]:
    """Matrix products of rounded operands, added up in float32."""

    def matmul(a: Any, b: Any) -> Any:
        return np.matmul(rounding(a), rounding(b))

    return {**of_attention(matmul), "linear": lambda x, p: matmul(x, p.weight.T.astype(np.float32)) + p.bias}


def of_attention(matmul: Any) -> dict[str, Any]:
    """The matrix products of attention by this function, those with relative embeddings too."""
    return {
        "matmul": matmul,
        "relative_products": lambda x, relative, row: ops.gather_rows(matmul(x, relative.swapaxes(1, 2)), row),
    }


def softmax(rounding: Rounding) -> dict[str, Any]:
    """The softmax of rounded scores, rounded."""
    return {"softmax": lambda x: rounding(ops.softmax(rounding(x)))}


def exponentials(rounding: Rounding) -> dict[str, Any]:
    """The softmax with its exponential alone rounded, and what that is taken of; added up in float32."""

    def softmax(x: Any) -> Any:
        exp = rounding(np.exp(rounding(x - x.max(axis=-1, keepdims=True))))
        return exp / exp.sum(axis=-1, keepdims=True)

    return {"softmax": softmax}


def everything(rounding: Rounding) -> dict[str, Any]:
    """Every operation's operands and result rounded, inside in float32."""

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
    """Matrix products of rounded operands, their results rounded too; all else in float32, as under torch.autocast."""
    return {name: everything(rounding)[name] for name in ("matmul", "relative_products", "linear")}


def attention(rounding: Rounding) -> dict[str, Any]:
    """The matrix products of attention alone, of rounded operands."""
    return of_attention(products(rounding)["matmul"])


def all_of_attention(rounding: Rounding) -> dict[str, Any]:
    """Attention alone, its softmax and the results of its products too, as in kernels of half precision."""
    return {**of_attention(everything(rounding)["matmul"]), **softmax(rounding)}


def linear(rounding: Rounding) -> dict[str, Any]:
    """Those of linear maps alone."""
    return {"linear": products(rounding)["linear"]}


PRECISIONS = (
    Mistake(
        "precision-tf32-products",
        "NOISE-LEGAL",
        "Matrix products round their operands to TensorFloat-32 or float16: told by the size of the errors.",
        Lowered((products(tf32), products(cut(13))), ("products-in-half",)),
    ),
    Mistake(
        "precision-bfloat16-products",
        "NOISE-LEGAL",
        "Matrix products round their operands to bfloat16: told by the size of the errors.",
        Lowered((products(bfloat16), products(cut(16)))),
    ),
    Mistake(
        "precision-bfloat16-autocast",
        "NUM-DTYPE",
        "Matrix products and their results are of bfloat16, as under autocast: told by the size of the errors.",
        Lowered((autocast(bfloat16),)),
    ),
    Mistake(
        "precision-float16-attention",
        "NOISE-LEGAL",
        "Attention, and nothing else, is of float16 or TensorFloat-32: told by the size of the errors.",
        Lowered((attention(tf32), all_of_attention(float16))),
    ),
    Mistake(
        "precision-bfloat16-attention",
        "NOISE-LEGAL",
        "Attention, and nothing else, is of bfloat16: told by the size of the errors.",
        Lowered((attention(bfloat16), all_of_attention(bfloat16))),
    ),
    Mistake(
        "precision-int8-products",
        "NOISE-LEGAL",
        "Linear maps round their operands to integers of 8 bits: told by the size of the errors.",
        Lowered((linear(int8),)),
    ),
    Mistake(
        "precision-half-softmax",
        "NUM-DTYPE",
        "The softmax is of float16: told by the size of the errors.",
        Lowered((softmax(float16), exponentials(float16)), ("softmax-in-half",)),
    ),
    Mistake(
        "precision-bfloat16-softmax",
        "NUM-DTYPE",
        "The softmax is of bfloat16: told by the size of the errors.",
        Lowered((softmax(bfloat16),)),
    ),
    Mistake(
        "precision-float16",
        "NUM-DTYPE",
        "Everything is computed in float16: told by the size of the errors.",
        Lowered((everything(float16),)),
    ),
    Mistake(
        "precision-bfloat16",
        "NUM-DTYPE",
        "Everything is computed in bfloat16: told by the size of the errors.",
        Lowered((everything(bfloat16),)),
    ),
)


def recognised(evidence: Sequence[Evidence], out_of_time: Callable[[], bool]) -> list[Match]:
    """The lower precisions that all answers may have been computed in, best first.

    The score is how many times more or less the port errs than is predicted, in the case where that is worst: 1 where
    it errs as predicted everywhere, ``FACTOR`` at most.
    """
    found = []
    for precision in PRECISIONS:
        ways = [functions for lowered in precision.of(Lowered) for functions in lowered.ways]
        score = min(_worst(exchanged(**functions), evidence, out_of_time) for functions in ways)
        if score <= FACTOR:
            found.append(precision.match(score))
    return sorted(found, key=lambda match: match.score)


def _worst(model: ModuleType, evidence: Sequence[Evidence], out_of_time: Callable[[], bool]) -> float:
    """The worst factor of the cases, of those up to the first that is over ``FACTOR``; infinite for want of time."""
    worst = 1.0
    for e in evidence:
        if worst > FACTOR:
            break
        if out_of_time():
            return math.inf
        worst = max(worst, _factor(model, e))
    return worst


def _factor(model: ModuleType, e: Evidence) -> float:
    """How many times more or less an answer errs than this variant of the model: in the mean, or at the largest."""
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
