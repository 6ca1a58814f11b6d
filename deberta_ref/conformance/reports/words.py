"""What every report says in the same words, and text from elsewhere made printable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from deberta_ref.conformance.verdict import LIMIT, Finding, Match, Report
from deberta_ref.precision import Precision

STATUS: Mapping[str, str] = MappingProxyType(
    {"pass": "pass", "fail": "FAIL", "error": "ERROR", "skip": "skipped", "xfail": "xfail"}
)
"""What a table says of a case: failures in capitals, so that they are found without colours too."""

UNIT = "times the float32 rounding error of a right implementation"
"""What a score counts."""


def unit(precision: Precision) -> str:
    """``UNIT`` in a precision."""
    return UNIT.replace("float32", precision)


TOPICS: Mapping[str, str] = MappingProxyType(
    {
        "01-inputs.md": "inputs",
        "02-embeddings.md": "embeddings",
        "03-positions.md": "relative positions",
        "04-attention.md": "attention",
        "05-layer.md": "the encoder layer",
        "06-numerics.md": "numerics",
        "07-padding.md": "padding",
        "08-long-inputs.md": "long inputs",
        "09-vectors.md": "the taps",
        "10-recipe.md": "weights by recipe",
        "11-noise.md": "float32 rounding",
        "12-text.md": "the tokenizer",
    }
)
"""What a chapter of spec/ is about, for a reader who has not read it."""


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
    """``text`` with control characters escaped: a terminal would obey them, and XML has no place for them."""
    return "".join(
        char if char.isprintable() or char == "\n" else " " if char.isspace() else _escaped(char) for char in text
    )


def cases(number: int) -> str:
    """A number of cases: '1 case', '5 cases'."""
    return f"{number} case" + ("" if number == 1 else "s")


def conclusion(report: Report) -> str:
    """The verdict in words: 'conforms', 'does not conform', or 'passes what was judged'; in which precision.

    'conforms in bfloat16, but for gelu-tanh, accepted' is one as well.
    """
    said = "passes what was judged" if report.undecided else "conforms" if report.conforms else "does not conform"
    where = "" if report.precision == "float32" else f" in {report.precision}"
    but = f", but for {' and '.join(report.accepted)}, accepted" if report.conforms and report.accepted else ""
    return f"{said}{where}{but}"


def worst(report: Report) -> str:
    """The worst score among the cases that pass."""
    return readable(max((v.score for v in report.verdicts if v.status == "pass" and v.score is not None), default=None))


def closeness(match: Match, precision: Precision = "float32") -> str:
    """How well a mistake explains the port: 'reproduces your output to within float32 rounding (score 0.9)'."""
    if match.left is not None:
        return (
            f"predicts your output but for {100 * match.left:.2g} % of its error, as roundings that differ leave over"
        )
    if match.by_size:
        return f"predicts the size of your errors to within a factor of {readable(match.score)}"
    if match.score == 0:
        return "reproduces your output exactly"
    if match.score <= LIMIT:
        return f"reproduces your output to within {precision} rounding (score {readable(match.score)})"
    return f"does not reproduce your output (score {readable(match.score)})"


def effect(finding: Finding) -> str:
    """How large a mistake is in these cases: 'its effect here is 0.2 times the rounding error'."""
    return f"its effect here is {readable(finding.size)} times the rounding error"


def known(finding: Finding, report: Report) -> str:
    """Whether a mistake that the port has is accepted, or else how to accept it."""
    accepted = finding.mistake in report.accepted
    return "accepted" if accepted else f"--accept {finding.mistake} says that you know"


def of_weights(report: Report) -> str:
    """How far the port's weights are from the checkpoints', and what that changes, where it changes most."""
    most = max(report.roundings, key=lambda rounding: rounding.multiples)
    off = max(rounding.relative for rounding in report.roundings)
    return (
        f"It is judged with its own weights, which are up to {100 * off:.2g} % off "
        f"the checkpoints' (root mean square). That alone changes the output by up to {most.effect:.1e}, "
        f"{readable(most.multiples)} times the rounding error, in {most.case}."
    )


def origin(match: Match) -> str:
    """What a mistake is about, where it is described, and who has made it.

    'On attention: ATT-P2C in spec/04-attention.md; seen in nntrainer#3982'.
    """
    topics = " and ".join(topic for chapter, topic in TOPICS.items() if chapter in match.chapter)
    seen = f"; seen in {', '.join(match.seen)}" if match.seen else ""
    where = f"{match.clause} in spec/{match.chapter.removeprefix('spec/')}"
    return f"{f'On {topics}: ' if topics else ''}{where}{seen}"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
