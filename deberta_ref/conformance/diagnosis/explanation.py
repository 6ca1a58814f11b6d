"""How far one mistake explains all that a port answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from deberta_ref.conformance.diagnosis.evidence import RIGHT, Evidence
from deberta_ref.conformance.mistakes.mistake import Mistake
from deberta_ref.conformance.verdict import LIMIT

CHEAP = 12_000.0
"""The cost of a case up to which it is among the first to be compared: two milliseconds."""

DEAR = 1e6
"""The cost from which on a case takes seconds."""

NARROW = 8
"""Features below which a case says little."""

Clock = Callable[[], bool]
"""Whether the time is over."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What comparing a mistake with answers, in their order, has shown."""

    mistake: Mistake
    score: float  # the worst of those compared
    left: Evidence | None  # the first that it does not explain
    fits: bool  # whether it explains all, a failing case among it; dear ones may be left out for want of time
    partly: bool  # whether it explains half of the error or more wherever compared, and contradicts no right answer


def in_order(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The answers in the order in which most mistakes are ruled out soonest.

    Cheap ones first, failing ones before others; those of a few features last, as a normalisation of two is ±1 whatever
    comes in.
    """

    def key(e: Evidence) -> tuple[bool, bool, bool, bool, float]:
        narrow = "config" in e.case.manifest and e.case.config.hidden_dim < NARROW
        return e.cost > DEAR, e.cost > CHEAP, not e.fails, narrow, e.cost

    return sorted(evidence, key=key)


def explained(mistake: Mistake, order: Sequence[Evidence], out_of_time: Clock, at_least: int = 1) -> Explanation:
    """How far a mistake explains the answers: up to the first that it does not, but of ``at_least`` as many."""
    worst, left, some, against, hasty = 0.0, None, False, False, False
    for n, e in enumerate(order):
        if (left and n >= at_least) or out_of_time():
            hasty = e.cost <= DEAR  # what is dear comes last
            break
        score = e.score(mistake)
        worst = max(worst, score)
        if score > LIMIT:
            left = left or e
            against = against or not (e.fails and score < e.score(RIGHT) / 2)
        elif e.fails:
            some = True
    return Explanation(mistake, worst, left, fits=some and not (left or hasty), partly=left is not None and not against)
