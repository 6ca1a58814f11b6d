"""Judging the arithmetic of a port whose weights are not those of the checkpoint, as a quantized port's.

The port is asked as ever. It is judged against what a right implementation gives with the weights that it really uses:
truth and rounding errors are computed anew with them. How far they are from the checkpoint's is said beside it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref import model
from deberta_ref.checkpoints.huggingface import from_tensors, tensor_name
from deberta_ref.conformance.cases import noise, precisions
from deberta_ref.conformance.cases.corpus import ROW, Case
from deberta_ref.conformance.ports.callable import named_function
from deberta_ref.conformance.ports.protocol import Port
from deberta_ref.conformance.ports.questions import Checkpoints
from deberta_ref.conformance.verdict import Rounding
from deberta_ref.params import Params

FORM = (
    "a directory with DIR/SUITE/CASE.safetensors, a .safetensors file for the one case that is judged, or "
    "FILE.py:function, a function from a checkpoint directory to a dict of arrays"
)

Weights = Callable[[Case], Mapping[str, Any]]
"""The tensors that a port uses instead of those of a case's checkpoint, by their names in model.safetensors."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A port that is asked the golden cases, and judged by others of the same ids."""

    port: Port
    cases: Mapping[str, Case]

    @property
    def name(self) -> str:
        """As the port was named."""
        return self.port.name

    def answer(self, case: Case) -> Mapping[str, Any]:
        """What it gives for the golden case."""
        return self.port.answer(self.cases[case.id])

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What its layer gives for these inputs."""
        return self.port.layer(self.cases[case.id], n, inputs)


def named_weights(name: str, cases: Sequence[Case]) -> Weights:
    """The weights that ``name`` says; ValueError or FileNotFoundError if it says none."""
    from safetensors.numpy import load_file  # noqa: PLC0415 - costs time that other commands need not

    place = Path(name)
    if place.is_dir():
        if missing := [c.id for c in cases if not (place / f"{c.id}.safetensors").is_file()]:
            more = f", nor for {len(missing) - 1} more" if missing[1:] else ""
            raise FileNotFoundError(f"--weights {name} has no {missing[0]}.safetensors{more}: write it, or leave out.")
        return lambda case: dict(load_file(place / f"{case.id}.safetensors"))
    if place.suffix == ".safetensors":
        if len(cases) != 1:
            raise ValueError(f"--weights {name} is a file, for one case; {len(cases)} are judged: add --case ID.")
        tensors = load_file(place)
        return lambda _case: dict(tensors)
    if ":" not in name:
        raise ValueError(f"--weights must be {FORM}; got {name!r}.")
    function, checkpoints = named_function(name, f"--weights must be {FORM}"), Checkpoints()
    return lambda case: function(os.fspath(checkpoints.of(case)))


def with_weights(case: Case, weights: Weights) -> tuple[Case, Rounding]:
    """The case with these weights: its truth and its rounding errors are computed; and how far they are from its own.

    Raises ValueError for a tensor that the checkpoint does not have, or of another shape.
    """
    given = {name: np.asarray(array) for name, array in weights(case).items()}
    own = {tensor_name(name): array for name, array in case.params.arrays().items()}
    if unknown := sorted(given.keys() - own.keys()):
        raise ValueError(
            f"--weights must name tensors of model.safetensors, dequantized; for {case.id} it has {unknown[0]}, "
            f"which that does not have."
        )
    tensors = {name: given.get(name, array).astype(np.float32) for name, array in own.items()}
    params = from_tensors(case.config, tensors, f"--weights, for {case.id}", allow_nonfinite=False)
    found = replace(case, weights=params)
    expected = _held(case, found.evaluate(model, "float64"))
    found = found.with_values(expected={**expected, **{n: case.expected[n] for n in case.expected if n == ROW}})

    def evaluate(module: ModuleType, dtype: str) -> dict[str, Any]:
        return {name: value for name, value in _held(case, found.evaluate(module, dtype)).items() if name != ROW}

    # PREC-WEIGHTS
    floors = precisions.floors(case.precision, evaluate, found.errors)
    exact = {name: noise.Size(0.0, 0.0) for name in found.expected}
    judged = found.with_values(floors={**exact, **floors})
    (required,) = case.required
    effect = case.errors({required: expected[required]})[required].rms
    return judged, Rounding(case.id, _relative(case.params, params), effect, effect / judged.floors[required].rms)


def _relative(own: Params, used: Params) -> float:
    """The root mean square of the difference of all numbers, as a share of that of the numbers themselves."""
    one, other = own.arrays(), used.arrays()
    whole, apart = _squares(one.values()), _squares(other[name] - one[name] for name in one)
    return math.sqrt(apart / whole) if whole else 0.0


def _squares(arrays: Iterable[Any]) -> float:
    return sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays)


def _held(case: Case, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the case holds."""
    return {name: value for name, value in values.items() if name in case.expected}
