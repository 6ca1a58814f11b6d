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
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.corpus import WHOLE, Case
from deberta_ref.conformance.cases.precisions import Way
from deberta_ref.conformance.diagnosis.evidence import EXPENSIVE, Evidence
from deberta_ref.conformance.mistakes.lowered import PRECISIONS, RETURNED
from deberta_ref.conformance.mistakes.mistake import CANNOT, Lowered, Mistake, Returned, predicted
from deberta_ref.conformance.verdict import LIMIT, Match

FACTOR = 2.25
"""By what factor a port's error may differ from the predicted one, in any case. Measured: up to 2.1 if other operations
or their results are in that precision too; 8 for the next rougher precision; 3.8 and more for mistakes."""

LEFT = 0.7
"""What share of its error a way to compute may leave unexplained, in the median case, to predict the values and not the
size alone. Measured on the right way: up to 0.16, and 0.63 where each token has a scale; the least counts."""

NOTABLE = 20.0
"""So many times the rounding error of float32 is an error that can be explained in parts."""

HALVES = ("float16", "bfloat16")

MANY = 5
"""So few failing cases say nothing of what most have."""


def recognised(evidence: Sequence[Evidence], out_of_time: Callable[[], bool]) -> list[Match]:
    """The lower precisions in which all answers may have been computed, best first.

    The score is the factor by which the port's error differs from the predicted one, in the worst case: 1 if it never
    differs. If one predicts the values, those that predict the size alone are left out.
    """
    by_value: list[tuple[float, Match]] = []
    by_size: list[tuple[float, Match]] = []
    for precision in PRECISIONS:
        (lowered,) = precision.of(Lowered)
        for way in lowered.ways:
            left, factor = _compared(precision, way, evidence, out_of_time)
            match = precision.match(factor)
            if factor <= FACTOR and left <= LEFT:
                by_value.append((left, replace(match, by_size=False, left=left)))
            elif factor <= FACTOR and lowered.by_size:
                by_size.append((factor, match))
    best: dict[str, Match] = {}
    for _, match in sorted(by_value or by_size, key=lambda found: found[0]):
        best.setdefault(match.mutant, match)
    return [*best.values()]


def most_in(answers: Sequence[tuple[Case, Mapping[str, Any]]]) -> tuple[str, int, int] | None:
    """The half precision that most failing whole models have errors of the size of, in how many of how many; or None.

    The others may have a mistake besides, which that precision shows better than float32.
    """
    evidence = [Evidence(case, found) for case, found in answers if found and case.suite in WHOLE]
    failing = [e.required() for e in evidence if e.fails and e.cost < EXPENSIVE]
    best: tuple[str, int, int] | None = None
    for precision in HALVES:
        (lowered,) = next(p for p in PRECISIONS if p.id == f"precision-{precision}").of(Lowered)
        way = lowered.ways[0]
        model = way.model()
        given = ((e, predicted(model, e.case, e.case.params, way.dtype, e.found)) for e in failing)
        count = sum(_factor(e, theirs) <= FACTOR for e, theirs in given)
        if 2 * count > len(failing) > MANY and (best is None or count > best[1]):
            best = precision, count, len(failing)
    return best


def _compared(
    precision: Mistake, way: Way, evidence: Sequence[Evidence], out_of_time: Callable[[], bool]
) -> tuple[float, float]:
    """How much of the port's error this leaves unexplained, in the median, and by what factor it is off at most.

    Stops at the first case in which it is off by more than ``FACTOR``; infinite if the time is up before.
    """
    lefts, factor = [], 1.0
    model = way.model()
    for e in evidence:
        if out_of_time() or factor > FACTOR:
            return math.inf, math.inf
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # float16 may overflow here as it may in the port
                theirs = predicted(model, e.case, precision.params(e.case), way.dtype, e.found)
        except CANNOT:
            return math.inf, math.inf
        lefts += _left(e, theirs)
        factor = max(factor, _factor(e, theirs))
    return median(lefts) if lefts else math.inf, factor


def _left(e: Evidence, theirs: Mapping[str, Any]) -> list[float]:
    """The share of the error of every wrong value that remains if this is the truth."""
    with np.errstate(all="ignore"):
        whole, unexplained = e.case.errors(e.found), e.case.with_values(expected=theirs).errors(e.found)
    floors = e.case.floors
    return [unexplained[name].rms / size.rms for name, size in whole.items() if size.rms > NOTABLE * floors[name].rms]


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
