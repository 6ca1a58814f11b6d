"""Two mistakes at once, where no single one explains a port: which pairs are tried, and in which order.

There are thousands of pairs. The error that two make together is about the sum of those that each makes, so their
errors apart say which pairs come near what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from deberta_ref.conformance.diagnosis.evidence import Evidence
from deberta_ref.conformance.diagnosis.explanation import CHEAP, Clock, Explanation, explained
from deberta_ref.conformance.mistakes.mistake import CANNOT, Mistake, predicted
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.precision import Array

PROBES = 6
"""Failing cases that the errors are added up for."""

RIGHT_ONES = 3
"""Passing cases that neither of the two may change."""

TRIED = 600
"""Pairs that are tried at most, some seconds; of a hundred pairs that were made, 97 came up among the first 100."""


def pairs(order: Sequence[Evidence], singles: Sequence[Explanation], out_of_time: Clock) -> list[Explanation]:
    """The pairs that explain all answers: the first that is found, and nothing where none is.

    ``singles`` says of every mistake how far it explains them alone.
    """
    right = [e for e in order if not e.fails and e.cost <= CHEAP][:RIGHT_ONES]
    possible = [s for s in singles if all(e.score(s.mistake) <= LIMIT for e in right)]
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
    """Pairs, by how little of the port's errors the sum of their two leaves over: at most ``TRIED``.

    Over the probes the logarithms of what is left are added, so that one that is explained to its noise counts much.
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
    """What a mistake adds to a right answer: (numbers,); nothing where it cannot compute the case."""
    try:
        difference = e.difference(
            predicted(mistake.model(), e.case, mistake.params(e.case), "float64", e.case.required)
        )
    except CANNOT:
        return np.zeros_like(e.difference(e.found))
    return np.nan_to_num(difference, nan=0.0, posinf=0.0, neginf=0.0)
