"""The command ``check``: judge a port. Chapter 13 of spec/."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deberta_ref.conformance.cases.corpus import SUITES, Case, corpus, ordinary
from deberta_ref.files import replace

if TYPE_CHECKING:
    from deberta_ref.conformance.ports.protocol import Port

NOTES = """\
A port, handed over in one of three ways; docs/ports.md has an example of each:
  PORT            run(inputs) takes token_ids and padding_mask, int64 (B, T), and returns the last hidden state or
                  a dict of taps (spec/09); run.layer, run.operation and run.tokenize, if there are, are judged too
  --exec CMD      is run once a case, without a shell. {checkpoint} becomes a directory, {inputs} a file to read,
                  {outputs} a file to write, {question} a manifest.json that says what is asked; without {question}
                  CMD is asked for whole models alone. It ends with 0, or with 77 for what it does not offer beside
                  whole models: then that case is skipped
  --outputs DIR   holds the answers to the questions that --export DIR wrote

The exit code is 0 if the port conforms, 1 if not, 2 if the request is unusable. It takes every case of the suite
model to conform: a part of the cases, as with --case, ends with 1 even where all of them pass, and the last line
says which of the two it is.
"""
"""What --help says below the options."""

JUDGING = ("port", "exec", "outputs", "export", "xfail", "junit", "html", "timeout")
"""Options that say which port is judged, and how that is reported."""

TIMEOUT = 300.0
"""Seconds that a command has for one case, unless --timeout says otherwise."""


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    command.epilog = NOTES
    command.formatter_class = argparse.RawDescriptionHelpFormatter
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
    command.add_argument("--list", action="store_true", help="list the cases, what each exercises, and judge nothing")
    command.add_argument("--suite", action="append", choices=list(SUITES), help="only this suite; repeatable")
    command.add_argument("--case", action="append", metavar="ID", help="only this case; repeatable")
    command.add_argument("--full", action="store_true", help="the published sizes too: half a minute and 3 GB in NumPy")
    command.add_argument("--xfail", metavar="FILE", help="ids of cases that are expected to fail, one a line")
    command.add_argument("--json", metavar="FILE", help="write the report, or the list, as JSON; - is standard output")
    command.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    command.add_argument("--html", metavar="FILE", help="write the report as one page, with pictures of what is wrong")
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Judge the port, print and write the report; 0 if it conforms, 1 if not."""
    must_say_something(options)
    everything = corpus()
    if options.list:
        list_cases(everything, options)
        return 0
    cases = chosen(everything, options)
    if options.export:
        refuse_beside(options, "--export", "goes with --suite, --case and --full", [*JUDGING[:3], *JUDGING[4:], "json"])
        from deberta_ref.conformance.ports.questions import export  # noqa: PLC0415 - needed here only

        export(cases, options.export)
        print(f"{len(cases)} cases are in {options.export}; its README.md says how to answer them.")
        return 0
    xfail = expected_failures(options.xfail, everything)
    must_differ(options)
    must_have_a_place(options.json, options.junit, options.html)
    keep_places(options)
    from deberta_ref.conformance.judging import judge  # noqa: PLC0415 - needed here only
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
    write_json(as_json.document(report), options.json)
    if options.json != "-":
        terminal.show(report, sys.stdout)
    return 0 if report.conforms else 1


def list_cases(everything: Sequence[Case], options: argparse.Namespace) -> None:
    """Print the cases of the suites, or of the ids, that are asked for; with --json as JSON."""
    refuse_beside(options, "--list", "goes with --suite, --case and --json", aside=JUDGING)
    must_have_a_place(options.json)
    options.full = True  # a list is short, and says of each case what it takes
    cases = chosen(everything, options)
    rows = [
        {"id": c.id, "suite": c.suite, "exercises": c.manifest["exercises"], "full_only": not ordinary(c)}
        for c in cases
    ]
    write_json({"cases": rows}, options.json)
    if options.json == "-":
        return
    width = max(len(case.id) for case in cases)
    for suite in dict.fromkeys(case.suite for case in cases):
        listed = [case for case in cases if case.suite == suite]
        print(f"{suite}: {SUITES[suite]}{'' if ordinary(listed[0]) else '; only with --full'}")
        for case in listed:
            print(f"  {case.id:<{width}}  {case.manifest['exercises']}")


def must_say_something(options: argparse.Namespace) -> None:
    """ValueError where an option is empty, as a variable of a shell that is not set: it must not count as left out."""
    for name in ("port", "exec", "outputs", "export", "xfail", "json", "junit", "html"):
        if given(options, name) == "":
            raise ValueError(f"{_option(name)} must not be empty; got ''. Is a variable in the command not set?")


