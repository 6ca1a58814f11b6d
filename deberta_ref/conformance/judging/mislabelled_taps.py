"""Which wrong values are shown wrongly, not computed wrongly. Chapter 13 of spec/, clause JUDGE-SHOWN.

A port computes one thing and hands over another under its name: scores before the scale, probabilities transposed. Then
the value is wrong, and what is computed from it is right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.summary import SUMMARY
from deberta_ref.conformance.verdict import LIMIT, Verdict, handed_over, kind

GROSS = 100.0
"""A score that no later value dilutes to within the limit: what is added to it is about as large as it is."""

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
"""What a tap of an attention goes into, within that attention."""


def shown_wrongly(case: Case, scores: Mapping[str, float]) -> tuple[str, ...]:
    """Of the values with these scores those that are wrong by far, while all that is computed from them is right.

    Where an answer leaves out what is computed from a value, or shows that wrongly too, the next value after it counts.
    None where the case cannot tell.
    """
    return _candidates(case, scores) if _tells(case) else ()  # JUDGE-SHOWN


def agreed(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, where no tap is said to be shown wrongly in one case that is computed wrongly first in another.

    A mistake may show in a case nowhere but in a tap: where the softmax is so sharp that it gives the same, for one. A
    case that cannot tell follows the others.
    """
    pairs = list(zip(cases, verdicts, strict=True))
    computed = {kind(v.first_operation) for case, v in pairs if v.first_operation and _tells(case)}
    found = [tuple(_until(v.shown_wrongly, computed)) for v in verdicts]
    elsewhere = {kind(name) for names in found for name in names}
    for n, (case, v) in enumerate(pairs):
        if not _tells(case):
            names = _candidates(case, v.scores)
            found[n] = names if {kind(name) for name in names} <= elsewhere else ()
    return [replace(v, shown_wrongly=names) for v, names in zip(verdicts, found, strict=True)]


def of_what_is_shown(failing: Sequence[Verdict]) -> list[str]:
    """A sentence on the taps that are shown wrongly, and in how many of the failing cases; none where none is."""
    showing = [v for v in failing if v.shown_wrongly]
    if not showing:
        return []
    names = list(dict.fromkeys(kind(name) for v in showing for name in v.shown_wrongly))
    some = f"{len(showing)} of the {len(failing)}" if len(showing) < len(failing) else "all"
    it = f"in {some} failing cases {'it' if len(names) == 1 else 'one'} is wrong"
    rest = "" if any(v.first_operation for v in failing) else " Nothing else is wrong: the port itself may be right."
    return [f"{handed_over(names)}: {it}, while all that is computed from it is right.{rest}"]


def _candidates(case: Case, scores: Mapping[str, float]) -> tuple[str, ...]:
    known = {name.removesuffix(SUMMARY): score for name, score in scores.items()}
    found: list[str] = []
    for name in reversed(known):
        if "config" in case.manifest and known[name] > GROSS:
            later = set(_next(name, case.config.num_layers, known.keys() - set(found)))
            if later and all(known[other] <= LIMIT for other in later):
                found.append(name)
    return tuple(name for name in scores if name.removesuffix(SUMMARY) in found)


def _tells(case: Case) -> bool:
    """Whether a case can tell: not where every example is of one token, which hears itself whatever its scores are."""
    return "config" in case.manifest and bool((case.inputs["padding_mask"].sum(axis=1) > 1).any())


def _until(names: Iterable[str], kinds: Collection[str]) -> Iterator[str]:
    """The names before the first that is of one of these kinds."""
    for name in names:
        if kind(name) in kinds:
            return
        yield name


def _next(name: str, layers: int, held: Collection[str]) -> Iterator[str]:
    """The values computed from one, or where one of them is not held, the values computed from that."""
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
