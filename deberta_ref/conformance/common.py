"""What failing cases have in common: sentences that are true of all of them, and of no case that passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deberta_ref.conformance.corpus import Case
from deberta_ref.conformance.verdict import LIMIT

MOST = 3
"""Sentences that are of use at once."""

Failing = Sequence[tuple[Case, Mapping[str, Any]]]


def in_common(passing: Sequence[Case], failing: Failing) -> list[str]:
    """Up to three sentences, the most telling first; none where nothing is true of all failing cases alone.

    ``failing`` has with each case what came, float64, by tap.
    """
    models = [(case, found) for case, found in failing if "token_ids" in case.inputs]
    right = [case for case in passing if "token_ids" in case.inputs]
    if not models:
        return []
    return [*_of_tokens(models), *_of_cases(right, [case for case, _ in models])][:MOST]


def _of_cases(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """What tells the failing cases from the passing ones."""
    if not passing:
        yield "Every case fails."
        return
    longest = max(_length(case) for case in passing)
    if longest < min(_length(case) for case in failing):
        yield f"Only cases of more than {longest} tokens fail."
    for sentence, holds in PROPERTIES.items():
        if all(map(holds, failing)) and not any(map(holds, passing)):
            yield f"Only {sentence} fail."


def _of_tokens(failing: Failing) -> Iterator[str]:
    """What tells the wrong tokens from the right ones, over all failing cases together."""
    wrong, reach, alone = [], [], []
    for case, found in failing:
        mask = case.inputs["padding_mask"].astype(bool)
        error = abs(found["output"] - case.expected["output"]).max(axis=-1) > LIMIT * case.floors["output"].max
        position = np.arange(mask.shape[1])
        distance = np.where(mask[:, None], abs(position[:, None] - position), 0)  # (B, T, T)
        wrong.append(error[mask])
        reach.append(distance.max(axis=-1)[mask])  # how far the furthest valid token is
        alone.append(np.broadcast_to(~mask.all(axis=-1, keepdims=True), mask.shape)[mask])
    is_wrong, furthest, padded = (np.concatenate(rows) for rows in (wrong, reach, alone))
    if is_wrong.all() or not is_wrong.any():
        return
    near = furthest[~is_wrong].max()
    if furthest[is_wrong].min() > near:
        yield f"Only tokens with another valid token more than {near} away are wrong."
    if padded[is_wrong].all() and not padded[~is_wrong].any():
        yield "Only the examples of a batch that have padding are wrong."


def _length(case: Case) -> int:
    return int(case.inputs["token_ids"].shape[1])


def _padded(case: Case) -> bool:
    return not case.inputs["padding_mask"].all()


def _holes(case: Case) -> bool:
    return bool((np.diff(case.inputs["padding_mask"], axis=1) > 0).any())


def _valid_id_0(case: Case) -> bool:
    return bool(((case.inputs["token_ids"] == 0) & (case.inputs["padding_mask"] == 1)).any())


PROPERTIES: Mapping[str, Callable[[Case], bool]] = {
    "cases with more tokens than max_sequence_length": lambda case: case.allow_long,
    "cases with padding between valid tokens": _holes,
    "cases with padding": _padded,
    "cases with an odd bucket_size": lambda case: case.config.bucket_size % 2 == 1,
    "cases in which a valid token has the id 0": _valid_id_0,
    "cases with several heads": lambda case: case.config.num_heads > 1,
    "cases with several layers": lambda case: case.config.num_layers > 1,
}
"""What may be true of a case, by the words for such cases."""
