"""How time and memory of a forward pass grow with tokens, batch and layers: docs/scaling.svg and docs/scaling.json.

    python benchmarks/scaling.py [--calls N]     the picture; needs ``pip install '.[docs]'``
    python benchmarks/scaling.py --memory        base at 64 × 512 in float32 and float64: the peak beyond parameters

Layers are the base preset's. The vocabulary is small, since it weighs on neither. Every point is measured in a process
of its own (memory.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import machine
from memory import point
from workloads import BASE

import deberta_ref

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Axis:
    """What grows, and what stays meanwhile."""

    name: str
    label: str
    values: tuple[int, ...]
    layers: int = 12
    B: int = 1
    T: int = 512

    def request(self, value: int) -> dict[str, Any]:
        """What is measured at a value."""
        sizes = {"layers": self.layers, "B": self.B, "T": self.T} | {self.name: value}
        config = replace(BASE, vocabulary_size=1000, num_layers=sizes["layers"])
        return {"config": asdict(config), "B": sizes["B"], "T": sizes["T"]}


AXES = (
    Axis("T", "tokens, of one text (12 layers)", (128, 256, 512, 1024, 2048)),
    Axis("B", "texts of 128 tokens (12 layers)", (1, 4, 16, 64), T=128),
    Axis("layers", "layers (one text of 512 tokens)", (1, 2, 4, 8, 12, 16, 24)),
)


def main() -> None:
    """Measure, and draw or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3, help="forward passes a point, of which the fastest counts (3)")
    parser.add_argument("--memory", action="store_true", help="print the peak of base at 64 × 512, draw nothing")
    options = parser.parse_args()
    if options.memory:
        for dtype in ("float32", "float64"):
            measured = point(config=asdict(BASE), B=64, T=512, dtype=dtype, calls=1)
            print(f"base, 64 × 512, {dtype}: {_megabytes(measured):.0f} MB beyond the parameters and the output")
        return
    found: dict[str, list[dict[str, float]]] = {}
    for axis in AXES:
        found[axis.name] = []
        for value in axis.values:
            measured = point(**axis.request(value), dtype="float32", calls=options.calls)
            found[axis.name].append({"value": value, **measured})
            print(f"{axis.name} {value}: {measured['seconds']:.3g} s, {_megabytes(measured):.0f} MB", file=sys.stderr)
    described = machine.described(machine.cores(), {"deberta_ref": deberta_ref.__version__})
    (DOCS / "scaling.json").write_text(json.dumps({"machine": described, **found}, indent=1) + "\n", "utf-8")
    draw(found, described, DOCS / "scaling.svg")


def draw(found: dict[str, list[dict[str, float]]], described: dict[str, str], file: Path) -> None:
    """The picture: a column an axis, time above and memory below, straight lines where the growth is linear."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and --memory does without

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "deberta_ref"  # the same numbers give the same file
    mpl.rcParams["svg.fonttype"] = "none"  # letters, not outlines
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, rows = plt.subplots(2, len(AXES), figsize=(11, 6), layout="constrained", sharex="col")
    for axis, (above, below) in zip(AXES, rows.T, strict=True):
        values = [measured["value"] for measured in found[axis.name]]
        above.plot(values, [measured["seconds"] for measured in found[axis.name]], "o-")
        below.plot(values, [_megabytes(measured) for measured in found[axis.name]], "o-", color="tab:orange")
        below.set_xlabel(axis.label)
        for plot in (above, below):
            plot.set_ylim(bottom=0)
            plot.set_xlim(left=0)
            plot.grid(alpha=0.3)
    rows[0, 0].set_ylabel("seconds")
    rows[1, 0].set_ylabel("MB beyond parameters and output")
    figure.suptitle(f"base, float32: {described['processor']}, {described['threads']}", fontsize="medium")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _megabytes(measured: dict[str, float]) -> float:
    return measured["bytes"] / 1e6


if __name__ == "__main__":
    main()
