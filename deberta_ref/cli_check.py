"""The command ``check``: judge a port. Chapter 13 of spec/."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deberta_ref.conformance.corpus import SUITES, Case, corpus, ordinary
from deberta_ref.files import replace

if TYPE_CHECKING:
    from deberta_ref.conformance.ports import Port

TIMEOUT = 300.0
"""Seconds that a command has for one case, unless --timeout says otherwise."""


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    command.add_argument(
        "port",
        nargs="?",
        metavar="PORT",
        help="FILE.py:load or module:load, where load(checkpoint_dir) returns run(inputs); without one, the reference",
    )
    command.add_argument(
        "--exec",
        dest="command_line",
        metavar="'CMD {checkpoint} {inputs} {outputs}'",
        help="a program in any language: safetensors files in and out",
    )
    command.add_argument("--timeout", type=float, metavar="S", help=f"seconds that CMD has for a case ({TIMEOUT:g})")
    command.add_argument("--outputs", metavar="DIR", help="files computed elsewhere: DIR/<suite>/<case>.safetensors")
    command.add_argument("--export", metavar="DIR", help="write checkpoints, inputs and a protocol to compute them by")
    command.add_argument("--suite", action="append", choices=list(SUITES), help="only this suite; repeatable")
    command.add_argument("--case", action="append", metavar="ID", help="only this case; repeatable")
    command.add_argument("--full", action="store_true", help="the published sizes too: minutes, and up to 16 GB")
    command.add_argument("--xfail", metavar="FILE", help="ids of cases that are expected to fail, one a line")
    command.add_argument("--json", metavar="FILE", help="write the report as JSON; - is standard output")
    command.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    command.add_argument("--html", metavar="FILE", help="write the report as one page, with pictures of what is wrong")
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Judge the port, print and write the report; 0 if it conforms, 1 if not."""
    everything = corpus()
    cases = chosen(everything, options)
    if options.export:
        from deberta_ref.conformance.exported import export  # noqa: PLC0415 - needed here only

        export(cases, options.export)
        print(f"{len(cases)} cases are in {options.export}; its README.md says how to answer them.")
        return 0
    xfail = expected_failures(options.xfail, everything)
    for path in (options.json, options.junit, options.html):
        if path not in {None, "-"} and not Path(path).resolve().parent.is_dir():
            raise FileNotFoundError(f"{path} must be in a directory that exists; {Path(path).parent} does not.")
    from deberta_ref.conformance import judge  # noqa: PLC0415 - needed here only
    from deberta_ref.conformance.reports import as_json, html, junit, terminal  # noqa: PLC0415

    port = named_port(options)
    with terminal.progress(len(cases)) as shown:
        report = judge.judge(
            port,
            cases,
            needed=judge.needed_cases(everything),
            xfail=xfail,
            command=invocation(options),
            seen=lambda verdict: shown.advance(verdict.id, verdict.status),
        )
    if options.junit:
        replace(Path(options.junit), junit.document(report))
    if options.html:
        replace(Path(options.html), html.page(report, {case.id: case for case in cases}).encode())
    if options.json:
        text = json.dumps(as_json.document(report), indent=2, allow_nan=False) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            replace(Path(options.json), text.encode())
    if options.json != "-":
        terminal.show(report, sys.stdout)
    return 0 if report.conforms else 1


def chosen(everything: Sequence[Case], options: argparse.Namespace) -> list[Case]:
    """The cases that are asked for: all ordinary ones, unless the options say otherwise."""
    known = {case.id: case for case in everything}
    if unknown := [name for name in options.case or () if name not in known]:
        raise ValueError(f"--case must be the id of a golden case, such as model/whole; got {unknown[0]!r}.")
    if options.case:
        return [known[name] for name in dict.fromkeys(options.case)]
    asked = [case for case in everything if not options.suite or case.suite in options.suite]
    full = options.full or "presets" in (options.suite or ())
    return [case for case in asked if full or ordinary(case)]


def expected_failures(path: str | None, everything: Sequence[Case]) -> set[str]:
    """The ids in a file, one a line; what follows a # is a comment."""
    if path is None:
        return set()
    lines = Path(path).read_text("utf-8").splitlines()
    found = {line.partition("#")[0].strip() for line in lines} - {""}
    if unknown := sorted(found - {case.id for case in everything}):
        raise ValueError(f"{path} must name golden cases, one a line; there is no {', '.join(unknown)}.")
    return found


def named_port(options: argparse.Namespace) -> Port:
    """The port that the options name."""
    from deberta_ref.conformance import ports  # noqa: PLC0415 - needed here only

    given = [name for name in ("port", "command_line", "outputs") if getattr(options, name)]
    if len(given) > 1:
        raise ValueError("Give one port: PORT, --exec or --outputs; got more than one.")
    if options.timeout is not None and given != ["command_line"]:
        raise ValueError("--timeout is for --exec: leave it out, or give a command.")
    if not given:
        return ports.reference()
    if given == ["port"]:
        return ports.callable_port(options.port)
    if given == ["outputs"]:
        return ports.files_port(options.outputs)
    return ports.command_port(options.command_line, timeout=options.timeout or TIMEOUT)


def invocation(options: argparse.Namespace) -> str:
    """The command that judges this port again, without what it chooses and writes."""
    words = ["deberta-ref", "check", *([options.port] if options.port else [])]
    for flag, value in (
        ("--exec", options.command_line),
        ("--timeout", options.timeout and f"{options.timeout:g}"),
        ("--outputs", options.outputs),
    ):
        words += [flag, value] if value else []
    return shlex.join(words)
