"""What failing cases have in common: sentences that are true of all of them, and of no case that passes.

Some are about the cases: how those that fail differ from those that pass. Others are about the tokens of the failing
cases: how the wrong ones differ from the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref import model
from deberta_ref.conformance.cases.corpus import WHOLE, Case
from deberta_ref.conformance.diagnosis.evidence import NARROW
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.positions import bucket
from deberta_ref.tracing import record

SENTENCES = 3
"""The most sentences that are said."""

WRONG_SHARE = 0.5
"""At least this share of the tokens that a sentence is about must be wrong: else it says little, though it is true."""

Failing = Sequence[tuple[Case, Mapping[str, Any]]]
Mask = NDArray[np.bool_]


def in_common(passing: Sequence[Case], failing: Failing) -> list[str]:
    """At most ``SENTENCES`` sentences, the most telling first; none if nothing is true of the failing cases alone.

    Of a lone failing case there is one more: what it tests.

    ``failing`` has each case with the port's values, float64, by tap; empty if there is no usable answer.
    """
    wrong = [case for case, _ in failing]
    outputs = [(case, found["output"]) for case, found in failing if _is_model(case) and "output" in found]
    sentences = chain(
        _of_operations(passing, wrong),
        _of_tokens(outputs),
        _of_models(list(filter(_is_model, passing)), list(filter(_is_model, wrong)), computed=bool(outputs)),
        _of_suites(passing, wrong),
    )
    return [*islice(sentences, SENTENCES), *_of_one(passing, wrong)]


def _of_one(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """What a lone failing case tests."""
    if passing and len(failing) == 1:
        yield f"Only {failing[0].id} fails. {failing[0].manifest['exercises']}"


def _is_model(case: Case) -> bool:
    return case.suite in WHOLE


def _of_operations(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """Which of the single operations are wrong."""
    wrong = sorted({case.manifest["operation"] for case in failing if case.suite == "ops"})
    right = {case.manifest["operation"] for case in passing if case.suite == "ops"} - set(wrong)
    if wrong and right:
        yield f"Of the single operations, only {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} wrong."


def _of_suites(passing: Sequence[Case], failing: Sequence[Case]) -> Iterator[str]:
    """The suite, if all failing cases are of one that has no passing case."""
    suites = {case.suite for case in failing}
    if len(suites) == 1 and passing and not suites & {case.suite for case in passing}:
        yield f"Only cases of the suite {suites.pop()} fail."


def _of_models(passing: Sequence[Case], failing: Sequence[Case], *, computed: bool) -> Iterator[str]:
    """How failing models differ from passing ones; ``computed`` says whether a failing one gave an output."""
    if not failing:
        return
    if not passing and computed and len(failing) > 1:
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
        if least > most and most != 1:  # more than one is a property
            yield _only(words.format(_readable(most)), any(quantity(case) > most for case in passing))
    if computed and any(_length(case) == 1 for case in failing):
        yield "Even one-token inputs fail, so the error is not only in scores or positions."


def _only(words: str, some_narrow: bool) -> str:
    """The sentence on such cases; ``some_narrow`` says whether narrow models among them pass."""
    return (
        f"Of models with a hidden_dim of {NARROW} or more, only {words} fail." if some_narrow else f"Only {words} fail."
    )


def _readable(quantity: float) -> str:
    return f"{abs(quantity):.3g}"


def _length(case: Case) -> int:
    return int(_masked(case).shape[1])


def _furthest(case: Case) -> int:
    """The largest distance between two valid tokens of one example."""
    positions = [np.flatnonzero(row) for row in _masked(case) if row.any()]
    return max((int(row[-1] - row[0]) for row in positions), default=0)


def _logarithmic(case: Case) -> bool:
    return bucket(_furthest(case), case.config) != _furthest(case)


def _sharpest(case: Case) -> float:
    """The attention score, of any layer, that is farthest from 0: its size."""
    taps = record(model, case.params, case.inputs, "float32", allow_long=case.allow_long)
    return max(float(abs(tap).max()) for name, tap in taps.items() if name.endswith("attention.scores"))


def _flattest(case: Case) -> float:
    """The smallest variance of a valid token's embedding, negated: the flattest has the largest."""
    return -float(case.params.token_embedding[case.inputs["token_ids"][_masked(case)]].var(axis=-1).min())


PROPERTIES: Mapping[str, Callable[[Case], bool]] = {
    "cases with more tokens than max_sequence_length": lambda case: case.allow_long,
    "cases with padding between valid tokens": lambda case: bool(_with_holes(_masked(case)).any()),
    "cases with padding": lambda case: not _masked(case).all(),
    "batches whose examples have different padding masks": lambda case: bool(
        (_masked(case) != _masked(case)[:1]).any()
    ),
    "cases with an odd bucket_size": lambda case: case.config.bucket_size % 2 == 1,
    "cases in which a valid token has the id 0": lambda case: bool(
        ((case.inputs["token_ids"] == 0) & _masked(case)).any()
    ),
    "cases with distances in logarithmic buckets": _logarithmic,
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
    "cases with attention scores beyond ±{}": _sharpest,
    "cases with an embedding whose variance is below {}": _flattest,
}
"""What may be larger in every failing case than in any other, by the words for such cases."""

