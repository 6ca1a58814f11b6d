"""What a port may have got wrong: a mutant, a mistake in loading, or several at once; and what it then gives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.variants import MODEL, Rewriting, combined
from deberta_ref.conformance.mistakes.loading import LOADINGS, Change, loaded
from deberta_ref.conformance.mistakes.mutants import Mutant, mutants
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
    "PAD": "07-padding.md",
    "VEC": "09-vectors.md",
    "REC": "10-recipe.md",
    "NOISE": "11-noise.md",
    "TOK": "12-text.md",
}
"""The file of spec/ that a family of clauses is in, or a single one elsewhere than its family."""


@dataclass(frozen=True, eq=False)
class Mistake:
    """One way to be wrong: the reference rewritten, its parameters loaded wrongly, or both; or neither."""

    id: str = ""
    clause: str = ""
    sentence: str = ""
    seen: tuple[str, ...] = ()
    rewritings: tuple[Rewriting, ...] = ()
    changes: tuple[Change, ...] = ()

    def __add__(self, other: Mistake) -> Mistake:
        """Both at once."""
        clauses = [self.clause] if self.clause == other.clause else [self.clause, other.clause]
        return Mistake(
            f"{self.id} + {other.id}",
            " + ".join(clauses),
            f"{self.sentence} {other.sentence}",
            self.seen + tuple(name for name in other.seen if name not in self.seen),
            self.rewritings + other.rewritings,
            self.changes + other.changes,
        )

    @cached_property
    def model(self) -> ModuleType:
        """The model with it; ValueError where two rewritings contradict one another."""
        return combined(*self.rewritings)

    def params(self, case: Case) -> Params:
        """The case's parameters, as they are loaded with it."""
        return loaded(case.params, *self.changes) if self.changes else case.params

    def match(self, score: float) -> Match:
        """What is said of a port that this explains as well as ``score`` says."""
        return Match(self.id, self.clause, score, self.sentence, chapter(self.clause), self.seen)


def chapter(clause: str) -> str:
    """The file of spec/ that a clause is in; of several joined by ' + ' each, once."""
    files = [CHAPTERS.get(name) or CHAPTERS[name.partition("-")[0]] for name in clause.split(" + ")]
    return " and spec/".join(dict.fromkeys(files))


def of_mutant(mutant: Mutant) -> Mistake:
    """A mutant as a mistake of a port."""
    rewriting = (mutant.module, mutant.old, mutant.new)
    return Mistake(mutant.id, mutant.clause, mutant.sentence, mutant.seen, (rewriting,))


def known(places: Collection[str]) -> list[Mistake]:
    """The mistakes that show there, as ``Mutant.shows`` says, in the order of the specification; then in loading."""
    written = [of_mutant(mutant) for mutant in mutants.values() if mutant.shows in places]
    wrongly_loaded = [Mistake(m.id, m.clause, m.sentence, changes=(m.change,)) for m in LOADINGS]
    return written + (wrongly_loaded if "output" in places else [])


def can(mistake: Mistake, case: Case) -> bool:
    """Whether a port with this mistake gives an answer to the case at all."""
    try:
        predicted(mistake.model, case, mistake.params(case), "float32", case.required)
    except CANNOT:
        return False
    return True


def known_in_operations() -> list[Mistake]:
    """The mistakes that single operations can show."""
    written = (mutant for mutant in mutants.values() if mutant.shows in {"output", "operation"})
    return [of_mutant(mutant) for mutant in written if mutant.module != MODEL]


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
