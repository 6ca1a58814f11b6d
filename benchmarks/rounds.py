"""Workers that load, are held against deberta_ref, and compute in turn: the rows of the table."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from implementations import REFERENCE, Implementation
from table import Row
from worker import Worker
from workloads import Workload, inputs_of

from deberta_ref.progress import progress
from deberta_ref.recipe import from_recipe

LIMIT = 1e-5
"""By how much, as a root mean square over valid tokens, an output may differ from deberta_ref's. Measured against
float64, deberta_ref's own error on these models is 8e-7, for outputs of about 1; right implementations have up to 1.4
times the noise of float32 (README), so two differ by up to 2.3e-6. A mistake is 20 times the noise and more."""


def rows_of(
    workloads: Sequence[Workload],
    floor: Implementation,
    timed: Sequence[Implementation],
    threads: int,
    rounds: int,
    clock: str,
) -> list[Row]:
    """The rows of workloads of one model; ``timed`` has deberta_ref first, ``clock`` is one of the workers'."""
    model = workloads[0].label.partition(",")[0]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        from_recipe(workloads[0].config).save(f"{scratch}/checkpoint")
        workers, failed = {}, {}
        for each in (floor, *timed):
            with progress(f"{model}: load {each.label}"):
                worker = Worker(each.id, threads, f"{scratch}/checkpoint")
                stack.callback(worker.close)
                try:
                    worker.answer()
                    workers[each.id] = worker
                except RuntimeError as error:
                    failed[each.id] = _failure(each.id, error)
        return [_row(workload, floor.id, workers, failed, scratch, rounds, clock) for workload in workloads]


def _row(
    workload: Workload,
    floor: str,
    workers: dict[str, Worker],
    failed: dict[str, str],
    scratch: str,
    rounds: int,
    clock: str,
) -> Row:
    """What is right, in turn."""
    inputs = inputs_of(workload)
    np.savez(f"{scratch}/inputs.npz", **inputs)
    valid = inputs["padding_mask"] == 1
    failed, right, outputs = dict(failed), {}, {}
    for name, worker in workers.items():
        with progress(f"{workload.label}: warm up {name}"):
            try:
                worker.ask(inputs=f"{scratch}/inputs.npz", output=f"{scratch}/output.npy")
            except RuntimeError as error:
                failed[name] = _failure(name, error)
                continue
        outputs[name] = np.load(f"{scratch}/output.npy")
        if name == floor or deviation(outputs[name][valid], outputs[REFERENCE.id][valid]) <= LIMIT:
            right[name] = worker
        else:
            failed[name] = "wrong output"
    seconds, idle = _in_turn(workload.label, right, rounds, clock)
    return Row(workload.id, workload.label, seconds.pop(floor), seconds, failed, idle)


def deviation(found: Any, expected: Any) -> float:
    """The root mean square of the difference; infinite where it is no number."""
    error = float(np.sqrt(np.mean(np.square(found.astype(np.float64) - expected))))
    return error if np.isfinite(error) else np.inf


def _in_turn(
    label: str, workers: dict[str, Worker], rounds: int, clock: str
) -> tuple[dict[str, Any], dict[str, float]]:
    """Seconds round by round, and processor seconds used out of turn, by implementation."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    idle = dict.fromkeys(workers, 0.0)
    order, shuffled = list(workers), random.Random(0)
    for n in range(rounds):
        with progress(f"{label}: round {n + 1} of {rounds}"):
            shuffled.shuffle(order)  # or each would always find the caches as the same other left them
            for name in order:
                answer = workers[name].ask(clock=clock)
                seconds[name].append(answer["seconds"])
                idle[name] += answer["idle"]
    return {name: tuple(taken) for name, taken in seconds.items()}, idle


def _failure(name: str, error: RuntimeError) -> str:
    """What the table says; the floor and deberta_ref must not fail."""
    if name == REFERENCE.id or name.startswith("floor"):
        raise error
    print(f"\n{error}", file=sys.stderr)
    return "failed"
