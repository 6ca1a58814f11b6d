"""What a mutant is: the reference with one expression written differently."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from deberta_ref.conformance.cases.variants import copied, rewritten

CONFIG, GELU, INPUTS, MODEL, OPS, POSITIONS = (
    f"deberta_ref.{name}" for name in ("config", "fast.gelu", "inputs", "model", "ops", "positions")
)

Place = Literal["output", "taps", "operation", "text", "refusal", "nowhere", "package"]
"""Where a mistake shows: in the last hidden state at valid positions; in a tap before it alone; in an operation alone,
given what no model gives it; in the ids of a text; in a request that is served and should be refused; at padded
positions, so nowhere; in what the package makes besides, which no port has."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: ``new`` where the source of ``module`` has ``old``."""

    id: str  # never changes
    clause: str  # of spec/, that it breaks
    sentence: str  # what it does, to a port's author
    module: str
    old: str  # found once in the module's source
    new: str
    seen: tuple[str, ...] = ()  # the implementations known to have, or to have had it
    shows: Place = "output"

    def model(self) -> ModuleType:
        """The model with this mistake: a copy of ``deberta_ref.model``.

        Raises ValueError if ``old`` is not found exactly once.
        """
        return rewritten(self.module, self.old, self.new)

    def copy(self) -> ModuleType:
        """A copy of ``module`` with this mistake; ValueError as ``model``."""
        return copied(self.module, self.old, self.new)