COSTLY = {_sharpest, _flattest}
"""Those that need the parameters: left out at the published sizes, which are gigabytes, and if many cases fail."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The N valid tokens of a failing case, and which of them are wrong."""

    case: Case
    output: Any  # (B, T, D), the port's

    @cached_property
    def mask(self) -> Mask:
        """Which tokens are valid: (B, T)."""
        return _masked(self.case)

    @cached_property
    def wrong(self) -> Mask:
        """Which tokens are over the limit in any feature, or not a number: (N,)."""
        with np.errstate(all="ignore"):
            error = abs(self.output - self.case.expected["output"]).max(axis=-1)[self.mask]
        return np.asarray(~(error <= LIMIT * self.case.floors["output"].max))

    @cached_property
    def reach(self) -> NDArray[np.intp]:
        """The largest distance that a token's result depends on: (N,).

        In one layer that is the largest from it to another valid token; in several, the largest of any pair of its
        example.
        """
        position = np.arange(self.mask.shape[1])
        pairs = self.mask[:, :, None] & self.mask[:, None, :]
        furthest = np.where(pairs, abs(position[:, None] - position), 0).max(axis=-1)  # (B, T)
        if self.case.config.num_layers > 1:
            furthest = np.broadcast_to(furthest.max(axis=-1, keepdims=True), furthest.shape)
        return np.asarray(furthest[self.mask])

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes that a bucket depends on: bucket_size and max_sequence_length."""
        return self.case.config.bucket_size, self.case.config.max_sequence_length

    def of_examples(self, holds: Any) -> Mask:
        """What is true of each example, (B,), for each of its valid tokens: (N,)."""
        return np.asarray(np.broadcast_to(np.asarray(holds)[:, None], self.mask.shape)[self.mask])


def _of_tokens(failing: Sequence[tuple[Case, Any]]) -> Iterator[str]:
    """Sentences on the wrong tokens of all failing cases; each case comes with the port's output."""
    tokens = [found for found in (Tokens(case, output) for case, output in failing) if found.wrong.any()]
    if not tokens:
        return
    yield from _of_distances(tokens)
    wrong = np.concatenate([t.wrong for t in tokens])
    for words, holds in TOKEN_PROPERTIES.items():
        where = np.concatenate([holds(t) for t in tokens])
        if where[wrong].all() and not where.all() and wrong[where].mean() >= WRONG_SHARE:
            yield f"Only {words} wrong."


def _of_distances(tokens: Sequence[Tokens]) -> Iterator[str]:
    """The distance beyond which tokens are wrong, in the models with the largest sizes and the fewest layers.

    Up to half of bucket_size every distance has a bucket of its own. If a token is wrong that depends on no greater
    distance, then distance is not the reason.
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
        if (reach <= near).any() and wrong[reach > near].mean() >= WRONG_SHARE:
            words = (
                "tokens with another valid token more than {} positions away"
                if depth == 1
                else "examples with tokens more than {} positions apart"
            )
            where = f", at bucket_size {size[0]} and max_sequence_length {size[1]}" if len(sizes) > 1 else ""
            yield f"Only {words.format(near)} are wrong{where}."
            return


TOKEN_PROPERTIES: Mapping[str, Callable[[Tokens], Mask]] = {
    "the first token of an example is": lambda t: (t.mask.cumsum(axis=1) == 1)[t.mask],
    "tokens of id 0 are": lambda t: (t.case.inputs["token_ids"] == 0)[t.mask],
    "the first example of a batch is": lambda t: t.of_examples(np.arange(len(t.mask)) == 0),
    "the examples of a batch after the first are": lambda t: t.of_examples(np.arange(len(t.mask)) > 0),
    "examples with padding between valid tokens are": lambda t: t.of_examples(_with_holes(t.mask)),
    "examples with padding are": lambda t: t.of_examples(~t.mask.all(axis=1)),
    "examples in which a valid token has the id 0 are": lambda t: t.of_examples(
        ((t.case.inputs["token_ids"] == 0) & t.mask).any(axis=1)
    ),
}
"""What may be true of a token: for each valid one whether it is, by the words for such tokens."""


def _masked(case: Case) -> Mask:
    """The padding mask, (B, T)."""
    return np.asarray(case.inputs["padding_mask"]).astype(np.bool_)


def _with_holes(mask: Mask) -> Mask:
    """Whether an example has padding between valid tokens: (B, T) -> (B,)."""
    before = mask.cumsum(axis=1) > 0
    after = mask[:, ::-1].cumsum(axis=1)[:, ::-1] > 0
    return np.asarray((~mask & before & after).any(axis=1))
