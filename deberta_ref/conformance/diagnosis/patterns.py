"""Which tokens of the failing cases are wrong, and what tells them from the right ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.verdict import LIMIT

MOST = 0.5
"""Of the tokens that a sentence is about so many are wrong at least: else it says little, though it is true."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The valid tokens of a failing case, N of them, and which of them are wrong."""

    case: Case
    output: Any  # (B, T, D), the port's

    @cached_property
    def mask(self) -> Mask:
        """Which ones are valid: (B, T)."""
        return masked(self.case)

    @cached_property
    def wrong(self) -> Mask:
        """Those off by more than the limit in any feature, or not a number: (N,)."""
        with np.errstate(all="ignore"):
            error = abs(self.output - self.case.expected["output"]).max(axis=-1)[self.mask]
        return np.asarray(~(error <= LIMIT * self.case.floors["output"].max))

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

    @property
    def sizes(self) -> tuple[int, int]:
        """What a bucket depends on."""
        return self.case.config.bucket_size, self.case.config.max_sequence_length

    def of_examples(self, holds: Any) -> Mask:
        """What holds of an example, (B,), for each of its valid tokens: (N,)."""
        return np.asarray(np.broadcast_to(np.asarray(holds)[:, None], self.mask.shape)[self.mask])


def of_tokens(failing: Sequence[tuple[Case, Any]]) -> Iterator[str]:
    """Sentences on which tokens alone are wrong, in all failing cases together; each with the port's output."""
    tokens = [found for found in (Tokens(case, output) for case, output in failing) if found.wrong.any()]
    if not tokens:
        return
    yield from _of_distances(tokens)
    wrong = np.concatenate([t.wrong for t in tokens])
    for words, holds in PLACES.items():
        where = np.concatenate([holds(t) for t in tokens])
        if where[wrong].all() and not where.all() and wrong[where].mean() >= MOST:
            yield f"Only {words} wrong."


def _of_distances(tokens: Sequence[Tokens]) -> Iterator[str]:
    """The distance beyond which tokens are wrong: for the largest sizes, and one layer, if there are such.

    Up to half of bucket_size every distance is its own bucket: where a token is wrong that depends on no greater one,
    it is not by its distance.
    """
    if any(t.reach[t.wrong].min() <= t.case.config.bucket_size // 2 for t in tokens):
        return
    sizes = {t.sizes for t in tokens}
    for size in sorted(sizes, reverse=True):
        same = [t for t in tokens if t.sizes == size]
        depth = min(t.case.config.num_layers for t in same)
        same = [t for t in same if t.case.config.num_layers == depth]
        wrong = np.concatenate([t.wrong for t in same])
        reach = np.concatenate([t.reach for t in same])
        near = int(reach[wrong].min()) - 1
        if (reach <= near).any() and wrong[reach > near].mean() >= MOST:
            words = (
                "tokens with another valid one more than {} away"
                if depth == 1
                else "examples with tokens more than {} apart"
            )
            where = f", at bucket_size {size[0]} of {size[1]}" if len(sizes) > 1 else ""
            yield f"Only {words.format(near)} are wrong{where}."
            return


PLACES: Mapping[str, Callable[[Tokens], Mask]] = {
    "the first token of an example is": lambda t: (t.mask.cumsum(axis=1) == 1)[t.mask],
    "tokens of id 0 are": lambda t: (t.case.inputs["token_ids"] == 0)[t.mask],
    "the first example of a batch is": lambda t: t.of_examples(np.arange(len(t.mask)) == 0),
    "the examples of a batch after the first are": lambda t: t.of_examples(np.arange(len(t.mask)) > 0),
    "examples with padding between valid tokens are": lambda t: t.of_examples(with_holes(t.mask)),
    "examples with padding are": lambda t: t.of_examples(~t.mask.all(axis=1)),
    "examples in which a valid token has the id 0 are": lambda t: t.of_examples(
        ((t.case.inputs["token_ids"] == 0) & t.mask).any(axis=1)
    ),
}
"""Where wrong tokens may stand: for each valid one whether it is such a one, by the words for it."""


def masked(case: Case) -> Mask:
    """The padding mask, (B, T)."""
    return np.asarray(case.inputs["padding_mask"]).astype(np.bool_)


def with_holes(mask: Mask) -> Mask:
    """Whether an example has padding between valid tokens: (B, T) -> (B,)."""
    before = mask.cumsum(axis=1) > 0
    after = mask[:, ::-1].cumsum(axis=1)[:, ::-1] > 0
    return np.asarray((~mask & before & after).any(axis=1))
