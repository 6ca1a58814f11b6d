"""Which suite rejects which mistake: the table of matrix.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deberta_ref.conformance.cases.corpus import SUITES, Case
from deberta_ref.conformance.diagnosis.directions import findings
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.precision import Precision

JUDGED = ("output", "operation", "text")
"""Where a mistake shows that a case could reject; tests/test_mutants.py rejects the others directly."""


HALVES: tuple[Precision, ...] = ("float16", "bfloat16", "tf32")


def in_halves(cases: Sequence[Case]) -> str:
    """A Markdown table: which known mistakes the cases can show in a lower precision. It takes a minute."""
    lines = [
        "",
        "## In lower precisions",
        "",
        "Whether the cases of the suite `precision` can tell a port with the mistake from a right one (EVID-STATE), in",
        "the port's own precision, and how large its effect on the output is, in multiples of the rounding error.",
        "",
        "| mistake | " + " | ".join(HALVES) + " |",
        "|---|" + "---|" * len(HALVES),
    ]
    found = {}
    for precision in HALVES:
        asked = [replace(case, precision=precision) for case in cases if case.suite == "precision"]
        right = findings([(case, {"output": case.expected["output"]}) for case in asked], precision)[0]
        found[precision] = {finding.mistake: finding for finding in right}
    for name in dict.fromkeys(name for findings_ in found.values() for name in findings_):
        cells = [found[precision].get(name) for precision in HALVES]
        said = [f"{'yes' if f.state == 'excluded' else 'no'}, {f.size:.2g}" if f else "" for f in cells]
        lines.append(f"| `{name}` | " + " | ".join(said) + " |")
    counts = [sum(f.state == "excluded" for f in found[p].values()) for p in HALVES]
    told = ", ".join(f"{n} of {len(found[p])} in {p}" for p, n in zip(HALVES, counts, strict=True))
    return "\n".join([*lines, "", f"Can be told: {told}."]) + "\n"


def matrix(cases: Sequence[Case]) -> str:
    """A Markdown table: by how many cases of a suite each mutant is rejected, and what each suite adds."""
    rejecting = {
        name: {suite: sum(name in c.manifest.get("catches", ()) for c in cases if c.suite == suite) for suite in SUITES}
        for name in mutants
    }
    judged = {suite: sum("catches" in c.manifest for c in cases if c.suite == suite) for suite in SUITES}
    lines = [
        "# Which suite rejects which mistake",
        "",
        "Written by `generate.py`. How many cases of each suite reject a mutant with a score of ten or more, by",
        "nothing but what a port must return. Below a suite's name, how many of its cases were asked: models of over",
        "150 million parameters are not, for a hundred mutants of theirs take hours. A row without a number is of a",
        "mistake that breaks more than ports must hold, which a test of the operation rejects.",
        "",
        "| mutant | " + " | ".join(SUITES) + " |",
        "|---|" + "---|" * len(SUITES),
        "| *cases* | " + " | ".join(f"*{judged[suite]}*" for suite in SUITES) + " |",
    ]
    for name, row in rejecting.items():
        if mutants[name].shows in JUDGED:
            lines.append(f"| `{name}` | " + " | ".join(str(row[suite] or "") for suite in SUITES) + " |")
    lines += ["", "| without the suite | these escape |", "|---|---|"]
    for suite in SUITES:
        lost = [
            f"`{n}`" for n, row in rejecting.items() if row[suite] and not sum(row[s] for s in SUITES if s != suite)
        ]
        lines.append(f"| {suite} | {', '.join(lost) or 'none'} |")
    aside = {
        place: [f"`{n}`" for n, m in mutants.items() if m.shows == place] for place in ("taps", "refusal", "nowhere")
    }
    lines += [
        "",
        f"Not in what is required, but in a tap beside it: {', '.join(aside['taps'])}. In a request that is served and",
        f"should be refused: {', '.join(aside['refusal'])}. At padded positions alone, which are never judged:",
        f"{', '.join(aside['nowhere'])}. `tests/test_mutants.py` rejects each of these by a test of its own.",
    ]
    return "\n".join(lines) + "\n"
