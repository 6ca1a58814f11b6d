"""A type of half precision that right values were rounded to when they were returned, and nothing before.

Nothing was computed in that type: every number is the nearest one that it has, or the other neighbour where float32
noise decides between the two. So it is told exactly, number by number, and not by the size of the errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deberta_ref.conformance.diagnosis.evidence import Evidence
from deberta_ref.conformance.diagnosis.precision import float16
from deberta_ref.conformance.mistakes.loading import bfloat16
from deberta_ref.conformance.mistakes.mistake import Mistake, Returned
from deberta_ref.conformance.verdict import LIMIT, Match

RETURNED = (
    Mistake(
        "output-rounded-to-float16",
        "NUM-DTYPE",
        "What is returned was computed in float32, and is right, but was rounded to float16 in the end.",
        Returned(float16, 11, -13),
    ),
    Mistake(
        "output-rounded-to-bfloat16",
        "NUM-DTYPE",
        "What is returned was computed in float32, and is right, but was rounded to bfloat16 in the end.",
        Returned(bfloat16, 8, -125),
    ),
)


def returned_rounded(evidence: Sequence[Evidence]) -> list[Match]:
    """The type that all wrong values of the answers were rounded to; nothing where that does not explain them.

    The score is what the rounding leaves unexplained, in noise multiples.
    """
    failing = [e for e in evidence if e.fails]
    if not failing or not all(e.finite for e in failing):
        return []
    found = []
    for mistake in RETURNED:
        score = max(_unexplained(returned, e) for e in failing for returned in mistake.of(Returned))
        if score <= LIMIT:
            found.append(mistake.match(score))
    return found


def _unexplained(returned: Returned, e: Evidence) -> float:
    """The worst score of a value when each of its numbers may have been anything that is rounded to it."""
    nearest = dict(e.found)
    for name, found in e.found.items():
        if found.dtype.kind == "f" and np.array_equal(returned.rounding(found), found):
            half = returned.half_a_step(found)
            nearest[name] = np.clip(e.case.expected[name], found - half, found + half)
    return max(e.case.scores(nearest).values())
