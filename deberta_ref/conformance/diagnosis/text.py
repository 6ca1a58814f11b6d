"""Which known mistakes explain a port's token ids: each is made in the tokenizer, and the ids must be equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.corpus import Case, tokenized
from deberta_ref.conformance.cases.variants import Edit, copied
from deberta_ref.conformance.diagnosis.evidence import Clock
from deberta_ref.conformance.mistakes.known import known
from deberta_ref.conformance.mistakes.mistake import CANNOT, Mistake
from deberta_ref.conformance.verdict import Match

Answers = Sequence[tuple[Case, Mapping[str, Any]]]


def of_texts(answers: Answers, out_of_time: Clock) -> list[Match]:
    """Every mistake that gives exactly the port's ids and masks for these cases; if none does, every pair that does.

    There may be several, as the texts can be too few to tell them apart. Ids are exact, so the score is 0.
    """
    wrong = [(case, found) for case, found in answers if max(case.scores(found).values(), default=0.0) > 0]
    if not wrong:
        return []
    right = [(case, case.expected) for case, _ in answers if not any(case is other for other, _ in wrong)]
    possible = list(_that_give(right, known({"text"}), out_of_time))  # they must give the right answers too
    fitting = list(_that_give(wrong, possible, out_of_time))
    if not fitting:
        pairs = (one + other for one, other in combinations(possible, 2))
        fitting = list(_that_give([*wrong, *right], pairs, out_of_time))
    return [mistake.match(0.0) for mistake in fitting]


def _that_give(answers: Answers, mistakes: Iterable[Mistake], out_of_time: Clock) -> Iterator[Mistake]:
    """The mistakes that give exactly these answers, until the time is up."""
    for mistake in mistakes:
        if out_of_time():
            return
        try:
            tokenizers = _Tokenizers(mistake)
            if all(_same(tokenized(tokenizers[case], case.inputs), found) for case, found in answers):
                yield mistake
        except CANNOT:
            continue


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(np.array_equal(one[name], value) for name, value in other.items())


class _Tokenizers:
    """The tokenizer of each case, from a copy of the tokenizer's module with a mistake in it."""

    def __init__(self, mistake: Mistake) -> None:
        self.copy: Any = copied("deberta_ref.tokenizer", *mistake.of(Edit))
        self.loaded: dict[str, Any] = {}

    def __getitem__(self, case: Case) -> Any:
        preset = case.manifest["tokenizer"]["preset"]
        if preset not in self.loaded:
            self.loaded[preset] = self.copy.Tokenizer.from_preset(preset)
        return self.loaded[preset]
