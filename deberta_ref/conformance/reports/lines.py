"""The report as lines of styled text: what a terminal shows, with colours or without."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, TypeAlias

from deberta_ref.conformance.cases.corpus import SUITES
from deberta_ref.conformance.reports.words import (
    STATUS,
    cases,
    closeness,
    effect,
    known,
    of_weights,
    origin,
    printable,
    readable,
    unit,
    worst,
)
from deberta_ref.conformance.verdict import STATES, Report, Status, Verdict

Style: TypeAlias = Literal["plain", "strong", "faint", "good", "bad", "odd"]
Line: TypeAlias = tuple[tuple[str, Style], ...]

MATCHES = 3
"""The most mistakes that are shown."""

COMMANDS = 3
"""The most commands that are shown; each judges one failing case again."""

MANY = 4
"""So many cases in a row share a line if the same is said of all of them."""

NAMED = 6
"""The most names that are listed of cases that share a line."""

STYLES: dict[Status, Style] = {"pass": "good", "fail": "bad", "error": "bad", "skip": "odd", "xfail": "odd"}

HEADINGS = ("case", "score", "first tap over the limit", "last tap within it")


def lines(report: Report, width: int) -> Iterator[Line]:
    """The report, wrapped at ``width`` letters: the cases first, the verdict last."""
    took = f"{report.seconds:.{0 if report.seconds >= 10 else 1}f} s"
    yield (printable(report.port), "strong"), (f"  {cases(len(report.verdicts))} in {took}", "faint")
    scale = f"A score of {report.limit:g}, the limit, is an error of {report.limit:g} {unit(report.precision)}."
    yield from _wrapped(f"{scale} A right port scores about 1.", width, "", "faint")
    if report.roundings:
        yield from _wrapped(of_weights(report), width, "", "plain")
    yield from _table(report, width)
    if report.common:
        yield from _heading("Remarks" if report.conforms else "What the failing cases have in common")
        for sentence in report.common:
            yield from _wrapped(sentence, width, "  ")
    yield from _diagnosis(report, width)
    yield from _evidence(report, width)
    yield from _commands(report)
    yield ()
    yield from _verdict(report, width)


def _table(report: Report, width: int) -> Iterator[Line]:
    """For each suite one line that counts its passes, and a line for each other case."""
    suites = {suite: [v for v in report.verdicts if v.suite == suite] for suite in _suites(report)}
    runs = {suite: _runs(verdicts) for suite, verdicts in suites.items()}
    rows = [_cells(run) for found in runs.values() for run in found]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    indent = 2 + max(map(len, STATUS.values())) + 2
    wide = indent + sum(widths) + 2 * 3 <= width  # else the last tap within the limit stands on a line of its own
    columns = 4 if wide else 3
    if rows:
        yield ()
        yield ((" " * indent + _row(HEADINGS[:columns], widths), "faint"),)
    for suite, verdicts in suites.items():
        yield ()
        yield _suite(suite, verdicts)
        said: tuple[str, ...] = ()
        for run in runs[suite]:
            v = run[0]
            status = STATUS[v.status].ljust(indent - 2)
            yield ("  ", "plain"), (status, STYLES[v.status]), (_row(_cells(run)[:columns], widths), "plain")
            if not wide and v.last_tap_within:
                yield ((" " * indent + f"last tap within it: {_last(v)}", "faint"),)
            if len(run) > 1 and v.status == "error":
                yield from _wrapped(_named(run), width, " " * indent, "faint")
            notes = (*v.notes, *_local(v, report.limit)) if len(run) == 1 else _notes(v)
            same = (*_notes(v), *_local(v, report.limit))
            for note in ["as above"] if notes and same == said else notes:
                yield from _wrapped(note, width, " " * indent, "faint")
            said = same


def _suites(report: Report) -> list[str]:
    """The suites that were judged, in the order of ``SUITES``."""
    found = {v.suite for v in report.verdicts}
    return [suite for suite in dict.fromkeys([*SUITES, *(v.suite for v in report.verdicts)]) if suite in found]


def _runs(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """The cases that did not pass, grouped by line: one each, or many in a row of which the same is said."""
    said = lambda v: (v.status, _notes(v), None if v.score is None and v.notes else v.id)
    runs = [list(run) for _, run in groupby((v for v in verdicts if v.status != "pass"), said)]
    return [part for run in runs for part in ([run] if len(run) >= MANY else [[v] for v in run])]


def _named(run: Sequence[Verdict]) -> str:
    """The names of many cases: the first few, and how many more there are."""
    first = [v.id.removeprefix(f"{v.suite}/") for v in run[:NAMED]]
    rest = f" and {len(run) - NAMED} more, which --json and --html list" if len(run) > NAMED else ""
    return ", ".join(first) + rest


def _notes(v: Verdict) -> tuple[str, ...]:
    """The notes in the words that hold for many cases: without the name of this one."""
    file = f"{v.id}.safetensors"
    return tuple(note.replace(file, "the file of each of them").replace(v.id, "each of them") for note in v.notes)


def _cells(run: Sequence[Verdict]) -> tuple[str, str, str, str]:
    """A line of the table, by its columns."""
    v = run[0]
    return v.id if len(run) == 1 else cases(len(run)), readable(v.score), v.first_tap or "", _last(v)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells in columns: text aligned to the left, the score to the right."""
    aligned = [
        cell.rjust(size) if n == 1 else cell.ljust(size)
        for n, (cell, size) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join(aligned).rstrip()


def _last(v: Verdict) -> str:
    """The last tap within the limit, shortened where its name begins like that of the first over it: '…c2p'."""
    if not v.last_tap_within or not v.first_tap:
        return v.last_tap_within or ""
    parts, first = v.last_tap_within.split("."), v.first_tap.split(".")
    shared = next(n for n in range(len(parts)) if parts[: n + 1] != first[: n + 1] or n == len(parts) - 1)
    return "…" + ".".join(parts[shared:]) if shared >= 2 else v.last_tap_within  # the layer, and not 'layers' alone


def _suite(suite: str, verdicts: Sequence[Verdict]) -> Line:
    """'model  14 of 16 pass, worst score 0.9 (model/whole)', and what the suite is."""
    passed = [v for v in verdicts if v.status == "pass"]
    scored = [v for v in passed if v.score is not None]
    most = max(scored, key=lambda v: v.score or 0.0, default=None)
    skipped = sum(v.status == "skip" for v in verdicts)
    said = [f"{len(passed)} of {len(verdicts) - skipped} pass"] if skipped < len(verdicts) else []
    if most is not None and most.score:
        said.append(f"worst score {readable(most.score)} ({most.id})")
    text = "  " + ", ".join([*said, *([f"{skipped} skipped"] if skipped else [])])
    whole = all(v.passes for v in verdicts)
    return (suite, "strong"), (text, "good" if whole and passed else "plain"), (f"  {SUITES.get(suite, '')}", "faint")


def _local(v: Verdict, limit: float) -> Iterator[str]:
    """Whether a layer is wrong by itself, where the port offers single layers."""
    if v.local is not None:
        n, score = v.local
        what = f"Layer {n}, fed the reference's values, scores {readable(score)}"
        yield f"{what}: the mistake is inside it." if score > limit else f"{what}: no layer is wrong by itself."


def _diagnosis(report: Report, width: int) -> Iterator[Line]:
    """The mistakes that explain the port, or come nearest."""
    if not report.diagnosis:
        failing = [v for v in report.verdicts if v.status == "fail"]
        if any(v.first_operation or not v.mislabelled_taps for v in failing):
            yield from _heading("No known mistake explains this")
            if all(set(v.scores) <= {"output"} for v in report.verdicts if v.status == "fail"):
                yield from _wrapped(
                    "Return intermediate values too (the taps of spec/09-vectors.md), to see where the error begins.",
                    width,
                    "  ",
                )
        return
    fits = report.diagnosis[0].score <= report.limit
    yield from _heading(
        "The likely mistake" if fits else "The nearest known mistakes; none of them reproduces your output"
    )
    shown = report.diagnosis[:MATCHES]
    for n, match in enumerate(shown, 1):
        style: Style = "good" if match.score <= report.limit else "faint"
        yield (f"  {n}. ", "faint"), (match.mutant, "strong")
        yield from _wrapped(match.sentence, width, "     ")
        yield from _wrapped(f"It {closeness(match, report.precision)}.", width, "     ", style)
        yield from _wrapped(f"{origin(match)}.", width, "     ", "faint")
    if len(report.diagnosis) > MATCHES:
        yield ((f"  {len(report.diagnosis) - MATCHES} more are in the file that --json writes.", "faint"),)


def _evidence(report: Report, width: int) -> Iterator[Line]:
    """What is known of every mistake in the port, in its precision."""
    if not report.evidence:
        return
    has, excluded, undecided = map(report.known_to_be, STATES)
    yield from _heading(f"What these cases say of {len(report.evidence)} known mistakes, in {report.precision}")
    if not has and not excluded:
        yield from _wrapped("Nothing can be said: no known mistake explains the error of this port.", width, "  ")
        return
    yield from _wrapped(f"Excluded, by 5 standard deviations or more: {len(excluded)}.", width, "  ")
    for finding in has:
        said = f"It has {finding.mistake}: {finding.sentence} ({effect(finding)}; {known(finding, report)})"
        yield from _wrapped(said, width, "  ", "bad")
    if undecided:
        names = ", ".join(finding.mistake for finding in undecided)
        yield from _wrapped(
            f"Too small to be seen in {report.precision}, so they may be there or not: {len(undecided)}, {names}.",
            width,
            "  ",
            "faint",
        )


def _commands(report: Report) -> Iterator[Line]:
    """Commands that judge the first failing cases again. A command is never wrapped, so that it can be copied."""
    commands = [v.reproduce for v in report.verdicts if v.status in {"fail", "error"} and v.reproduce]
    if not commands:
        return
    yield from _heading("To judge one case again")
    for command in commands[:COMMANDS]:
        yield ((f"  {printable(command)}", "plain"),)
    if len(commands) > COMMANDS:
        rest = len(commands) - COMMANDS
        yield ((f"  {rest} more, one for each failing case, are in the files that --json and --html write.", "faint"),)


def _verdict(report: Report, width: int) -> Iterator[Line]:
    """Whether the port conforms, and why not."""
    name = printable(report.port)
    passed = sum(v.status == "pass" for v in report.verdicts)
    if report.conforms:
        judged = f"in {report.precision}, " if report.evidence else ""
        said = f"{name} conforms: {judged}{cases(passed)} within the limit, worst score {worst(report)}"
        if report.accepted:
            said = said.replace("conforms:", f"conforms but for {' and '.join(report.accepted)}, accepted:", 1)
        for status, what in (("skip", "skipped"), ("xfail", "expected to fail, and did")):
            if number := sum(v.status == status for v in report.verdicts):
                said += f"; {number} {what}"
        yield from _wrapped(said + ".", width, "", "good")
    elif report.undecided:
        needed = "model" if report.precision == "float32" else "precision"
        judged = "the case that was judged" if passed == 1 else f"the {passed} cases that were judged"
        said = f"{name} passes {judged}, worst score {worst(report)}."
        said += f" A verdict on the port needs the whole suite {needed}:"
        yield from _wrapped(" ".join([said, *report.reasons]), width, "", "odd")
    elif len(report.reasons) == 1:
        yield from _wrapped(f"{name} does not conform: {report.reasons[0]}", width, "", "bad")
    else:
        yield ((f"{name} does not conform:", "bad"),)
        for reason in report.reasons:
            yield from _wrapped(reason, width, "  ", "bad")


def _heading(text: str) -> Iterator[Line]:
    yield ()
    yield ((text, "strong"),)


def _wrapped(text: str, width: int, indent: str, style: Style = "plain") -> Iterator[Line]:
    """A text of one or more lines, indented, and wrapped between words."""
    for line in printable(text).splitlines():
        for part in textwrap.wrap(line, max(width, 40), initial_indent=indent, subsequent_indent=indent):
            yield ((part, style),)
