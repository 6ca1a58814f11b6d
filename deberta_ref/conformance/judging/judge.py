"""The verdict on a port: case by case, then as a whole. Chapter 13 of spec/."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.diagnosis.diagnose import diagnose
from deberta_ref.conformance.diagnosis.directions import findings
from deberta_ref.conformance.diagnosis.patterns import in_common
from deberta_ref.conformance.diagnosis.precision import most_in
from deberta_ref.conformance.judging.answers import checked
from deberta_ref.conformance.judging.determinism import not_deterministic
from deberta_ref.conformance.judging.mislabelled_taps import agreed, mislabelled, on_mislabelled_taps
from deberta_ref.conformance.mistakes.mutants import variations
from deberta_ref.conformance.ports.protocol import NotOffered, Port, PortError
from deberta_ref.conformance.verdict import LIMIT, Match, Report, Status, Verdict
from deberta_ref.precision import PRECISIONS, Precision

NEEDED = "model"
"""The suite of which every case must be judged: JUDGE-CONFORMS."""

EVIDENT = "precision"
"""The suite of cases so large that small mistakes stand out, which every precision but float32 is judged by."""

SECONDS = 20.0
"""So long the mistake is looked for, unless the caller says otherwise."""

LAYERS_ASKED = 3
"""In so many failing cases each layer is judged by itself, if the port offers single layers."""


def judge(
    port: Port,
    cases: Sequence[Case],
    *,
    needed: Collection[str],
    xfail: Collection[str] = (),
    command: str = "deberta-ref check",
    seen: Callable[[Verdict], None] = lambda _verdict: None,
    accept: Collection[str] = (),
    seconds: float = SECONDS,
    measured: Callable[[str], None] = lambda _what: None,
) -> Report:
    """The report on a port, which is asked ``cases`` one after another; ``seen`` is called with each verdict.

    ``needed`` are the ids that must be judged for a port to conform, ``xfail`` those that are expected to fail.
    ``command`` is what judges this port; the report has it with ``--case ID`` added. Where cases of the suite precision
    are asked, every known mistake is looked for; ``measured`` is called with what comes next. Those in ``accept`` may
    be there. The mistake is looked for in so many ``seconds``.
    """
    start = time.perf_counter()
    verdicts: list[Verdict] = []
    random: str | None = None
    for case in cases:
        verdict = replace(verdict_on(port, case), reproduce=f"{command} --case {case.id}")
        if case.id in xfail and verdict.status in {"fail", "error"}:
            verdict = replace(verdict, status="xfail")
        if verdict.status == "fail" and sum(v.local is not None for v in verdicts) < LAYERS_ASKED:
            verdict = replace(verdict, local=first_wrong_layer(port, case))
        if verdict.status == "fail" and random is None:
            random = not_deterministic(port, case, verdict)
        if case.suite != EVIDENT:
            case.release()
        verdicts.append(verdict)
        seen(verdict)
    verdicts = agreed(cases, verdicts)
    with np.errstate(all="ignore"):  # a port may be wrong by anything
        asked = {case.id: case for case in cases}
        shown = [(asked[v.id], v.found) for v in verdicts if v.suite == EVIDENT and "output" in v.found]
        precision = cases[0].precision if cases else "float32"
        evidence, made = findings(shown, precision, measured) if shown else ([], [])
        explained = _explained(asked, verdicts, random or "", seconds)
    elsewhere = judged_elsewhere(explained.get("diagnosis", ()), command)
    if precision == "float32" and not any(m.score <= LIMIT for m in (*made, *explained.get("diagnosis", ()))):
        with np.errstate(all="ignore"):
            elsewhere += mostly([(asked[v.id], v.found) for v in verdicts if v.status == "fail"], command)
    explained["common"] = (*explained.get("common", ()), *elsewhere, *not_there(made, accept))
    named = {match.mutant for match in made}
    explained["diagnosis"] = (*made, *(m for m in explained.get("diagnosis", ()) if m.mutant not in named))
    return Report(
        port=port.name,
        verdicts=tuple(verdicts),
        **explained,
        reasons=(*reasons(verdicts, needed, xfail), *against(made, accept)),
        undecided=undecided(verdicts, needed, xfail) and not against(made, accept),
        seconds=time.perf_counter() - start,
        precision=precision,
        evidence=tuple(evidence),
        accepted=tuple(match.mutant for match in made if match.mutant in accept),
    )


def _explained(cases: Mapping[str, Case], verdicts: Sequence[Verdict], random: str, seconds: float) -> dict[str, Any]:
    """The diagnosis, and what the failing cases have in common; if none fails, the cases without a usable answer.

    ``random`` is a sentence if the port is not deterministic; it is said if no known mistake explains the answers.
    """
    passing = [cases[v.id] for v in verdicts if v.status == "pass"]
    failing = [v for v in verdicts if v.status == "fail"]
    if not failing:
        broken = [(cases[v.id], v.found) for v in verdicts if v.status == "error"]
        return {"common": tuple(in_common(passing, broken)) if len(broken) > 1 else ()}
    asked = [(cases[v.id], v.found) for v in verdicts if v.status != "skip"]  # an empty answer if it gave none
    matches = diagnose(asked, seconds=seconds)
    if random and not any(m.score <= LIMIT for m in matches):  # a low precision may vary too, but is recognised
        return {"common": (random, *in_common(passing, [(cases[v.id], v.found) for v in failing]))}
    if all(v.mislabelled_taps and not v.first_operation for v in failing):  # everything is computed right
        return {
            "diagnosis": tuple(m for m in matches if m.score <= LIMIT),
            "common": tuple(on_mislabelled_taps(failing)),
        }
    common = in_common(passing, [(cases[v.id], v.found) for v in failing])
    return {"diagnosis": tuple(matches), "common": (*on_mislabelled_taps(failing), *common)}


def verdict_on(port: Port, case: Case) -> Verdict:
    """The verdict on a port's answer to one case."""
    start = time.perf_counter()
    try:
        answer = checked(case, port.answer(case))
    except NotOffered as reason:
        return Verdict(case.id, case.suite, "skip", notes=(str(reason),))
    except PortError as error:
        # IN-LENGTH: a port may refuse more than max_sequence_length tokens.
        status: Status = "skip" if case.allow_long else "error"
        return Verdict(case.id, case.suite, status, notes=(str(error),), seconds=time.perf_counter() - start)
    scores = in_order(case, case.scores(answer.values))
    notes = (*answer.faults, *answer.notes)
    if max(scores.values(), default=0.0) > LIMIT:
        for name in case.manifest.get("permits", ()):
            varied = in_order(case, case.varied(variations[name].model()).scores(answer.values))
            if max(varied.values()) <= LIMIT:  # JUDGE-CASE
                scores, notes = varied, (*notes, f"It uses a variation that the specification permits, {name}.")
    wrong = [name for name, score in scores.items() if score > LIMIT]  # JUDGE-LIMIT
    first = wrong[0] if wrong else None  # JUDGE-FIRST
    before = list(scores)[: list(scores).index(first)] if first else []
    return Verdict(
        case.id,
        case.suite,
        "fail" if wrong else "error" if answer.faults else "pass",  # JUDGE-CASE
        score=max(scores.values(), default=None),
        scores=scores,
        first_tap=first,
        last_tap_within=before[-1] if before else None,
        mislabelled_taps=mislabelled(case, scores),
        notes=notes,
        seconds=time.perf_counter() - start,
        found=answer.values,
    )


