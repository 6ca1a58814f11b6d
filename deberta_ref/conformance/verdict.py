"""What is said of a port: a verdict on each case, a diagnosis, and whether it conforms. Data alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

LIMIT = 4.0
"""JUDGE-LIMIT: a score over it is a mistake; for every case, every tap and every port."""

Status = Literal["pass", "fail", "error", "skip", "xfail"]
"""Within the limit; over it; no usable answer; not asked, with a reason; over it or no answer, as --xfail expects."""


@dataclass(frozen=True)
class Verdict:
    """What a port gave for one case."""

    id: str
    suite: str
    status: Status
    score: float | None = None  # the greatest of ``scores``; None where nothing was compared
    scores: Mapping[str, float] = field(default_factory=dict)  # noise multiples by tap, in the order of the computation
    first_tap: str | None = None  # the first over the limit
    last_tap_within: str | None = None  # the last one before it that is not
    shown_wrongly: tuple[str, ...] = ()  # of those over the limit, they from which all that is computed is right
    local: tuple[int, float] | None = None  # the first layer that is wrong when it is fed golden inputs, and its score;
    # one within the limit says that no layer is, and None that the port does not offer layers
    notes: tuple[str, ...] = ()  # sentences: why it is skipped, what is wrong with the answer, which variation it is
    reproduce: str = ""  # the command that judges this case alone
    seconds: float = 0.0
    found: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what came, float64, by tap; for pictures

    @property
    def passes(self) -> bool:
        """Whether it does not stand against conforming: passed, expected to fail, or skipped with a reason."""
        return self.status in {"pass", "xfail", "skip"}

    @property
    def first_operation(self) -> str | None:
        """The first over the limit that is not only shown wrongly; None where there is none."""
        wrong = (name for name, score in self.scores.items() if score > LIMIT)  # JUDGE-FIRST
        return next((name for name in wrong if name not in self.shown_wrongly), None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and a sentence on what is shown wrongly."""
        return (*self.notes, *([_on_what_is_shown(self)] if self.shown_wrongly else []))


def kind(name: str) -> str:
    """A tap's name in any layer, as spec/09 writes it: 'layers.n.attention.scores'."""
    return re.sub(r"^layers\.\d+\.", "layers.n.", name)


def handed_over(names: Sequence[str]) -> str:
    """'What is handed over as layers.n.attention.scores is not what spec/09 means by that name'."""
    return (
        f"What is handed over as {' and '.join(names)} is not what spec/09 means by "
        f"{'that name' if len(names) == 1 else 'those names'}"
    )


def _on_what_is_shown(v: Verdict) -> str:
    names = list(dict.fromkeys(map(kind, v.shown_wrongly)))
    it, is_ = ("it", "it is") if len(names) == 1 else ("them", "they are")
    rest = f"The first wrong value besides is {v.first_operation}." if v.first_operation else "The port may be right."
    return f"{handed_over(names)}: {is_} wrong, while all that is computed from {it} is right. {rest}"


@dataclass(frozen=True)
class Match:
    """A mistake that a failing port may have made."""

    mutant: str  # its id; of a pair both, joined by " + "
    clause: str
    score: float  # of the port against the mutant, the worst over the cases compared: near 1 where it is this mistake
    sentence: str
    chapter: str  # a file of spec/, such as 04-attention.md
    seen: tuple[str, ...] = ()  # the implementations known to have, or to have had it


@dataclass(frozen=True)
class Report:
    """All that was found out about a port."""

    port: str  # as it was named
    verdicts: tuple[Verdict, ...]
    diagnosis: tuple[Match, ...] = ()  # best first
    common: tuple[str, ...] = ()  # sentences: what the failing cases have in common
    reasons: tuple[str, ...] = ()  # sentences: why it does not conform
    undecided: bool = False  # whether all that was judged passes, and too little was judged for a verdict
    limit: float = LIMIT
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        """Whether nothing stands against it."""
        return not self.reasons
