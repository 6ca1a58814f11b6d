"""Which wrong taps are mislabelled: something else is handed over under their names. Chapter 13 of spec/, JUDGE-SHOWN.

A port may compute one thing and hand over another under its name: scores before the scale, probabilities transposed.
Then that tap is wrong, while everything computed from it is right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.summary import SUMMARY
from deberta_ref.conformance.verdict import LIMIT, Verdict, are_mislabelled, kind

GROSS = 100.0
"""A score that cannot fall to the limit in the next value: what is added there is about as large as the value."""

PROJECTIONS = ("query", "key", "value")

FEEDS: Mapping[str, tuple[str, ...]] = {
    "query": ("c2c", "c2p"),
    "key": ("c2c", "p2c"),
    "relative_query": ("p2c",),
    "relative_key": ("c2p",),
    "c2c": ("scores",),
    "c2p": ("scores",),
    "p2c": ("scores",),
    "scores": ("probs",),
    "probs": ("context",),
    "value": ("context",),
    "context": ("output",),
}
"""The taps of an attention that are computed directly from a tap of the same attention."""


def mislabelled(case: Case, scores: Mapping[str, float]) -> tuple[str, ...]:
    """The taps that are wrong by far while everything computed from them is right.

    If a downstream tap is missing or mislabelled as well, the next one is used. Empty where the case cannot tell.
    """
    return _candidates(case, scores) if _tells(case) else ()  # JUDGE-SHOWN


def agreed(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, such that no tap is called mislabelled in one case and computed wrongly first in another.

    In some cases a mistake shows in a single tap and nowhere after it, as where the softmax is too sharp to change. A
    case that cannot tell follows the others.
    """
    pairs = list(zip(cases, verdicts, strict=True))
    computed = {kind(v.first_operation) for case, v in pairs if v.first_operation and _tells(case)}
    found = [tuple(_until(v.mislabelled_taps, computed)) for v in verdicts]
    elsewhere = {kind(name) for names in found for name in names}
    for n, (case, v) in enumerate(pairs):
        if not _tells(case):
            names = _candidates(case, v.scores)
            found[n] = names if {kind(name) for name in names} <= elsewhere else ()
    return [replace(v, mislabelled_taps=names) for v, names in zip(verdicts, found, strict=True)]


def on_mislabelled_taps(failing: Sequence[Verdict]) -> list[str]:
    """One sentence: which taps are mislabelled, and in how many of the failing cases; nothing if none is."""
    concerned = [v for v in failing if v.mislabelled_taps]
    if not concerned:
        return []
    names = list(dict.fromkeys(kind(name) for v in concerned for name in v.mislabelled_taps))
    some = f"{len(concerned)} of the {len(failing)}" if len(concerned) < len(failing) else "all"
    wrong = "it is wrong" if len(names) == 1 else "one of them is wrong"
    rest = "" if any(v.first_operation for v in failing) else " Nothing else is wrong: the port itself may be right."
    return [
        f"{are_mislabelled(names)}. In {some} failing cases {wrong}, while everything computed from it is right.{rest}"
    ]


def _candidates(case: Case, scores: Mapping[str, float]) -> tuple[str, ...]:
    """The taps that are mislabelled if this case can tell."""
    known = {name.removesuffix(SUMMARY): score for name, score in scores.items()}
    found: list[str] = []
    for name in reversed(known):
        if "config" in case.manifest and known[name] > GROSS:
            later = set(_next(name, case.config.num_layers, known.keys() - set(found)))
            if later and all(known[other] <= LIMIT for other in later):
                found.append(name)
    return tuple(name for name in scores if name.removesuffix(SUMMARY) in found)


def _tells(case: Case) -> bool:
    """Whether a case can tell: not if every example is one token, which attends to itself whatever its score is."""
    return "config" in case.manifest and bool((case.inputs["padding_mask"].sum(axis=1) > 1).any())


def _until(names: Iterable[str], kinds: Collection[str]) -> Iterator[str]:
    """The names up to the first that is of one of these kinds."""
    for name in names:
        if kind(name) in kinds:
            return
        yield name


def _next(name: str, layers: int, held: Collection[str]) -> Iterator[str]:
    """The values computed from one; instead of each that is not held, the values computed from that."""
    for other in _fed(name, layers):
        if other in held:
            yield other
        else:
            yield from _next(other, layers, held)


def _fed(name: str, layers: int) -> Iterator[str]:
    """The values that are computed directly from one."""
    part = name.split(".")
    all_attentions = [f"layers.{n}.attention" for n in range(layers)]
    match part:
        case ["embeddings"]:
            yield from _of_input(0, layers)
        case ["relative_embeddings"]:
            yield from (f"{place}.{tap}" for place in all_attentions for tap in ("relative_query", "relative_key"))
        case ["relative_row"]:
            yield from (f"{place}.{tap}" for place in all_attentions for tap in ("c2p", "p2c"))
        case ["layers", n, "attention", "output"]:
            yield from (f"layers.{n}.feedforward.inner", f"layers.{n}.output")
        case ["layers", n, "attention", tap]:
            yield from (f"layers.{n}.attention.{other}" for other in FEEDS[tap])
        case ["layers", n, "feedforward", _]:
            yield f"layers.{n}.output"
        case ["layers", n, "output"]:
            yield from _of_input(int(n) + 1, layers)


def _of_input(n: int, layers: int) -> Iterator[str]:
    """The values that are computed directly from what goes into layer ``n``, or from what leaves the last."""
    if n == layers:
        yield "output"
    else:
        yield from (f"layers.{n}.attention.{tap}" for tap in (*PROJECTIONS, "output"))