def in_order(case: Case, scores: Mapping[str, float]) -> dict[str, float]:
    """The scores in the order of the computation."""
    return {name: scores[name] for name in case.order if name in scores}


def first_wrong_layer(port: Port, case: Case) -> tuple[int, float] | None:
    """The first layer that is wrong when it is fed golden inputs, with its score; the last layer if none is wrong.

    None if the port offers no layers, or the case does not hold their inputs.
    """
    if case.suite not in {"model", "long"}:
        return None
    found = None
    x = case.expected["embeddings"]
    for n in range(case.config.num_layers):
        name = f"layers.{n}.output"
        inputs = {
            "x": x,
            "relative_embeddings": case.expected["relative_embeddings"],
            "padding_mask": case.inputs["padding_mask"],
        }
        try:
            given = checked(case, port.layer(case, n, inputs), layer=n)
        except (NotOffered, PortError):
            return found
        if name not in given.values:
            return found
        score = noise.scores(case.errors({name: given.values[name]}), case.floors)[name]
        found = (n, score)
        if score > LIMIT:
            return found
        x = case.expected[name]
    return found


def reasons(verdicts: Sequence[Verdict], needed: Collection[str], xfail: Collection[str]) -> tuple[str, ...]:
    """Why a port does not conform, in sentences; empty if it conforms."""
    # JUDGE-CONFORMS
    found = []
    judged = [v for v in verdicts if v.status != "skip"]
    for status, what in (("fail", "over the limit"), ("error", "without a usable answer")):
        if ids := [v.id for v in verdicts if v.status == status]:
            found.append(f"{len(ids)} of {len(judged)} cases {'is' if len(ids) == 1 else 'are'} {what}.")
    if missing := set(needed) - {v.id for v in judged}:
        names = ", ".join(sorted(missing)[:3]) + (" …" if len(missing) > 3 else "")
        was = "was" if len(missing) == 1 else "were"
        found.append(f"{len(missing)} of the {len(needed)} cases that a verdict needs {was} not judged: {names}.")
    if unexplained := [v.id for v in verdicts if v.status == "skip" and not v.notes]:
        found.append(f"{', '.join(unexplained)} {'was' if len(unexplained) == 1 else 'were'} skipped without a reason.")
    unjudged = set(xfail) - {v.id for v in judged}
    unmet = set(xfail) - unjudged - {v.id for v in judged if v.status == "xfail"}
    for expected, what in (
        (unmet, "did not"),
        (unjudged, "was not judged" if len(unjudged) == 1 else "were not judged"),
    ):
        if expected:
            is_ = "is" if len(expected) == 1 else "are"
            found.append(f"{', '.join(sorted(expected))} {is_} expected to fail, and {what}.")
    if needed and not found and not any(v.status == "pass" and v.id in needed for v in verdicts):
        found.append(f"None of the {len(needed)} cases that a verdict needs passes: at least one must.")
    return tuple(found)


