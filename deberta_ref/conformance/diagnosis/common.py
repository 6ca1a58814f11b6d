"""What failing cases have in common: sentences that are true of all of them, and of no case that passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from deberta_ref import model
from deberta_ref.conformance.cases.corpus import WHOLE, Case
from deberta_ref.conformance.diagnosis.patterns import masked, of_tokens, with_holes
from deberta_ref.positions import bucket
from deberta_ref.tracing import record

MOST = 3
"""Sentences that are of use at once."""

NARROW = 8
"""Features below which a model says little: the normalisation of two is ±1 whatever comes in."""

Failing = Sequence[tuple[Case, Mapping[str, Any]]]


def in_common(passing: Sequence[Case], failing: Failing) -> list[str]:
    """Up to three sentences, the most telling first; none where nothing is true of the failing cases alone.

    ``failing`` has with each case what came, float64, by tap; nothing where there is no usable answer.
    """
    wrong = [case for case, _ in failing]
    outputs = [(case, found["output"]) for case, found in failing if _is_model(case) and "output" in found]
    sentences = chain(
        _of_operations(passing, wrong),
        of_tokens(outputs),
        _of_models(list(filter(_is_model, passing)), list(filter(_is_model, wrong)), computed=bool(outputs)),
        _of_suites(passing, wrong),
    )
    return list(islice(sentences, MOST))


def _is_model(case: Case) -> bool:
    return case.suite in WHOLE


def _of_operations(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """Which of the operations are wrong by themselves."""
    wrong = sorted({case.manifest["operation"] for case in failing if case.suite == "ops"})
    right = {case.manifest["operation"] for case in passing if case.suite == "ops"} - set(wrong)
    if wrong and right:
        yield f"Of the operations alone, only {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} wrong."


def _of_suites(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    suites = {case.suite for case in failing}
    if len(suites) == 1 and passing and not suites & {case.suite for case in passing}:
        yield f"Only cases of the suite {suites.pop()} fail."


def _of_models(passing: Sequence[Case], failing: Sequence[Case], *, computed: bool) -> Iterator[str]:
    """What tells the failing models from the passing ones; ``computed`` is whether there are wrong answers."""
    if not failing:
        return
    if not passing and computed:
        yield "Every whole model fails."
    wide = [case for case in passing if case.config.hidden_dim >= NARROW]
    for words, holds in PROPERTIES.items() if wide else ():
        if all(map(holds, failing)) and not any(map(holds, wide)):
            yield _only(words, any(map(holds, passing)))
    for words, quantity in QUANTITIES.items() if wide else ():
        if quantity in COSTLY and (
            len(failing) > len(passing) or any(c.suite == "presets" for c in (*passing, *failing))
        ):
            continue
        (least, *_), (*_, most) = sorted(map(quantity, failing)), sorted(map(quantity, wide))
        if least > most and most != 1:  # more than one is said by a property
            yield _only(words.format(_readable(most)), any(quantity(case) > most for case in passing))
    if computed and any(_length(case) == 1 for case in failing):
        yield "A token alone is wrong, which hears itself whatever its score: not all of it is in scores or positions."


def _only(words: str, some_narrow: bool) -> str:
    """The sentence on such cases; ``some_narrow`` says whether there are narrow models among them that pass."""
    return f"Of models with {NARROW} features or more, only {words} fail." if some_narrow else f"Only {words} fail."


def _readable(quantity: float) -> str:
    return f"{abs(quantity):.3g}"


def _length(case: Case) -> int:
    return int(masked(case).shape[1])


def _furthest(case: Case) -> int:
    """The largest distance between two valid tokens of an example."""
    positions = [np.flatnonzero(row) for row in masked(case) if row.any()]
    return max((int(row[-1] - row[0]) for row in positions), default=0)


def _logarithmic(case: Case) -> bool:
    return bucket(_furthest(case), case.config) != _furthest(case)


def _sharpest(case: Case) -> float:
    """The score of any layer that is farthest from 0."""
    taps = record(model, case.params, case.inputs, "float32", allow_long=case.allow_long)
    return max(float(abs(tap).max()) for name, tap in taps.items() if name.endswith("attention.scores"))


def _flattest(case: Case) -> float:
    """The smallest variance of the embedding of a valid token, negative: the largest is that of the flattest."""
    return -float(case.params.token_embedding[case.inputs["token_ids"][masked(case)]].var(axis=-1).min())


PROPERTIES: Mapping[str, Callable[[Case], bool]] = {
    "cases with more tokens than max_sequence_length": lambda case: case.allow_long,
    "cases with padding between valid tokens": lambda case: bool(with_holes(masked(case)).any()),
    "cases with padding": lambda case: not masked(case).all(),
    "batches whose examples have different masks": lambda case: bool((masked(case) != masked(case)[:1]).any()),
    "cases with an odd bucket_size": lambda case: case.config.bucket_size % 2 == 1,
    "cases in which a valid token has the id 0": lambda case: bool(
        ((case.inputs["token_ids"] == 0) & masked(case)).any()
    ),
    "cases with tokens so far apart that their bucket is not their distance": _logarithmic,
    "cases with several positions": lambda case: _length(case) > 1,
    "models with several heads": lambda case: case.config.num_heads > 1,
    "cases with several heads and several positions": lambda case: case.config.num_heads > 1 and _length(case) > 1,
    "models with one head": lambda case: case.config.num_heads == 1,
    "models with several layers": lambda case: case.config.num_layers > 1,
}
"""What may be true of a case, by the words for such cases."""

QUANTITIES: Mapping[str, Callable[[Case], float]] = {
    "cases with more than {} positions": _length,
    "models with more than {} layers": lambda case: case.config.num_layers,
    "models with a head size over {}": lambda case: case.config.head_dim,
    "cases with scores beyond ±{}": _sharpest,
    "cases with an embedding whose variance is below {}": _flattest,
}
"""What may be larger in all failing cases than in every other, by the words for such cases."""

COSTLY = {_sharpest, _flattest}
"""Those that need parameters: not at the published sizes, which are gigabytes, and only where few cases fail."""
