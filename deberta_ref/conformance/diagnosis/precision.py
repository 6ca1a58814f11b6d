"""Lower precisions: what was computed in one, and what was computed in float32 and rounded when it was returned.

A port in a lower precision rounds almost the same numbers as the reference does with the same operations in that
precision, so most of its error is predicted, number by number. Where each rounding moves the next ones, as in a half
precision throughout, only the size of the error is: such a port errs by about as much as the reference does, in every
case, in the mean and at the largest, so that no case and no number stands out, as they do with a mistake.

Rounding a float32 result at the end is recognised number by number. Every number is the nearest one that the type has,
or the other neighbour where float32 noise decides between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.precisions import Way
from deberta_ref.conformance.diagnosis.evidence import Evidence
from deberta_ref.conformance.mistakes.lowered import PRECISIONS, RETURNED
from deberta_ref.conformance.mistakes.mistake import CANNOT, Lowered, Mistake, Returned, predicted
from deberta_ref.conformance.verdict import LIMIT, Match

FACTOR = 2.25
"""By what factor a port's error may differ from the predicted one, in any case. Measured: up to 2.1 if other operations
or their results are in that precision too; 8 for the next rougher precision; 3.8 and more for mistakes."""

LEFT = 0.75
"""What share of its error a way to compute may leave unexplained in a case, to predict the values and not the size
alone. Measured on the right way: up to 0.4, and 0.72 where each token has a scale."""

NOTABLE = 20.0
"""So many times the rounding error of float32 is an error that can be explained in parts."""


def recognised(evidence: Sequence[Evidence], out_of_time: Callable[[], bool]) -> list[Match]:
    """The lower precisions in which all answers may have been computed, best first.

    The score is the factor by which the port's error differs from the predicted one, in the worst case: 1 if it never
    differs. If one predicts the values, those that predict the size alone are left out.
    """
    by_value, by_size = [], []
    for precision in PRECISIONS:
        for way in (way for lowered in precision.of(Lowered) for way in lowered.ways):
            left, factor = _compared(precision, way, evidence, out_of_time)
            if left <= LEFT:
                by_value.append(replace(precision.match(factor), by_size=False, left=left))
            elif factor <= FACTOR:
                by_size.append(precision.match(factor))
    by_value.sort(key=lambda match: match.left or 0.0)
    best = {match.mutant: match for match in reversed(by_value or sorted(by_size, key=lambda match: match.score))}
    return [*reversed(best.values())]


def _compared(
    precision: Mistake, way: Way, evidence: Sequence[Evidence], out_of_time: Callable[[], bool]
) -> tuple[float, float]:
    """How much of the port's error this leaves unexplained, and by what factor it is off in size.

    Both are infinite once a case has ruled them out, or if the time is up before.
    """
    lefts, factor = [0.0], 1.0
    model = way.model()
    for e in evidence:
        if out_of_time() or (math.isinf(lefts[-1]) and math.isinf(factor)):
            return math.inf, math.inf
        try:
            with np.errstate(all="ignore"):
                theirs = predicted(model, e.case, precision.params(e.case), way.dtype, e.found)
        except CANNOT:
            return math.inf, math.inf
        left = _left(e, theirs)
        lefts.append(math.inf if left > LEFT or math.isinf(lefts[-1]) else left)
        off = _factor(e, theirs)
        factor = math.inf if off > FACTOR else max(factor, off)
    return math.sqrt(sum(left**2 for left in lefts) / (len(lefts) - 1)), factor


def _left(e: Evidence, theirs: Mapping[str, Any]) -> float:
    """The share of the port's error, in the worst of the values, that remains if this is the truth.

    0 in a case that the port has right, or in one with padded positions: what is rounded there depends on padding.
    """
    if not e.fails or not e.case.inputs["padding_mask"].all():
        return 0.0
    with np.errstate(all="ignore"):
        whole, unexplained = e.case.errors(e.found), e.case.with_values(expected=theirs).errors(e.found)
    floors = e.case.floors
    notable = [name for name, size in whole.items() if size.rms > NOTABLE * floors[name].rms]
    return max((unexplained[name].rms / whole[name].rms for name in notable), default=0.0)


def _factor(e: Evidence, theirs: Mapping[str, Any]) -> float:
    """By what factor an answer's errors and those of this variant of the model differ: the mean, or the largest."""
    with np.errstate(all="ignore"):
        pairs = zip(e.case.errors(e.found).items(), e.case.errors(theirs).values(), strict=True)
    factors = [1.0]
    for (name, port), expected in pairs:
        floor = e.case.floors[name]
        for one, other, noise in ((port.rms, expected.rms, floor.rms), (port.max, expected.max, floor.max)):
            ratio = math.hypot(one, noise) / math.hypot(other, noise)
            factors += [] if math.isinf(one) and math.isinf(other) else [ratio, 1 / ratio if ratio else math.inf]
    return max(factors)


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