def undecided(verdicts: Sequence[Verdict], needed: Collection[str], xfail: Collection[str]) -> bool:
    """Whether the only reason against a port is that too few cases were judged, and some of them passed."""
    passed = any(v.status == "pass" for v in verdicts)
    return passed and bool(reasons(verdicts, needed, xfail)) and not reasons(verdicts, (), xfail)  # JUDGE-CONFORMS


def judged_elsewhere(diagnosis: Sequence[Match], command: str) -> list[str]:
    """What judges a port in the lower precision whose size its errors have, a sentence each; nothing for others."""
    lower = {m.mutant.split("-")[1] for m in diagnosis if m.by_size or m.left is not None} & {*PRECISIONS}
    return [f"It may be right in {name}; this judges it there: {command} --precision {name}" for name in sorted(lower)]


def mostly(failing: Sequence[tuple[Case, Mapping[str, Any]]], command: str) -> list[str]:
    """What judges a port that computes in half precision and has a mistake besides; nothing for others."""
    if (found := most_in(failing)) is None:
        return []
    precision, count, of = found
    sizes = f"In {count} of {of} failing models the errors have the size of {precision}."
    return [f"{sizes} The others may have a mistake besides, which this shows: {command} --precision {precision}"]


def against(made: Sequence[Match], accept: Collection[str]) -> list[str]:
    """What stands against a port with these mistakes, a sentence each; nothing if all of them are accepted."""
    return [f"It has the mistake {match.mutant}." for match in made if match.mutant not in accept]  # EVID-CONFORMS


def not_there(made: Sequence[Match], accept: Collection[str]) -> list[str]:
    """A sentence for each accepted mistake that was not found."""
    missing = sorted(set(accept) - {match.mutant for match in made})
    return [f"{name} is accepted, but not found: the port does not have it, or it cannot be told." for name in missing]


def needed_cases(cases: Sequence[Case], precision: Precision = "float32") -> set[str]:
    """The ids of the cases that a verdict needs."""
    return {case.id for case in cases if case.suite == (NEEDED if precision == "float32" else EVIDENT)}
