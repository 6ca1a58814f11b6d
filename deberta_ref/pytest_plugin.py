"""pytest --deberta-ref-port my_port.py:load runs every golden case as a test of that port."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # importing them would slow down every other run of pytest
    from deberta_ref.conformance.cases.corpus import Case
    from deberta_ref.conformance.ports.protocol import Port
    from deberta_ref.conformance.verdict import Verdict
    from deberta_ref.precision import Precision


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --deberta-ref-port and --deberta-ref-full."""
    group = parser.getgroup("deberta-ref", "conformance of a DeBERTaV3 port")
    group.addoption(
        "--deberta-ref-port", metavar="FILE.py:load", help="run every golden case of deberta-ref as a test of this port"
    )
    group.addoption(
        "--deberta-ref-precision",
        choices=["float32", "tf32", "bfloat16", "float16"],
        default="float32",
        help="judge in this precision, by the cases of the suite precision",
    )
    group.addoption(
        "--deberta-ref-full", action="store_true", help="also the published sizes, which take minutes and gigabytes"
    )


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for every golden case, if a port is named."""
    name = config.getoption("--deberta-ref-port")
    if name is not None:
        full, precision = (config.getoption(f"--deberta-ref-{option}") for option in ("full", "precision"))
        added = list(_items(session, name, precision, full=full))
        report = pytest.CollectReport("deberta-ref", "passed", None, result=[*added])
        config.hook.pytest_collectreport(report=report)  # so that they are counted among what is collected
        items.extend(added)


def _items(session: pytest.Session, name: str, precision: Precision, *, full: bool) -> Iterator[pytest.Item]:
    from deberta_ref.conformance.cases.corpus import corpus, ordinary  # noqa: PLC0415
    from deberta_ref.conformance.ports.callable import callable_port  # noqa: PLC0415

    if not name:
        raise pytest.UsageError("--deberta-ref-port must not be empty; got ''. Is a variable in the command not set?")
    try:
        port = callable_port(name)
    except ValueError as error:
        raise pytest.UsageError(f"--deberta-ref-port: {error}") from None
    for golden in corpus():
        case = dataclasses.replace(golden, precision=precision)
        asked = (
            case.suite == "precision"
            if precision != "float32"
            else ordinary(case) or (full and case.suite == "presets")
        )
        if asked:
            yield CaseItem.from_parent(session, name=f"deberta-ref::{case.id}", case=case, port=port)


class CaseItem(pytest.Item):
    """One golden case as a test of a port."""

    def __init__(self, *, case: Case, port: Port, **others: Any) -> None:  # noqa: D107 - what the class says
        super().__init__(**others)
        self.case = case
        self.port = port

    def runtest(self) -> None:
        """Judge the case; skip it if the port does not offer what it asks for."""
        from deberta_ref.conformance.judging.judge import verdict_on  # noqa: PLC0415

        verdict = verdict_on(self.port, self.case)
        if verdict.status == "skip":
            pytest.skip(" ".join(verdict.notes))
        if verdict.status != "pass":
            again = _command(self.config.getoption("--deberta-ref-port"), self.case)
            raise DoesNotConformError(_sentences(self.case, dataclasses.replace(verdict, reproduce=again)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentences alone: the traceback would only show this package."""
        if isinstance(excinfo.value, DoesNotConformError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, None, str]:
        """The file and the name by which pytest reports the test."""
        return self.case.directory / "manifest.json", None, self.name


class DoesNotConformError(Exception):
    """The port fails a case: a value is over the limit, or there is no usable answer."""


def _sentences(case: Case, verdict: Verdict) -> str:
    """What the case is for, what is wrong, and the command that judges it again."""
    from deberta_ref.conformance.reports.words import unit  # noqa: PLC0415
    from deberta_ref.conformance.verdict import LIMIT  # noqa: PLC0415

    said = [f"{case.id}: {case.manifest['exercises']}"]
    if verdict.first_tap:
        score = verdict.scores[verdict.first_tap]
        if math.isfinite(score):
            errs = f"errs by {score:.3g} {unit(case.precision)}; {LIMIT:g} times are allowed"
        elif case.expected[verdict.first_tap].dtype.kind in "iu":
            errs = "must be equal to what is expected, as integers are"
        else:
            errs = "has an infinite error"
        said.append(f"{verdict.first_tap} {errs}.")
    if verdict.last_tap_within:
        said.append(f"{verdict.last_tap_within} is still within the limit.")
    return "\n".join([*said, *verdict.remarks, *([f"$ {verdict.reproduce}"] if verdict.reproduce else [])])


def _command(port: str, case: Case) -> str:
    """The command that judges this case alone, in the same precision."""
    precision = [] if case.precision == "float32" else ["--precision", case.precision]
    return shlex.join(["deberta-ref", "check", port, *precision, "--case", case.id])