def refuse_beside(options: argparse.Namespace, flag: str, instead: str, aside: Sequence[str]) -> None:
    """ValueError where an option is given that says nothing beside ``flag``."""
    if idle := [_option(name) for name in aside if given(options, name) is not None]:
        raise ValueError(f"{flag} judges nothing and {instead}; leave out {', '.join(idle)}.")


def given(options: argparse.Namespace, name: str) -> Any:
    """The value of an option by its name on the command line; None where it was left out."""
    return getattr(options, "command_line" if name == "exec" else name)


def _option(name: str) -> str:
    return "PORT" if name == "port" else f"--{name}"


def must_differ(options: argparse.Namespace) -> None:
    """ValueError where two reports would go to one file, or one that is no JSON to standard output."""
    seen: dict[Path, str] = {}
    for name in ("json", "junit", "html"):
        path = given(options, name)
        if path == "-" and name != "json":
            raise ValueError(f"--{name} must be a file; got -: only --json writes to standard output.")
        if path is None or path == "-":
            continue
        place = Path(path).resolve()
        if place in seen and (place.is_file() or not place.exists()):
            raise ValueError(f"--{seen[place]} and --{name} must be different files; got {path} for both.")
        seen[place] = name


def must_have_a_place(*paths: str | None) -> None:
    """OSError where a file is to be written into a directory that is not there, or not writable, or is one itself."""
    for path in paths:
        if path is None or path == "-":
            continue
        if Path(path).is_dir():
            raise IsADirectoryError(f"{path} must be a file to write; it is a directory: name a file in it.")
        if not Path(path).resolve().parent.is_dir():
            raise FileNotFoundError(f"{path} must be in a directory that exists; {Path(path).parent} does not.")
        written = Path(path).is_file() or not Path(path).exists()  # a pipe or a device needs nothing beside it
        if written and not os.access(Path(path).resolve().parent, os.W_OK):
            raise PermissionError(f"{path} must be in a directory that can be written to; {Path(path).parent} cannot.")


def keep_places(options: argparse.Namespace) -> None:
    """Make the paths of the reports absolute: a port may change the current directory."""
    for name in ("json", "junit", "html"):
        if given(options, name) not in {None, "-"}:
            setattr(options, name, str(Path(given(options, name)).absolute()))


def write_json(document: Any, path: str | None) -> None:
    """Write JSON to a file, or for - to standard output; nothing where there is no path."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    elif path:
        replace(Path(path), text.encode())


def chosen(everything: Sequence[Case], options: argparse.Namespace) -> list[Case]:
    """The cases that are asked for: all ordinary ones, unless the options say otherwise."""
    known = {case.id: case for case in everything}
    if unknown := [name for name in options.case or () if name not in known]:
        near = " or ".join(difflib.get_close_matches(unknown[0], known, 2, 0.6)) or "model/whole"
        raise ValueError(
            f"--case must be the id of a golden case, such as {near}; got {unknown[0]!r}: deberta-ref check --list has "
            f"all of them."
        )
    if options.case:
        return [known[name] for name in dict.fromkeys(options.case)]
    asked = [case for case in everything if not options.suite or case.suite in options.suite]
    full = options.full or "presets" in (options.suite or ())
    return [case for case in asked if full or ordinary(case)]


def expected_failures(path: str | None, everything: Sequence[Case]) -> set[str]:
    """The ids in a file, one a line; what follows a # is a comment."""
    if path is None:
        return set()
    lines = Path(path).read_text("utf-8-sig").splitlines()
    found = {line.partition("#")[0].strip() for line in lines} - {""}
    if unknown := sorted(found - {case.id for case in everything}):
        raise ValueError(f"{path} must name golden cases, one a line; there is no {', '.join(unknown)}.")
    return found


def named_port(options: argparse.Namespace) -> Port:
    """The port that the options name."""
    from deberta_ref.conformance.ports import callable, command, files, protocol  # noqa: A004, PLC0415 - needed here only

    named = [name for name in ("port", "exec", "outputs") if given(options, name) is not None]
    if len(named) > 1:
        raise ValueError("Give one port: PORT, --exec or --outputs; got more than one.")
    if options.timeout is not None and named != ["exec"]:
        raise ValueError("--timeout is for --exec: leave it out, or give a command.")
    if not named:
        return protocol.reference()
    if named == ["port"]:
        return callable.callable_port(options.port)
    if named == ["outputs"]:
        return files.files_port(options.outputs)
    return command.command_port(options.command_line, timeout=TIMEOUT if options.timeout is None else options.timeout)


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
