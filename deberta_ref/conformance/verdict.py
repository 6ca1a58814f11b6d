"""What is said of a port: a verdict on each case, a diagnosis, and whether it conforms. Data alone."""

from __future__ import annotations

from collections.abc import Mapping
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
    limit: float = LIMIT
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        """Whether nothing stands against it."""
        return not self.reasons
