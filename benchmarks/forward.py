"""Time the forward pass against the matrix products that it cannot do without, and against other implementations.

    python benchmarks/forward.py [--only ID …] [--workload ID …] [--rounds N] [--threads N] [--floor dense|strict]
                                 [--clock wall|processor] [--plain] [--json FILE] [--write]

Columns are the floor (floor.py), deberta_ref, and OpenVINO, ONNX Runtime, transformers and KerasHub as far as they are
installed for the interpreter that runs this (ports/requirements.txt); rows are the workloads of workloads.py. README.md
beside this file says how it measures. It ends with 1 if anything that is installed failed or gave a wrong output.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import machine
from floor import KINDS, flops
from implementations import FLOORS, PEERS, PLAIN, REFERENCE, Implementation
from rounds import rows_of
from table import README, Row, markdown, ratios, sentence, written
from worker import CLOCKS
from workloads import TINY, WORKLOADS

import deberta_ref

ALL = {workload.id: workload for workload in (*WORKLOADS, TINY)}


def main() -> int:
    """Measure, and print the table."""
    options = _options()
    columns = [REFERENCE, *(peer for peer in PEERS if peer.id in options.only), *([PLAIN] if options.plain else [])]
    installed, floor = [column for column in columns if column.installed], FLOORS[options.floor]
    rows: list[Row] = []
    for _, workloads in groupby((ALL[name] for name in options.workload), key=lambda workload: workload.config):
        rows += rows_of(list(workloads), floor, installed, options.threads, options.rounds, options.clock)
    described = _machine(installed, options.threads)
    missing = {column.id: "not installed" for column in columns if column not in installed}
    section = markdown(rows, floor.label, {column.id: column.label for column in columns}, missing)
    section += f"\n{sentence(described, options.rounds, options.floor, options.clock)}\n"
    print(section, end="")
    if options.json:
        report = {"machine": described, "floor": options.floor, "rounds": options.rounds, "clock": options.clock}
        report["workloads"] = [_entry(row, options.floor) for row in rows]
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if options.write:
        README.write_text(written(README.read_text("utf-8"), section), "utf-8")
    return int(any(row.failed for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers, workloads = [peer.id for peer in PEERS], [workload.id for workload in WORKLOADS]
    cores = machine.cores()
    parser.add_argument("--only", nargs="*", choices=peers, default=peers, help="these peers, or none")
    parser.add_argument("--workload", nargs="+", choices=list(ALL), default=workloads, help="these rows")
    parser.add_argument("--rounds", type=int, default=25, help="how often each computes (25)")
    parser.add_argument("--threads", type=int, default=cores, help=f"for each, up to the cores there are ({cores})")
    parser.add_argument("--floor", choices=KINDS, default="dense", help="which products are the floor (dense)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="what passed, or what was used (wall)")
    parser.add_argument("--plain", action="store_true", help="a column for plain.py")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every time that was taken, and the ratios")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    if not 1 <= options.threads <= cores:
        parser.error(f"--threads must be from 1 to {cores}, the cores that this process may use; got {options.threads}")
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1; got {options.rounds}")
    return options


def _machine(installed: list[Implementation], threads: int) -> dict[str, str]:
    versions = {"deberta_ref": deberta_ref.__version__}
    for implementation in installed:
        versions |= implementation.versions
    return machine.described(threads, versions)


def _entry(row: Row, kind: str) -> dict[str, Any]:
    """A row as JSON has it."""
    workload = ALL[row.id]
    return {
        "id": row.id,
        "lengths": workload.lengths,
        "floor_flops": flops(workload.config, *workload.shape, kind),
        "ratios": {name: asdict(ratios(row, name)) for name in row.seconds},
        **asdict(row),
    }


if __name__ == "__main__":
    sys.exit(main())
