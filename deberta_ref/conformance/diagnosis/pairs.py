"""Two mistakes at once, if no single one explains a port: which pairs are tried, and in which order.

There are thousands of pairs. The error of two mistakes together is about the sum of their separate errors, so the sums
tell which pairs may explain what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from deberta_ref.conformance.diagnosis.evidence import CHEAP, Clock, Evidence, Explanation, explained
from deberta_ref.conformance.mistakes.mistake import CANNOT, Mistake, predicted
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.precision import Array

PROBES = 6
"""Failing cases on which the errors are added up."""

RIGHT_ONES = 3
"""Passing cases that neither mistake may change."""

TRIED = 600
"""The most pairs that are tried, which takes seconds. Measured: of a hundred pairs 97 came up among the first 100."""


def pairs(order: Sequence[Evidence], singles: Sequence[Explanation], out_of_time: Clock) -> list[Explanation]:
    """The first pair that explains all answers, if there is one.

    ``singles`` tells how far each mistake alone explains them.
    """
    right = [e for e in order if not e.fails and e.cost <= CHEAP][:RIGHT_ONES]
    possible = [s for s in singles if all(e.score(s.mistake) <= LIMIT for e in right)]
    if len(possible) < 2:
        return []
    probes = [e for e in order if e.fails and e.finite][:PROBES]
    for one, other in _likeliest(probes, possible):
        if out_of_time():
            break
        latest = max(one, other, key=lambda s: order.index(s.left) if s.left else -1)
        first = [latest.left] if latest.left else []
        found = explained(one.mistake + other.mistake, [*first, *(e for e in order if e not in first)], out_of_time)
        if found.fits:
            return [found]
    return []


def _likeliest(probes: Sequence[Evidence], singles: Sequence[Explanation]) -> Iterator[tuple[Explanation, Explanation]]:
    """At most ``TRIED`` pairs, those first whose summed errors leave least of the port's errors unexplained.

    What is left is added over the probes as logarithms, so that a probe explained to within rounding counts much.
    """
    left_over = np.zeros((len(singles), len(singles)))
    for e in probes:
        error = e.difference(e.found)
        noise = LIMIT * e.case.floors[e.case.required[0]].rms * math.sqrt(error.size)
        effects = np.array([_effect(e, s.mistake) for s in singles])  # (n, numbers)
        squares = np.square(error - effects).sum(axis=1)  # |error − one|²
        left = squares[:, None] + squares - error @ error + 2 * effects @ effects.T  # |error − one − other|²
        left_over += np.log(np.fmax(left, noise**2))
    one, other = np.triu_indices(len(singles), 1)
    for n in np.argsort(left_over[one, other], kind="stable")[:TRIED]:
        yield singles[one[n]], singles[other[n]]


def _effect(e: Evidence, mistake: Mistake) -> Array:
    """What a mistake adds to a right answer: (numbers,); zeros if it cannot compute the case."""
    try:
        difference = e.difference(
            predicted(mistake.model(), e.case, mistake.params(e.case), "float64", e.case.required)
        )
    except CANNOT:
        return np.zeros_like(e.difference(e.found))
    return np.nan_to_num(difference, nan=0.0, posinf=0.0, neginf=0.0)
