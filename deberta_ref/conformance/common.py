"""What failing cases have in common: sentences that are true of all of them, and of no case that passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref import model
from deberta_ref.conformance.corpus import Case
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.positions import bucket
from deberta_ref.taps import record

MOST = 3
"""Sentences that are of use at once."""

BOUNDARY = 0.9
"""Of the tokens that are nearer than a boundary or further, so many are right or wrong: else it is none."""

Failing = Sequence[tuple[Case, Mapping[str, Any]]]
Mask = NDArray[np.bool_]


def in_common(passing: Sequence[Case], failing: Failing) -> list[str]:
    """Up to three sentences, the most telling first; none where nothing is true of the failing cases alone.

    ``failing`` has with each case what came, float64, by tap.
    """
    wrong = [case for case, _ in failing]
    sentences = [
        *_of_operations(passing, wrong),
        *_of_tokens([(case, found["output"]) for case, found in failing if _is_model(case) and "output" in found]),
        *_of_models(list(filter(_is_model, passing)), list(filter(_is_model, wrong))),
        *_of_suites(passing, wrong),
    ]
    return sentences[:MOST]


def _is_model(case: Case) -> bool:
    return case.suite in {"model", "long", "presets"}


def _of_suites(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    suites = {case.suite for case in failing}
    if len(suites) == 1 and not suites & {case.suite for case in passing} and passing:
        yield f"Only cases of the suite {suites.pop()} fail."


def _of_operations(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """Which of the operations are wrong by themselves."""
    wrong = sorted({case.manifest["operation"] for case in failing if case.suite == "ops"})
    right = {case.manifest["operation"] for case in passing if case.suite == "ops"} - set(wrong)
    if wrong and right:
        yield f"Of the operations alone, only {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} wrong."


@dataclass(frozen=True, eq=False)
class _Tokens:
    """The valid tokens of a failing case, and which of them are wrong: by more than the limit, in any feature."""

    case: Case
    output: Any  # (B, T, D)

    @cached_property
    def mask(self) -> Mask:
        return _mask(self.case)

    @cached_property
    def wrong(self) -> Mask:
        with np.errstate(all="ignore"):
            error = abs(self.output - self.case.expected["output"]).max(axis=-1)
        return np.asarray(self.mask & ~(error <= LIMIT * self.case.floors["output"].max))  # NaN is wrong

    def of_examples(self, holds: Any) -> Mask:
        """What holds of an example (B,), for each of its valid tokens."""
        return np.asarray(np.broadcast_to(np.asarray(holds)[:, None], self.mask.shape)[self.mask])

    @cached_property
    def reach(self) -> NDArray[np.intp]:
        """How far the distances reach that a token's result depends on: (N,).

        In one layer those from it to every other valid token; in several, those of all pairs of its example.
        """
        position = np.arange(self.mask.shape[1])
        pairs = self.mask[:, :, None] & self.mask[:, None, :]
        furthest = np.where(pairs, abs(position[:, None] - position), 0).max(axis=-1)  # (B, T)
        if self.case.config.num_layers > 1:
            furthest = np.broadcast_to(furthest.max(axis=-1, keepdims=True), furthest.shape)
        return np.asarray(furthest[self.mask])


def _of_tokens(failing: Sequence[tuple[Case, Any]]) -> Iterator[str]:
    """What tells the wrong tokens from the right ones, over all failing cases together."""
    tokens = [_Tokens(case, output) for case, output in failing]
    tokens = [t for t in tokens if t.wrong.any()]
    if not tokens:
        return
    is_wrong = np.concatenate([t.wrong[t.mask] for t in tokens])
    for sentence, holds in PLACES.items():
        where = np.concatenate([holds(t) for t in tokens])
        if where[is_wrong].all() and not where[~is_wrong].any() and not is_wrong.all():
            yield f"Only {sentence} wrong."
    yield from _of_distances(tokens)


PLACES: Mapping[str, Callable[[_Tokens], Mask]] = {
    "the first token of an example is": lambda t: (t.mask & (t.mask.cumsum(axis=1) == 1))[t.mask],
    "tokens of id 0 are": lambda t: (t.case.inputs["token_ids"] == 0)[t.mask],
    "the first example of a batch is": lambda t: t.of_examples(np.arange(len(t.mask)) == 0),
    "the examples of a batch after the first are": lambda t: t.of_examples(np.arange(len(t.mask)) > 0),
    "examples with padding between valid tokens are": lambda t: t.of_examples(_with_holes(t.mask)),
    "examples with padding are": lambda t: t.of_examples(~t.mask.all(axis=1)),
    "examples in which a valid token has the id 0 are": lambda t: t.of_examples(
        ((t.case.inputs["token_ids"] == 0) & t.mask).any(axis=1)
    ),
}
"""Where in a batch wrong tokens may stand: for each valid token whether it is such a one, by the words for it."""


def _of_distances(tokens: Sequence[_Tokens]) -> Iterator[str]:
    """The distance from which on tokens are wrong: in one-layer models, and for the largest of the sizes."""
    sizes = {(t.case.config.bucket_size, t.case.config.max_sequence_length) for t in tokens}
    for size in sorted(sizes, reverse=True):
        same = [t for t in tokens if (t.case.config.bucket_size, t.case.config.max_sequence_length) == size]
        same = [t for t in same if t.case.config.num_layers == min(s.case.config.num_layers for s in same)]
        is_wrong = np.concatenate([t.wrong[t.mask] for t in same])
        reach = np.concatenate([t.reach for t in same])
        near = int(reach[is_wrong].min()) - 1
        if (~is_wrong).any() and near > 0 and is_wrong[reach > near].mean() > BOUNDARY and (reach <= near).any():
            what = "tokens with another valid token" if same[0].case.config.num_layers == 1 else "examples with tokens"
            apart = "away" if same[0].case.config.num_layers == 1 else "apart"
            where = f" for bucket_size {size[0]} and max_sequence_length {size[1]}" if len(sizes) > 1 else ""
            yield f"Only {what} more than {near} {apart} are wrong{where}."
            return


def _of_models(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """What tells the failing models from the passing ones."""
    if not failing:
        return
    for sentence, holds in PROPERTIES.items() if passing else ():
        if all(map(holds, failing)) and not any(map(holds, passing)):
            yield f"Only {sentence} fail."
    for sentence, quantity in QUANTITIES.items() if passing else ():
        if any(case.suite == "presets" for case in (*passing, *failing)) and quantity in COSTLY:
            continue
        most, least = max(map(quantity, passing)), min(map(quantity, failing))
        if least > most:
            yield f"Only {sentence.format(f'more than {most:.3g}')} fail."
        most, least = max(map(quantity, failing)), min(map(quantity, passing))
        if most < least:
            yield f"Only {sentence.format(f'less than {least:.3g}')} fail."
    if any(_length(case) == 1 for case in failing):
        yield "A token alone is wrong, which hears itself whatever its score: not all of it is in scores or positions."
    if not passing:
        yield "Every whole model fails."


def _mask(case: Case) -> Mask:
    return np.asarray(case.inputs["padding_mask"]).astype(np.bool_)


def _with_holes(mask: Mask) -> Mask:
    """Whether an example has padding between valid tokens: (B, T) -> (B,)."""
    after = mask[:, ::-1].cumsum(axis=1)[:, ::-1] > 0
    return np.asarray((~mask & after & (mask.cumsum(axis=1) > 0)).any(axis=1))


def _length(case: Case) -> int:
    return int(_mask(case).shape[1])


def _furthest(case: Case) -> int:
    """The largest distance between two valid tokens of an example."""
    positions = [np.flatnonzero(row) for row in _mask(case) if row.any()]
    return max((int(row[-1] - row[0]) for row in positions), default=0)


def _logarithmic(case: Case) -> bool:
    return bucket(_furthest(case), case.config) != _furthest(case)


def _sharpest(case: Case) -> float:
    """The largest score of any layer."""
    taps = record(model, case.params, case.inputs, "float32", allow_long=case.allow_long)
    return max(float(abs(tap).max()) for name, tap in taps.items() if name.endswith("attention.scores"))


def _smallest_variance(case: Case) -> float:
    """The smallest variance of the embedding of a valid token."""
    return float(case.params.token_embedding[case.inputs["token_ids"][_mask(case)]].var(axis=-1).min())


PROPERTIES: Mapping[str, Callable[[Case], bool]] = {
    "cases with more tokens than max_sequence_length": lambda case: case.allow_long,
    "cases with padding between valid tokens": lambda case: bool(_with_holes(_mask(case)).any()),
    "cases with padding": lambda case: not _mask(case).all(),
    "batches whose examples have different masks": lambda case: bool((_mask(case) != _mask(case)[:1]).any()),
    "cases with an odd bucket_size": lambda case: case.config.bucket_size % 2 == 1,
    "cases in which a valid token has the id 0": lambda case: bool(
        ((case.inputs["token_ids"] == 0) & _mask(case)).any()
    ),
    "cases with tokens so far apart that their bucket is not their distance": _logarithmic,
    "cases with several heads": lambda case: case.config.num_heads > 1,
    "cases with several layers": lambda case: case.config.num_layers > 1,
}
"""What may be true of a case, by the words for such cases."""

QUANTITIES: Mapping[str, Callable[[Case], float]] = {
    "cases of {} tokens": _length,
    "cases with valid tokens {} apart": _furthest,
    "cases with a score of {}, sharp attention,": _sharpest,
    "cases with an embedding whose variance is {}": _smallest_variance,
    "models of {} layers": lambda case: case.config.num_layers,
    "models of {} heads": lambda case: case.config.num_heads,
    "models with a head size of {}": lambda case: case.config.head_dim,
}
"""What may be larger or smaller in failing cases than in every other, by the words for such cases."""

COSTLY = {_sharpest, _smallest_variance}
"""Those that need parameters, which are gigabytes at the published sizes."""
