"""The command ``check``: judge a port. Chapter 13 of spec/."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deberta_ref.cli.output import must_be_writable, write_json
from deberta_ref.conformance.cases.corpus import SUITES, Case, corpus, ordinary
from deberta_ref.files import replace
from deberta_ref.precision import PRECISIONS, Precision

if TYPE_CHECKING:
    from deberta_ref.conformance.ports.protocol import Port
    from deberta_ref.conformance.verdict import Rounding

NOTES = """\
A port can be handed over in three ways; docs/ports.md has an example of each:
  PORT            is a Python function: load(checkpoint_dir) returns run(inputs). run takes token_ids and
                  padding_mask, int64 (B, T), and returns the last hidden state or a dict of taps (spec/09). If run
                  has functions run.layer, run.operation or run.tokenize, they are judged too
  --exec CMD      is a program, run once per case, without a shell. {checkpoint} becomes the path of a directory,
                  {inputs} of a file to read, {outputs} of a file to write, and {question} of a manifest.json that
                  says what to compute. Without {question}, CMD is asked for whole models only. CMD exits with 0, or
                  with 77 to decline a case that is not a whole model: that case is skipped
  --outputs DIR   holds the answers to the questions that --export wrote

The exit code is 0 if the port conforms, 1 if not, 2 if the request is unusable. To conform, a port must pass every
case of the suite model. A part of that suite, as with --case, cannot prove conformance: it exits with 1 even if all of
it passes, and the last line says which of the two it is.
"""
"""What --help says below the options."""

PORTS = ("port", "exec", "outputs")
"""The three ways to hand over a port."""

REPORTS = ("json", "junit", "html")
"""Options that write a report to a file."""

JUDGING = (*PORTS, "timeout", "xfail", "weights", "thorough", "accept", "junit", "html")
"""Options that have no meaning where nothing is judged."""

MUST_NOT_BE_EMPTY = (*PORTS, *REPORTS, "export", "xfail", "weights")

ONLY_WITH = {"presets": "; only with --full", "precision": "; only with --precision"}
"""What --list says of suites that are not judged by default."""

THOROUGH = 300.0
"""Seconds in which --thorough looks for the mistake."""

DEFAULT_TIMEOUT = 300.0
"""Seconds that a command has for one case."""


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    command.epilog = NOTES
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument(
        "port",
        nargs="?",
        metavar="PORT",
        help="FILE.py:load or module:load, where load(checkpoint_dir) returns run(inputs); default: the reference",
    )
    command.add_argument(
        "--exec",
        metavar="'CMD {checkpoint} {inputs} {outputs}'",
        help="a program in any language: safetensors files in and out",
    )
    command.add_argument(
        "--timeout", type=float, metavar="S", help=f"seconds that CMD has for one case (default: {DEFAULT_TIMEOUT:g})"
    )
    command.add_argument("--outputs", metavar="DIR", help="outputs computed elsewhere: DIR/<suite>/<case>.safetensors")
    command.add_argument(
        "--export", metavar="DIR", help="write checkpoints and inputs, to compute the outputs elsewhere"
    )
    command.add_argument("--list", action="store_true", help="list the cases and what each exercises; judge nothing")
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="judge in this precision, and say of every known mistake whether the port has it (default: float32)",
    )
    command.add_argument(
        "--weights",
        metavar="WHAT",
        help="the weights that a quantized port really uses, dequantized: DIR, FILE.safetensors or FILE.py:function",
    )
    command.add_argument(
        "--accept", action="append", metavar="ID", help="a mistake that the port may have; with --precision; repeatable"
    )
    command.add_argument("--suite", action="append", choices=list(SUITES), help="only this suite; repeatable")
    command.add_argument("--case", action="append", metavar="ID", help="only this case; repeatable")
    command.add_argument("--full", action="store_true", help="the published sizes too: half a minute and 3 GB in NumPy")
    command.add_argument("--xfail", metavar="FILE", help="ids of cases that are expected to fail, one per line")
    command.add_argument(
        "--thorough",
        action="store_true",
        default=None,
        help="look for the mistake for up to five minutes, not 20 seconds",
    )
    command.add_argument("--json", metavar="FILE", help="write the report, or the list, as JSON; - is standard output")
    command.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    command.add_argument("--html", metavar="FILE", help="write the report as one page, with pictures of what is wrong")


def run(options: argparse.Namespace) -> int:
    """Judge the port, print and write the report; 0 if it conforms, 1 if not."""
    if empty := [name for name in MUST_NOT_BE_EMPTY if getattr(options, name) == ""]:
        raise ValueError(f"{_flag(empty[0])} must not be empty; got ''. Is a shell variable in the command not set?")
    everything = corpus()
    if options.list:
        return list_cases(everything, options)
    cases = chosen(everything, options.case, options.suite, full=options.full, precision=options.precision)
    if options.export:
        return export_questions(cases, options)
    xfail = expected_failures(options.xfail, everything)
    accept = accepted(options)
    reports = report_paths(options)
    from deberta_ref.conformance.judging import judge  # noqa: PLC0415 - needed here only
    from deberta_ref.conformance.reports import as_json, html, junit, terminal  # noqa: PLC0415

    port = named_port(options)
    roundings: list[Rounding] = []
    if options.weights:
        port, cases, roundings = reweighted(port, cases, options.weights)
    with terminal.progress(len(cases)) as shown:
        report = judge.judge(
            port,
            cases,
            needed=judge.needed_cases(everything, options.precision or "float32"),
            xfail=xfail,
            command=invocation(options),
            seen=lambda verdict: shown.advance(verdict.id, verdict.status),
            accept=accept,
            seconds=THOROUGH if options.thorough else judge.SECONDS,
            measured=shown.weigh,
        )
    report = dataclasses.replace(report, roundings=tuple(roundings))
    if "junit" in reports:
        replace(Path(reports["junit"]), junit.document(report))
    if "html" in reports:
        replace(Path(reports["html"]), html.page(report, {case.id: case for case in cases}).encode())
    if "json" in reports:
        write_json(as_json.document(report), reports["json"])
    if options.json != "-":
        terminal.show(report, sys.stdout)
    return 0 if report.conforms else 1


def reweighted(port: Port, cases: Sequence[Case], name: str) -> tuple[Port, list[Case], list[Rounding]]:
    """The port and the cases to judge its arithmetic by, with the weights that it uses; cases of no model are left."""
    from deberta_ref.conformance.ports import weights  # noqa: PLC0415 - needed here only

    models = [case for case in cases if "config" in case.manifest and "tokenizer" not in case.manifest]
    used = weights.named_weights(name, models)
    found = dict(zip((case.id for case in models), (weights.with_weights(case, used) for case in models), strict=True))
    judged = [found[case.id][0] if case.id in found else case for case in cases]
    return weights.Asked(port, {case.id: case for case in cases}), judged, [rounding for _, rounding in found.values()]


def list_cases(everything: Sequence[Case], options: argparse.Namespace) -> int:
    """Print the cases of the suites, or of the ids, that are asked for; with --json as JSON."""
    refuse_beside("--list", "takes only --suite, --case and --json", [*JUDGING, "export", "precision"], options)
    reports = report_paths(options)
    cases = chosen(everything, options.case, options.suite, full=True, precision="float32")
    rows = [
        {"id": c.id, "suite": c.suite, "exercises": c.manifest["exercises"], "full_only": c.suite == "presets"}
        for c in cases
    ]
    if "json" in reports:
        write_json({"cases": rows}, reports["json"])
    if options.json == "-":
        return 0
    width = max(len(case.id) for case in cases)
    for suite in dict.fromkeys(case.suite for case in cases):
        listed = [case for case in cases if case.suite == suite]
        print(f"{suite}: {SUITES[suite]}{ONLY_WITH.get(suite, '')}")
        for case in listed:
            print(f"  {case.id:<{width}}  {case.manifest['exercises']}")
    return 0


def export_questions(cases: Sequence[Case], options: argparse.Namespace) -> int:
    """Write what is needed to compute the outputs elsewhere."""
    refuse_beside("--export", "takes only --suite, --case, --full and --precision", [*JUDGING, "json"], options)
    from deberta_ref.conformance.ports.questions import export  # noqa: PLC0415 - needed here only

    export(cases, options.export)
    print(f"{len(cases)} cases are in {options.export}; its README.md says how to answer them.")
    return 0


def refuse_beside(flag: str, instead: str, meaningless: Iterable[str], options: argparse.Namespace) -> None:
    """ValueError if an option is given that has no meaning beside ``flag``."""
    if given := [_flag(name) for name in meaningless if getattr(options, name) is not None]:
        raise ValueError(f"{flag} judges nothing and {instead}; leave out {', '.join(given)}.")


def _flag(name: str) -> str:
    """How an option is written on the command line."""
    return "PORT" if name == "port" else f"--{name}"


def report_paths(options: argparse.Namespace) -> dict[str, str]:
    """The reports that are asked for, each with the absolute path of its file: a port may change the current directory.

    Standard output stays -. Raises ValueError if two reports would go to one file, or one that is not JSON to standard
    output, and OSError if one cannot be written.
    """
    paths: dict[str, str] = {}
    written: dict[Path, str] = {}
    for name in REPORTS:
        path = getattr(options, name)
        if path is None:
            continue
        if path == "-":
            if name != "json":
                raise ValueError(f"--{name} must be a file; got -: only --json writes to standard output.")
            paths[name] = path
            continue
        place = Path(path).resolve()
        if place in written and (place.is_file() or not place.exists()):
            raise ValueError(f"--{written[place]} and --{name} must be different files; got {path} for both.")
        written[place] = name
        must_be_writable(f"--{name}", path)
        paths[name] = str(Path(path).absolute())
    return paths


def chosen(
    everything: Sequence[Case],
    ids: Sequence[str] | None,
    suites: Sequence[str] | None,
    *,
    full: bool,
    precision: Precision | None = None,
) -> list[Case]:
    """The cases of these ids, or else of these suites, or else all; those that need --full only if it is asked for."""
    known = {case.id: case for case in everything}
    if unknown := [name for name in ids or () if name not in known]:
        near = " or ".join(difflib.get_close_matches(unknown[0], known, 2, 0.6)) or "model/whole"
        raise ValueError(
            f"--case must be the id of a golden case, such as {near}; got {unknown[0]!r}: deberta-ref check --list "
            f"lists all of them."
        )
    if ids:
        asked = [known[name] for name in dict.fromkeys(ids)]
    elif precision and precision != "float32":
        if full or {*(suites or ())} - {"precision"}:
            raise ValueError(
                f"--precision {precision} takes cases of the suite precision alone: leave out --suite and --full."
            )
        asked = [case for case in everything if case.suite == "precision"]
    else:
        named = {*(suites or ()), *(["presets"] if full else []), *(["precision"] if precision else [])}
        asked = [case for case in everything if not suites or case.suite in suites]
        asked = [case for case in asked if ordinary(case) or case.suite in named]
    if precision and (other := [case.id for case in asked if precision != "float32" and case.suite != "precision"]):
        raise ValueError(f"--precision {precision} takes cases of the suite precision; got {other[0]}: leave it out.")
    return [dataclasses.replace(case, precision=precision or "float32") for case in asked]


def expected_failures(path: str | None, everything: Sequence[Case]) -> set[str]:
    """The ids in a file, one per line; what follows a # is a comment."""
    if path is None:
        return set()
    lines = Path(path).read_text("utf-8-sig").splitlines()
    found = {line.partition("#")[0].strip() for line in lines} - {""}
    if unknown := sorted(found - {case.id for case in everything}):
        raise ValueError(f"{path} must name golden cases, one per line; there is no {', '.join(unknown)}.")
    return found


