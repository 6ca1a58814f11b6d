"""What was measured, as ratios to the floor: the table in Markdown, and the place in the README for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- benchmark: written by benchmarks/forward.py -->\n", "<!-- end of the benchmark -->\n"

COUNTED = {
    "dense": "the products over all positions, padded ones too, and all relative rows",
    "strict": "the products over all positions, padded ones too, without the projections of the relative embeddings, "
    "and with the relative rows that these lengths reach alone",
}


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A workload, timed."""

    id: str
    label: str
    floor: tuple[float, ...]  # seconds, round by round
    seconds: dict[str, tuple[float, ...]]  # the same of each implementation
    failed: dict[str, str]  # implementations that have none, and why
    idle: dict[str, float]  # processor seconds of each while others computed


def spread(values: Sequence[float]) -> Spread:
    """Of any number of values."""
    low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return Spread(median, low, high)


def ratios(row: Row, name: str) -> Spread:
    """Of an implementation to the floor of the same round: what slows a whole round down cancels."""
    return spread([taken / floor for taken, floor in zip(row.seconds[name], row.floor, strict=True)])


def markdown(rows: Sequence[Row], floor: str, labels: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """The table. ``labels`` are the columns after the floor's, in order; ``missing`` says why one of them is empty."""

    def cell(row: Row, name: str) -> str:
        absent = {**missing, **row.failed}
        if name in absent:
            return absent[name]
        ratio = ratios(row, name)
        return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"

    lines = [f"| workload | {floor} | {' | '.join(labels.values())} |", f"|{'---|' * (len(labels) + 2)}"]
    for row in rows:
        cells = [f"1 = {1000 * spread(row.floor).median:.3g} ms", *(cell(row, name) for name in labels)]
        lines.append(f"| {row.label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sentence(machine: Mapping[str, str], rounds: int, kind: str, clock: str) -> str:
    """What the figures are, and of which machine."""
    described = ", ".join(f"{name} {value}" for name, value in machine.items())
    times = "Times" if clock == "wall" else "Processor times"
    return (
        f"{times} of a float32 forward pass in multiples of the {kind} floor, {COUNTED[kind]}, with `@` in NumPy: "
        f"medians over {rounds} rounds, quartiles in brackets. Measured with {described}."
    )


def written(text: str, section: str) -> str:
    """``text`` with ``section`` between the two markers."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:start] + section + text[end:]
