"""Which suite rejects which mistake: the table of matrix.md."""

from __future__ import annotations

from collections.abc import Sequence

from deberta_ref.conformance.cases.corpus import SUITES, Case
from deberta_ref.conformance.mistakes.mutants import mutants

JUDGED = ("output", "operation", "text")
"""Where a mistake shows that a case could reject; tests/test_mutants.py rejects the others directly."""


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
