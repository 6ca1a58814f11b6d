"""Solving for mistakes that are a factor: which few steps of the computation are multiplied by what.

Every step of the plain forward pass has a gate, a factor that is 1 where the step is right. The gates that a port's
output asks for are found by Gauss–Newton steps on one small case, the fewest that explain it down to the rounding
error. Then all other answers have to agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from deberta_ref.conformance.diagnosis.evidence import Clock, Evidence, Explanation, explained
from deberta_ref.conformance.diagnosis.generated import FAILED, probe_of
from deberta_ref.conformance.mistakes.generated.candidates import Generated, gated
from deberta_ref.conformance.mistakes.generated.edits import gates
from deberta_ref.precision import Array

MOST = 3
"""The most gates that are found in one port."""

STEPS = 6
"""Gauss–Newton steps for one set of gates."""

TRIED = 6
"""So many gates are tried next to those that are found already: those that take away most of the error."""

DIFFERENCE = 1e-4
"""The difference in a gate from which a derivative is taken."""

SOLVED = 8.0
"""What is left of the error, in multiples of the rounding error, if a set of gates explains the probe."""

NAMED: Mapping[str, float] = {
    "0": 0.0,
    "-1": -1.0,
    "2": 2.0,
    "3": 3.0,
    "1 / 2": 1 / 2,
    "1 / 3": 1 / 3,
    "sqrt(2)": math.sqrt(2),
    "sqrt(3)": math.sqrt(3),
    "1 / sqrt(2)": 1 / math.sqrt(2),
    "1 / sqrt(3)": 1 / math.sqrt(3),
    "sqrt(3 / 2)": math.sqrt(3 / 2),
    "sqrt(2 / 3)": math.sqrt(2 / 3),
    "0.9": 0.9,
    "1 / 0.9": 1 / 0.9,
}
"""Values that have a name."""

OF_D: Mapping[str, tuple[float, float]] = {
    "sqrt(d)": (1.0, 0.5),
    "1 / sqrt(d)": (1.0, -0.5),
    "sqrt(3 * d)": (math.sqrt(3), 0.5),
    "1 / sqrt(3 * d)": (1 / math.sqrt(3), -0.5),
    "d": (1.0, 1.0),
    "1 / d": (1.0, -1.0),
    "3 * d": (3.0, 1.0),
    "1 / (3 * d)": (1 / 3, -1.0),
}
"""Values that depend on the features d of a head: a · d ** b."""


def solved(order: Sequence[Evidence], out_of_time: Clock) -> list[Explanation]:
    """The fewest gates that explain all answers, if there are any."""
    probe = probe_of(order)
    if probe is None:
        return []
    with np.errstate(all="ignore"):  # a port may be wrong by anything
        return _solved(_Solver(probe), order, out_of_time)


def _solved(solver: _Solver, order: Sequence[Evidence], out_of_time: Clock) -> list[Explanation]:
    fewest: list[tuple[list[int], dict[int, float]]] = []
    for found in solver.sets(out_of_time):
        if fewest and len(found[0]) > len(fewest[0][0]):
            break
        fewest.append(found)
    for chosen, values in sorted(fewest, key=_plainness):
        for factors in _factors([values[gate] for gate in chosen], solver.probe.case.config.head_dim):
            if out_of_time():
                return []
            explanation = explained(Generated.of_gates([gates()[g] for g in chosen], factors), order, out_of_time)
            if explanation.fits:
                return [explanation]
    return []


def _plainness(found: tuple[list[int], dict[int, float]]) -> int:
    """How many values a set of gates has: of sets that cannot be told apart, the plainest comes first."""
    return len({round(value, 3) for value in found[1].values()})


def _factors(values: Sequence[float], d: int) -> Iterator[tuple[str, ...]]:
    """How these values may be written: by their names, or as numbers."""
    options = []
    for value in values:
        known = {**NAMED, **{text: a * d**b for text, (a, b) in OF_D.items()}}
        near = [text for text, exact in known.items() if abs(value - exact) <= 1e-4 * max(abs(exact), 0.1)]
        options.append([*near, repr(float(value))])
    yield from product(*options)


class _Solver:
    """The probe, and the gates that are found so far."""

    def __init__(self, probe: Evidence) -> None:
        (name,) = probe.case.required
        self.probe = probe
        self.mask = probe.case.inputs["padding_mask"].astype(bool)
        self.theirs = probe.found[name][self.mask].ravel()
        self.noise = probe.case.floors[name].rms

    def sets(self, out_of_time: Clock) -> Iterator[tuple[list[int], dict[int, float]]]:
        """Sets of gates that explain the probe, and their values, the smallest sets first."""
        known: list[tuple[list[int], dict[int, float]]] = [([], {})]
        for _ in range(MOST):
            grown: list[tuple[float, list[int], dict[int, float]]] = []
            for chosen, values in known:
                for gate in self._next(values, out_of_time):
                    if gate in chosen or out_of_time():
                        continue
                    left, found = self._fitted([*chosen, gate], values)
                    if left <= SOLVED * self.noise:
                        yield [*chosen, gate], found
                    elif math.isfinite(left):
                        grown.append((left, [*chosen, gate], found))
            grown.sort(key=lambda one: one[0])
            known = [(chosen, values) for _, chosen, values in grown[:2]]

    def _next(self, values: Mapping[int, float], out_of_time: Clock) -> list[int]:
        """The gates whose derivative takes away most of what is left, and those that do where they are 0 or −1."""
        now = self._given(values)
        if now is None:
            return []
        error = self.theirs - now
        gains = []
        for gate in range(len(gates())):
            if out_of_time():
                break
            for value in (1 + DIFFERENCE, 0.0, -1.0):
                there = self._given({**values, gate: value})
                if there is None:
                    continue
                change = there - now
                square = float(change @ change)
                gain = abs(float(change @ error)) / math.sqrt(square) if 0 < square < math.inf else math.nan
                if math.isfinite(gain):
                    gains.append((gain, gate))
        gains.sort(reverse=True)
        return list(dict.fromkeys(gate for _, gate in gains))[:TRIED]

    def _fitted(self, chosen: Sequence[int], values: Mapping[int, float]) -> tuple[float, dict[int, float]]:
        """What these gates leave of the error at best, and their values."""
        best: tuple[float, dict[int, float]] = (math.inf, {})
        for start in (1.0, 0.0, -1.0):
            found = {**dict.fromkeys(chosen, 1.0), **values, chosen[-1]: start}
            for _ in range(STEPS):
                now = self._given(found)
                if now is None:
                    break
                error = self.theirs - now
                left = float(np.sqrt(np.mean(np.square(error))))
                if left < best[0]:
                    best = left, dict(found)
                if left <= self.noise:
                    return best
                columns = [self._derivative(found, gate, now) for gate in chosen]
                if not math.isfinite(left) or any(column is None for column in columns):
                    break
                try:
                    step = np.linalg.lstsq(np.stack(columns, axis=1), error, rcond=1e-9)[0]  # type: ignore[arg-type]
                except FAILED:  # a derivative is not finite
                    break
                found = {gate: found[gate] + float(s) for gate, s in zip(chosen, step, strict=True)}
        return best

    def _derivative(self, values: Mapping[int, float], gate: int, now: Array) -> Array | None:
        there = self._given({**values, gate: values[gate] + DIFFERENCE})
        return None if there is None else (there - now) / DIFFERENCE

    def _given(self, values: Mapping[int, float]) -> Any:
        """The output of the plain forward pass with these gates at valid positions; None if it is not finite."""
        module = gated()
        module.GATES[:] = 1.0
        for gate, value in values.items():
            module.GATES[gate] = value
        try:
            with np.errstate(all="ignore"):
                output = module.forward(self.probe.case.params, self.probe.case.inputs, "float64")[self.mask].ravel()
        except FAILED:
            return None
        return output if np.isfinite(output).all() else None
