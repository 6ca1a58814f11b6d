"""What is said of a port: a verdict on each case, a diagnosis, and whether it conforms. Data alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deberta_ref.precision import Precision

LIMIT = 4.0
"""JUDGE-LIMIT: a score over it is a mistake, for every case, tap and port.

A score is an error, in multiples of the float32 rounding error of a right implementation.
"""

Status = Literal["pass", "fail", "error", "skip", "xfail"]
"""What came of one case.

pass: every value is within the limit.
fail: a value is over the limit.
error: there is no usable answer, or a part of it is unusable.
skip: the port does not offer what the case asks for; a note says why.
xfail: it fails or errs, as --xfail expects.
"""


@dataclass(frozen=True)
class Verdict:
    """What a port gave for one case."""

    id: str
    suite: str
    status: Status
    score: float | None = None  # the greatest of ``scores``; None where nothing was compared
    scores: Mapping[str, float] = field(default_factory=dict)  # by tap, in the order of the computation
    first_tap: str | None = None  # the first over the limit
    last_tap_within: str | None = None  # the last one before it that is not
    mislabelled_taps: tuple[str, ...] = ()  # those over the limit from which everything computed is right
    local: tuple[int, float] | None = None  # the first layer that is wrong on golden inputs, and its score; if that is
    # within the limit, no layer is wrong by itself; None if the port does not offer single layers
    notes: tuple[str, ...] = ()  # sentences: why it is skipped, what is wrong with the answer, which variation it is
    reproduce: str = ""  # the command that judges this case alone
    seconds: float = 0.0
    found: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what came, float64, by tap

    @property
    def passes(self) -> bool:
        """Whether the port may conform in spite of this case: it passed, failed as expected, or was skipped."""
        return self.status in {"pass", "xfail", "skip"}

    @property
    def first_operation(self) -> str | None:
        """The first tap over the limit that is not merely mislabelled; None where there is none."""
        wrong = (name for name, score in self.scores.items() if score > LIMIT)  # JUDGE-FIRST
        return next((name for name in wrong if name not in self.mislabelled_taps), None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and a sentence on the mislabelled taps."""
        return (*self.notes, *([_on_mislabelled_taps(self)] if self.mislabelled_taps else []))


def kind(name: str) -> str:
    """A tap's name in any layer, as spec/09 writes it: 'layers.n.attention.scores'."""
    return re.sub(r"^layers\.\d+\.", "layers.n.", name)


def are_mislabelled(names: Sequence[str]) -> str:
    """'layers.n.attention.scores is mislabelled: the port hands over something else under that name'."""
    one = len(names) == 1
    return (
        f"{' and '.join(names)} {'is' if one else 'are'} mislabelled: the port hands over something else under "
        f"{'that name' if one else 'those names'}"
    )


def _on_mislabelled_taps(v: Verdict) -> str:
    names = list(dict.fromkeys(map(kind, v.mislabelled_taps)))
    it, is_ = ("it", "It is") if len(names) == 1 else ("them", "They are")
    rest = f"The first other wrong value is {v.first_operation}." if v.first_operation else "The port may be right."
    return f"{are_mislabelled(names)}. {is_} wrong, while everything computed from {it} is right. {rest}"


@dataclass(frozen=True)
class Match:
    """A mistake that a failing port may have made."""

    mutant: str  # its id; for two mistakes at once both ids, joined by " + "
    clause: str  # of spec/, that it breaks
    score: float  # the worst score of the port's answers against the mistake's: about 1 if it is this one
    sentence: str  # what it does, to a port's author
    chapter: str  # a file of spec/, such as 04-attention.md
    seen: tuple[str, ...] = ()  # the implementations known to have made it
    by_size: bool = False  # whether only the size of the errors is predicted; ``score`` is then the factor it is off by
    left: float | None = None  # of a lower precision that predicts the values: the share of the port's error that it
    # leaves unexplained, since roundings that differ move the next ones; ``score`` is the factor of the sizes here too


State = Literal["has", "excluded", "undecided"]
"""has: the port makes the mistake.
excluded: it does not.
undecided: these cases cannot tell, in this precision.
"""

STATES: tuple[State, ...] = ("has", "excluded", "undecided")


@dataclass(frozen=True)
class Finding:
    """What is known of one mistake in a port, in the port's precision."""

    mistake: str  # its id
    clause: str  # of spec/, that it breaks
    sentence: str
    state: State
    sigma: float  # how many standard deviations of legal evaluations decide it
    size: float  # how large its effect is in these cases: the root mean square, in multiples of the rounding error


ClauseState = Literal["held", "broken", "undecided"]


def clauses(evidence: Sequence[Finding]) -> dict[str, ClauseState]:
    """What is known of each clause that a known mistake breaks.

    broken: the port has a mistake that breaks it. held: all of its mistakes are excluded. undecided: neither.
    """
    # EVID-CLAUSES
    states: dict[str, set[State]] = {}
    for finding in evidence:
        states.setdefault(finding.clause, set()).add(finding.state)
    return {
        clause: "broken" if "has" in found else "held" if found == {"excluded"} else "undecided"
        for clause, found in states.items()
    }


@dataclass(frozen=True)
class Rounding:
    """How far the weights that a port uses are from those of a case."""

    case: str  # its id
    relative: float  # the root mean square of the difference, as a share of that of the weights
    effect: float  # what that changes in the output of the case: its root mean square
    multiples: float  # the same, in multiples of the rounding error


@dataclass(frozen=True)
class Report:
    """All that was found out about a port, and whether it conforms."""

    port: str  # as it was named
    verdicts: tuple[Verdict, ...]
    diagnosis: tuple[Match, ...] = ()  # best first
    common: tuple[str, ...] = ()  # sentences: what the failing cases have in common
    reasons: tuple[str, ...] = ()  # sentences: why it does not conform
    undecided: bool = False  # whether everything judged passes, but too few cases were judged for a verdict
    limit: float = LIMIT
    seconds: float = 0.0
    precision: Precision = "float32"
    evidence: tuple[Finding, ...] = ()  # of every known mistake, if it was asked for
    accepted: tuple[str, ...] = ()  # mistakes that the port has, and that are accepted
    roundings: tuple[Rounding, ...] = ()  # of its weights, where it is judged with its own

    @property
    def conforms(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reasons

    def known_to_be(self, state: State) -> tuple[Finding, ...]:
        """What is known of the mistakes that are in a state."""
        return tuple(finding for finding in self.evidence if finding.state == state)
