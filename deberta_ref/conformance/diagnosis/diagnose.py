"""Which known mistakes explain a failing port: each is made in the reference, and the results are compared.

A mistake is named if the reference with that mistake reproduces every answer of the port, right and wrong ones, to
within float32 rounding. If none does, these are tried in turn: a lower precision, mistakes that are on no list, two
known ones at once, factors, mistakes in one place alone, the mistakes that come nearest. First of all comes the
question whether right values were merely rounded when they were returned.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.diagnosis.evidence import Clock, Evidence, Explanation, explained, in_order
from deberta_ref.conformance.diagnosis.gates import solved
from deberta_ref.conformance.diagnosis.generated import generated
from deberta_ref.conformance.diagnosis.pairs import pairs
from deberta_ref.conformance.diagnosis.precision import recognised, returned_rounded
from deberta_ref.conformance.diagnosis.text import of_texts
from deberta_ref.conformance.mistakes.generated.candidates import everywhere, in_places
from deberta_ref.conformance.mistakes.known import known, known_in_operations
from deberta_ref.conformance.mistakes.mistake import Mistake, can
from deberta_ref.conformance.verdict import LIMIT, Match

MODELS = {"model", "long"}

COMPARED = 3
"""Every mistake is compared on so many cases at least, so that it is known which come nearest."""

NEAREST = 3
"""The most mistakes that are named if none explains everything."""


def diagnose(answers: Iterable[tuple[Case, Mapping[str, Any]]], *, seconds: float = 20) -> list[Match]:
    """The mistakes that a port may have made, best first; none for a port that is right.

    ``answers`` are pairs of a case and the port's answer to it, right answers too. An answer maps names to arrays of
    float64 or integers; it is empty if the port raised an error. A match with a score within the limit explains every
    answer; other matches explain a part, and come nearest. No comparison begins after ``seconds``, in which time that
    the machine sleeps or spends on other programs does not count; a mistake that was not compared is not named.
    """
    start = time.perf_counter(), time.process_time()
    out_of_time = lambda: min(time.perf_counter() - start[0], time.process_time() - start[1]) > seconds
    given = list(answers)
    suites: dict[str, list[Evidence]] = {}
    for case, answer in given:
        if case.suite != "tokenizer" and (evidence := Evidence(case, answer)).found:
            suites.setdefault("model" if case.suite in MODELS else case.suite, []).append(evidence)
    models = suites.get("model", [])
    if not any(e.fails for e in models):  # the published sizes take seconds each
        models = models + suites.get("presets", [])
    silent = [case for case, answer in given if not answer]
    found = of_models(models, silent, out_of_time) or of_models(suites.get("layer", []), silent, out_of_time)
    found += matched(of_singles(known_in_operations(), in_order(suites.get("ops", [])), out_of_time))
    found += of_texts([(case, answer) for case, answer in given if answer and case.suite == "tokenizer"], out_of_time)
    first = {match.mutant: match for match in reversed(found)}
    return sorted((match for match in found if match is first[match.mutant]), key=lambda match: match.score > LIMIT)


def of_models(evidence: Sequence[Evidence], silent: Sequence[Case], out_of_time: Clock) -> list[Match]:
    """The matches for answers to cases of whole models, or to cases of single layers.

    ``silent`` are the cases in which the port raised an error: among mistakes that explain the answers, those that
    would raise one too come first.
    """
    if not any(e.fails for e in evidence):
        return []
    if rounded := returned_rounded(evidence):
        return rounded
    order = in_order(evidence)
    taps = any(set(e.found) - set(e.case.required) for e in evidence)
    singles = of_singles(known({"output", "taps"} if taps else {"output"}), order, out_of_time)
    if taps and not matched(singles):  # a tap may be mislabelled, or wrong for another reason
        order = in_order(e for e in (e.required() for e in evidence) if e.found)
        if not any(e.fails for e in order):
            return nearest(singles)
        singles = of_singles(known({"output"}), order, out_of_time)
    return (
        matched(singles, silent)
        or recognised(order, out_of_time)
        or matched(generated(everywhere(), order, out_of_time))
        or matched(pairs(order, singles, out_of_time))
        or matched(solved(order, out_of_time))
        or matched(generated(in_places(), order, out_of_time))
        or nearest(singles)
    )


def of_singles(mistakes: Iterable[Mistake], order: Sequence[Evidence], out_of_time: Clock) -> list[Explanation]:
    """How far each of these mistakes explains the answers; empty if all answers are right."""
    if not any(e.fails for e in order):
        return []
    return [explained(mistake, order, out_of_time, COMPARED) for mistake in mistakes]


def matched(explanations: Iterable[Explanation], silent: Sequence[Case] = ()) -> list[Match]:
    """Those that explain everything, best first."""
    fitting = [e for e in explanations if e.fits]
    if len(fitting) > 1:
        asked = [case for case in silent if case.suite in {*MODELS, "layer"}]
        fitting.sort(key=lambda e: (sum(can(e.mistake, case) for case in asked), e.score))
    return [e.mistake.match(e.score) for e in fitting]


def nearest(explanations: Iterable[Explanation]) -> list[Match]:
    """The first of those that explain a part, best first."""
    return [e.mistake.match(e.score) for e in sorted(explanations, key=lambda e: e.score) if e.partly][:NEAREST]
