"""The report as JUnit XML, which continuous integration systems show beside other tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from xml.etree import ElementTree as ET

from deberta_ref.conformance.reports.words import (
    closeness,
    conclusion,
    effect,
    known,
    origin,
    printable,
    readable,
    unit,
)
from deberta_ref.conformance.verdict import STATES, Finding, Report, Verdict


def document(report: Report) -> bytes:
    """One test suite for each suite of cases, and one for the verdict: a run of too few cases must not be green.

    Of a port that has known mistakes, one more suite has a test for each, which fails unless the mistake is accepted.
    """
    root = ET.Element("testsuites", name="deberta-ref")
    for suite in dict.fromkeys(v.suite for v in report.verdicts):
        _suite(root, suite, [_case(v, report) for v in report.verdicts if v.suite == suite])
    if has := report.known_to_be("has"):
        _suite(root, "evidence", [_mistake(finding, report) for finding in has])
    _suite(root, "verdict", [_conforms(report)], _properties(report))
    _count(root, root)
    root.set("time", f"{report.seconds:.3f}")
    ET.indent(root)
    return bytes(ET.tostring(root, "utf-8", xml_declaration=True)) + b"\n"


def _suite(
    root: ET.Element, name: str, tests: Sequence[ET.Element], properties: Mapping[str, str] = MappingProxyType({})
) -> None:
    suite = ET.SubElement(root, "testsuite", name=f"deberta-ref.{name}")
    if properties:
        listed = ET.SubElement(suite, "properties")
        for key, value in properties.items():
            ET.SubElement(listed, "property", name=key, value=printable(value))
    suite.extend(tests)
    _count(suite, suite)
    suite.set("time", f"{sum(float(test.get('time', 0)) for test in tests):.3f}")


def _count(element: ET.Element, tests: ET.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(len(list(tests.iter(tag)))))


def _case(v: Verdict, report: Report) -> ET.Element:
    limit = report.limit
    name = v.id.removeprefix(f"{v.suite}/")
    test = ET.Element("testcase", classname=f"deberta-ref.{v.suite}", name=name, time=f"{v.seconds:.3f}")
    notes = " ".join(v.notes)
    match v.status:
        case "fail":
            where = f"{v.first_tap} is the first tap over the limit" if v.first_tap else notes
            _outcome(
                test,
                "failure",
                f"score {readable(v.score)} ({unit(report.precision)}), limit {limit:g}: {where}",
                _details(v, limit),
            )
        case "error":
            _outcome(test, "error", notes, _details(v, limit))
        case "skip":
            _outcome(test, "skipped", notes)
        case "xfail":
            _outcome(test, "skipped", f"expected to fail: score {readable(v.score)}, limit {limit:g}. {notes}")
    return test


def _details(v: Verdict, limit: float) -> str:
    """What is known of a failing case, a fact a line; the scores over the limit have an arrow."""
    found = list(v.remarks)
    if v.last_tap_within:
        found.append(f"The last tap within the limit: {v.last_tap_within}.")
    if v.local is not None:
        found.append(f"Layer {v.local[0]}, fed the reference's values, scores {readable(v.local[1])}.")
    found += [f"{readable(score):>7}  {name}{'  <-' if score > limit else ''}" for name, score in v.scores.items()]
    return "\n".join([*found, *([f"$ {v.reproduce}"] if v.reproduce else [])])


def _conforms(report: Report) -> ET.Element:
    """The test that fails if the port does not conform, whatever the reason."""
    test = ET.Element("testcase", classname="deberta-ref.verdict", name="conforms", time="0.000")
    if not report.conforms:
        matches = [
            f"{m.mutant}: {m.sentence} It {closeness(m, report.precision)}. {origin(m)}." for m in report.diagnosis
        ]
        text = "\n".join([f"Port: {report.port}", *report.reasons, *report.common, *matches])
        _outcome(test, "failure", f"{conclusion(report)}: " + " ".join(report.reasons), text)
    return test


def _properties(report: Report) -> dict[str, str]:
    """The precision, how many mistakes are in each state, and those that the port has; none if none was looked for."""
    if not report.evidence:
        return {}
    counts = {f"evidence.{state}": str(len(report.known_to_be(state))) for state in STATES}
    has = {f"evidence.has.{finding.mistake}": _told(finding, report) for finding in report.known_to_be("has")}
    return {"precision": report.precision, **counts, **has}


def _mistake(finding: Finding, report: Report) -> ET.Element:
    """The test of a mistake that the port has: it fails unless the mistake is accepted."""
    test = ET.Element("testcase", classname="deberta-ref.evidence", name=finding.mistake, time="0.000")
    outcome = "skipped" if finding.mistake in report.accepted else "failure"
    _outcome(test, outcome, _told(finding, report), f"It breaks {finding.clause} of spec/.")
    return test


def _told(finding: Finding, report: Report) -> str:
    """What is known of a mistake that the port has, in a line."""
    sure = f"{readable(finding.sigma)} standard deviations tell it"
    return f"{finding.sentence} In {report.precision} {sure}; {effect(finding)}; {known(finding, report)}."


def _outcome(test: ET.Element, tag: str, message: str, text: str = "") -> None:
    outcome = ET.SubElement(test, tag, message=printable(message).replace("\n", " "))
    outcome.text = printable(text) or None