def accepted(options: argparse.Namespace) -> set[str]:
    """The mistakes that --accept names; ValueError for one that is not known, or without --precision."""
    names = set(options.accept or ())
    if names and not options.precision:
        raise ValueError("--accept is for --precision, which says which mistakes a port has: give that too.")
    from deberta_ref.conformance.mistakes.known import known  # noqa: PLC0415 - needed here only

    ids = [mistake.id for mistake in known({"output"})]
    if unknown := sorted(names - {*ids}):
        near = " or ".join(difflib.get_close_matches(unknown[0], ids, 2, 0.6)) or "gelu-tanh"
        raise ValueError(f"--accept must be the id of a known mistake, such as {near}; got {unknown[0]!r}.")
    return names


def named_port(options: argparse.Namespace) -> Port:
    """The port that the options name."""
    from deberta_ref.conformance.ports import callable, command, files, protocol  # noqa: A004, PLC0415 - needed here only

    named = [name for name in PORTS if getattr(options, name) is not None]
    if len(named) > 1:
        raise ValueError(f"Give one port: PORT, --exec or --outputs; got {' and '.join(map(_flag, named))}.")
    if options.timeout is not None and named != ["exec"]:
        raise ValueError("--timeout is for --exec: leave it out, or give a command.")
    if not named:
        return protocol.reference()
    if named == ["port"]:
        return callable.callable_port(options.port)
    if named == ["outputs"]:
        return files.files_port(options.outputs)
    return command.command_port(options.exec, DEFAULT_TIMEOUT if options.timeout is None else options.timeout)


def invocation(options: argparse.Namespace) -> str:
    """The command that judges this port again, without the options that choose cases and write reports."""
    words = ["deberta-ref", "check", *([options.port] if options.port else [])]
    for flag, value in (
        ("--exec", options.exec),
        ("--timeout", options.timeout and f"{options.timeout:g}"),
        ("--precision", options.precision),
        ("--weights", options.weights),
        ("--outputs", options.outputs),
    ):
        words += [flag, value] if value else []
    return shlex.join(words)
