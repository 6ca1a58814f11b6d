"""Which known mistakes a port has, and which it cannot have, in its own precision. Chapter 15 of spec/.

Rounding errors are spread evenly over all directions; a mistake has one. So the error of a port is projected onto the
direction of each mistake, mutant minus truth. The share is 1 for a port that makes the mistake and 0 for one that does
not, and its spread is measured on legal evaluations. That shows mistakes far below the size of the rounding errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.precisions import ways
from deberta_ref.conformance.mistakes.known import known
from deberta_ref.conformance.mistakes.mistake import CANNOT, Mistake, chapter
from deberta_ref.conformance.verdict import Finding, Match, State
from deberta_ref.precision import Array, Precision

SIGMA = 5.0
"""EVID-STATE: so many standard deviations decide."""

SPREAD = 0.1
"""EVID-STATE: the largest standard deviation with which 0 and 1 are ``2 · SIGMA`` of them apart."""

NEAR = 0.1
"""EVID-STATE: how far from 1 the share of a mistake may be that a port has. Measured: 0.005, or within 5 deviations;
0.07 for embeddings that are rounded to int8 and then to bfloat16."""

LEFT, SHARE_LEFT = 2.0, 0.06
"""EVID-STATE: how much a port's mistakes may leave over of its error, in multiples of the rounding error, or else of
that error, for a mistake can make a model more sensitive. Measured: up to 2, but for 4.3 of an error of 573 or 72."""

NEGLIGIBLE = 1e-6
"""EVID-STATE: a mistake that changes the outputs by less, in multiples of the rounding error, does not show in them."""

AT_ONCE = 5
"""The most mistakes that are found in one port."""

KEPT = 4
"""So many precisions have their directions kept, at 80 MB each."""

Answers = Sequence[tuple[Case, Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class Direction:
    """What a mistake changes in the outputs of all cases, in multiples of their floors: (numbers,), float32."""

    mistake: Mistake
    change: Array
    mean: float  # of the share of legal evaluations
    spread: float  # and its standard deviation

    @cached_property
    def square(self) -> float:
        """Its squared length."""
        return float(self.change @ self.change)

    def share(self, error: Array) -> float:
        """How much of this mistake is in an error: 1 if it is made, 0 if not."""
        return float(self.change @ error) / self.square - self.mean if self.square else 0.0


def findings(
    answers: Answers, precision: Precision, seen: Callable[[str], None] = lambda _what: None
) -> tuple[list[Finding], list[Match]]:
    """The state of every known mistake, in the order of the specification, and those that the port has, largest first.

    ``answers`` are outputs by name, float64, of whole models in ``precision``. ``seen`` is called with what is
    measured next. If the mistakes that the port seems to have leave over more than rounding, its error is of another
    kind: then no mistake is said to be there, and none to be excluded.
    """
    cases = [case for case, _ in answers]
    error = _joined((found["output"] for _, found in answers), cases)
    directions = _measured(cases, precision, seen)
    made: list[Direction] = []
    left = error
    while len(made) < AT_ONCE and np.isfinite(left).all():  # one after another: what one explains is taken away
        found = [d for d in directions if d not in made and state(d, left)[0] == "has"]
        if not found:
            break
        made.append(min(found, key=lambda d: _rms(left - d.change)))
        left = left - made[-1].change
    explained = _rms(left) < math.inf and _rms(left) <= max(LEFT, SHARE_LEFT * _rms(error))  # EVID-STATE
    listed = []
    for d in directions:
        decided, sigma = state(d, left + d.change if d in made else left) if explained else ("undecided", 0.0)
        decided = decided if decided != "has" or d in made else "undecided"
        listed.append(Finding(d.mistake.id, d.mistake.clause, d.mistake.sentence, decided, sigma, _rms(d.change)))
    score = _rms(left)
    matches = [Match(m.id, m.clause, score, m.sentence, chapter(m.clause), m.seen) for m in (d.mistake for d in made)]
    return listed, matches if explained else []


def _rms(error: Array) -> float:
    """The root mean square; infinite where an error is not finite."""
    with np.errstate(all="ignore"):
        size = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
    return size if math.isfinite(size) else math.inf


def state(direction: Direction, error: Array) -> tuple[State, float]:
    """Whether a port with this error has the mistake, and by how many standard deviations that is decided."""
    # EVID-STATE
    share = direction.share(error)
    if direction.spread > SPREAD:
        return "undecided", 0.0
    if abs(share) >= SIGMA * direction.spread and abs(share - 1) <= max(NEAR, SIGMA * direction.spread):
        return "has", _sigma(direction, share)
    away = _sigma(direction, share - 1)
    return ("excluded", away) if away >= SIGMA else ("undecided", away)


def _sigma(direction: Direction, distance: float) -> float:
    """A distance in standard deviations."""
    return min(abs(distance) / direction.spread, 1e9) if direction.spread else 1e9


_MEASURED: dict[tuple[str, ...], list[Direction]] = {}
"""The directions of the cases that were asked last: they do not depend on the port."""


def _measured(cases: Sequence[Case], precision: Precision, seen: Callable[[str], None]) -> list[Direction]:
    """The direction of every known mistake in these cases."""
    key = (precision, *(f"{case.id} {hash(case.expected['output'].tobytes())}" for case in cases))
    if key not in _MEASURED:
        while len(_MEASURED) >= KEPT:
            del _MEASURED[next(iter(_MEASURED))]
        _MEASURED[key] = list(_directions(cases, precision, seen))
    return _MEASURED[key]


def _directions(cases: Sequence[Case], precision: Precision, seen: Callable[[str], None]) -> Iterator[Direction]:
    """The direction of every known mistake; its spread is infinite if it changes no output of these cases."""
    seen("rounding errors of right ports")
    legal = [(way.at_random, _joined((_of_way(way, case) for case in cases), cases)) for way in ways(precision)]
    for mistake in known({"output"}):
        seen(mistake.id)
        change = _joined((_of_mistake(mistake, case) for case in cases), cases)
        square = float(change @ change)
        if not math.isfinite(square) or _rms(change) < NEGLIGIBLE:
            yield Direction(mistake, np.zeros_like(change), 0.0, math.inf)
            continue
        shares = [(at_random, float(change @ error) / square) for at_random, error in legal]
        fixed = [share for at_random, share in shares if not at_random]
        random = [share for at_random, share in shares if at_random]
        spread = math.hypot(np.std(fixed), np.std(random) / math.sqrt(2))  # random ones err sqrt(2) times as much
        yield Direction(mistake, change, float(np.mean(fixed)), spread)


def _of_way(way: Any, case: Case) -> Any:
    with np.errstate(all="ignore"):
        return way.model().forward(case.params, case.inputs, way.dtype).astype(np.float64)


def _of_mistake(mistake: Mistake, case: Case) -> Any:
    """The output with a mistake; the right one where it cannot compute the case, or gives what is not finite."""
    try:
        with np.errstate(all="ignore"):
            output = mistake.model().forward(mistake.params(case), case.inputs, "float64")
    except CANNOT:
        return case.expected["output"]
    return output if np.isfinite(output[_mask(case)]).all() else case.expected["output"]


def _joined(outputs: Iterable[Any], cases: Sequence[Case]) -> Array:
    """What outputs differ by from the right ones at valid positions, in multiples of each case's floor: (numbers,)."""
    parts = [
        ((output - case.expected["output"])[_mask(case)] / case.floors["output"].rms).ravel()
        for output, case in zip(outputs, cases, strict=True)
    ]
    return np.concatenate(parts).astype(np.float32)


def _mask(case: Case) -> Any:
    return case.inputs["padding_mask"].astype(bool)
