"""The mistakes that are known, by where they can show."""

from __future__ import annotations

from collections.abc import Collection

from deberta_ref.conformance.cases.variants import MODEL, Edit
from deberta_ref.conformance.mistakes.loading import LOADINGS
from deberta_ref.conformance.mistakes.mistake import Mistake
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.mistakes.quantised import QUANTISED


def known(places: Collection[str]) -> list[Mistake]:
    """The mistakes that show there, in the order of the specification; then those in loading and in what is stored."""
    return [mistake for mistake in (*mutants.values(), *LOADINGS, *QUANTISED) if mistake.shows in places]


def known_in_operations() -> list[Mistake]:
    """The mistakes that single operations can show."""
    written = (mutant for mutant in mutants.values() if mutant.shows in {"output", "operation"})
    return [mutant for mutant in written if all(edit.module != MODEL for edit in mutant.of(Edit))]
