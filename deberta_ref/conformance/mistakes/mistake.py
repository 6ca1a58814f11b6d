"""What a port may have got wrong, one way or several at once; and what it then gives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Literal, TypeVar

import numpy as np

from deberta_ref.config import Config
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.precisions import Way
from deberta_ref.conformance.cases.variants import Edit, combined
from deberta_ref.conformance.verdict import Match
from deberta_ref.params import Params

CANNOT = (ValueError, IndexError, TypeError, ArithmeticError)
"""What a mistake raises in a case that it cannot compute."""

CHAPTERS = {
    "IN": "01-inputs.md",
    "EMB": "02-embeddings.md",
    "REL": "03-positions.md",
    "REL-LONG": "08-long-inputs.md",
    "ATT": "04-attention.md",
    "LAYER": "05-layer.md",
    "NORM": "06-numerics.md",
    "GELU": "06-numerics.md",
    "NUM": "06-numerics.md",
    "HALF": "06-numerics.md",
    "PAD": "07-padding.md",
    "VEC": "09-vectors.md",
    "REC": "10-recipe.md",
    "NOISE": "11-noise.md",
    "TOK": "12-text.md",
}
"""The file of spec/ that a family of clauses is in, or a single one elsewhere than its family."""

Place = Literal["output", "taps", "operation", "text", "refusal", "nowhere"]
"""Where a mistake shows: in the last hidden state at valid positions; in a tap before it alone; in an operation alone,
given what no model gives it; in the ids of a text; in a request that is served and should be refused; at padded
positions, so nowhere."""

Arrays = dict[str, Any]
Change = Callable[[Arrays, Config], Arrays]
Rounding = Callable[[Any], Any]


@dataclass(frozen=True)
class Loaded:
    """Parameters that are loaded wrongly: the arrays of ``Params.arrays()`` that change, as they are loaded."""

    change: Change


@dataclass(frozen=True)
class Lowered:
    """Something computed less exactly than in float32."""

    ways: tuple[Way, ...]
    mutants: tuple[str, ...] = ()  # those that are this too: of a port that rounds otherwise they predict no value
    by_size: bool = True  # whether the size of the errors alone tells it


@dataclass(frozen=True)
class Returned:
    """Values that are rounded to another type when they are returned."""

    rounding: Rounding
    bits: int  # of a significand, its first one included
    lowest: int  # the exponent, as of np.frexp, of the smallest number that has them all

    def half_a_step(self, x: Any) -> Any:
        """Half of the distance between numbers of this type, where ``x`` is."""
        exponent = np.maximum(np.where(x == 0, self.lowest, np.frexp(x)[1]), self.lowest)
        return np.ldexp(1.0, exponent - self.bits - 1)


Effect = Edit | Loaded | Lowered | Returned
Kind = TypeVar("Kind", Edit, Loaded, Lowered, Returned)


@dataclass(frozen=True, eq=False)
class Mistake:
    """One way to be wrong; with no effect, none."""

    id: str = ""  # never changes
    clause: str = ""  # of spec/, that it breaks
    sentence: str = ""  # what it does, to a port's author
    effect: Effect | tuple[Effect, ...] = ()
    seen: tuple[str, ...] = ()  # the implementations known to have, or to have had it
    shows: Place = "output"

    def __add__(self, other: Mistake) -> Mistake:
        """Both at once."""
        clauses = [self.clause] if self.clause == other.clause else [self.clause, other.clause]
        return Mistake(
            f"{self.id} + {other.id}",
            " + ".join(clauses),
            f"{self.sentence} {other.sentence}",
            (*self.effects, *other.effects),
            self.seen + tuple(name for name in other.seen if name not in self.seen),
        )

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What it does, one thing or several."""
        return self.effect if isinstance(self.effect, tuple) else (self.effect,)

    def of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """Its effects of one kind."""
        return tuple(effect for effect in self.effects if isinstance(effect, kind))

    def model(self) -> ModuleType:
        """The model with it, always the same copy; ValueError where two edits contradict each other."""
        return self._model

    @cached_property
    def _model(self) -> ModuleType:
        return combined(*self.of(Edit))

    def params(self, case: Case) -> Params:
        """The case's parameters, as they are loaded with it."""
        changes = [effect.change for effect in self.of(Loaded)]
        return loaded(case.params, *changes) if changes else case.params

    def match(self, score: float) -> Match:
        """What is said of a port that this explains as well as ``score`` says."""
        by_size = bool(self.of(Lowered))
        return Match(self.id, self.clause, score, self.sentence, chapter(self.clause), self.seen, by_size)


def loaded(params: Params, *changes: Change) -> Params:
    """The parameters as they are after these mistakes, one after another."""
    arrays = params.arrays()
    for change in changes:
        arrays |= change(arrays, params.config)
    return Params.from_arrays(params.config, arrays)


def chapter(clause: str) -> str:
    """The file of spec/ that a clause is in; of several joined by ' + ' each, once."""
    files = [CHAPTERS.get(name) or CHAPTERS[name.partition("-")[0]] for name in clause.split(" + ")]
    return " and spec/".join(dict.fromkeys(files))


def can(mistake: Mistake, case: Case) -> bool:
    """Whether a port with this mistake gives an answer to the case at all."""
    try:
        predicted(mistake.model(), case, mistake.params(case), "float32", case.required)
    except CANNOT:
        return False
    return True


def predicted(
    model: ModuleType, case: Case, params: Params | None, dtype: str, names: Collection[str]
) -> dict[str, Any]:
    """What a variant of the model gives for a case: the values of these names; ``params`` are what was loaded.

    Raises one of ``CANNOT`` where it cannot.
    """
    if case.suite not in {"layer", "ops"} and set(names) == {"output"}:  # without the taps, in half the time
        return {"output": model.forward(params, case.inputs, dtype, allow_long=case.allow_long)}
    found = case.with_values(inputs=case.inputs, params=params).evaluate(model, dtype)
    return {name: found[name] for name in names}
