"""Scores and foreign text, as a reader may see them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from deberta_ref.conformance.verdict import Report

STATUS: Mapping[str, str] = MappingProxyType(
    {"pass": "pass", "fail": "FAIL", "error": "ERROR", "skip": "skipped", "xfail": "xfail"}
)
"""What a table says of a case: failures in capitals, as they must be found without colours too."""


def readable(score: float | None) -> str:
    """A score in a few letters: 0.7, 12, 3.1e5, inf; a dash where nothing was compared."""
    if score is None:
        return "-"
    if not math.isfinite(score):
        return "inf"
    if score >= 9999.5:
        digits, _, exponent = f"{score:.1e}".partition("e")
        return f"{digits}e{int(exponent)}"
    if score >= 9.95:
        return f"{score:.0f}"
    return f"{score:.1f}" if score >= 0.095 else f"{score:.1g}" if score >= 0.001 else "0" if score == 0 else "<0.001"


def printable(text: str) -> str:
    """``text`` without what a terminal would obey or XML refuse: control characters become their escapes."""
    return "".join(
        char if char.isprintable() or char == "\n" else " " if char.isspace() else _escaped(char) for char in text
    )


def cases(number: int) -> str:
    """A number of cases: '1 case', '5 cases'."""
    return f"{number} case" + ("" if number == 1 else "s")


def conclusion(report: Report) -> str:
    """What is said of the port as a whole: 'conforms', or not, or that there is no verdict."""
    if report.undecided:
        return "passes what was judged"
    return "conforms" if report.conforms else "does not conform"


def worst(report: Report) -> str:
    """The worst score of the cases that pass."""
    return readable(max((v.score for v in report.verdicts if v.status == "pass" and v.score is not None), default=None))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
