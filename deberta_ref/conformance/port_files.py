"""A port as files that it has written elsewhere: DIR/<suite>/<name>.safetensors."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deberta_ref.conformance.arrays import read_tensors
from deberta_ref.conformance.corpus import SUITES, Case
from deberta_ref.conformance.port import NotOffered, Port, PortError


def files_port(directory: str | os.PathLike[str]) -> Port:
    """The port whose answers are in ``directory``; ValueError if there is not one answer in it."""
    root = Path(directory)
    present = {f"{suite}/{path.stem}" for suite in SUITES for path in root.glob(f"{suite}/*.safetensors")}
    if not present:
        raise ValueError(
            f"{root} must be a directory that holds answers, such as model/whole.safetensors; it holds none: "
            f"deberta-ref check --export DIR writes the questions, and how to answer them."
        )
    return _Files(str(directory), root, frozenset(present))


@dataclass(frozen=True)
class _Files:
    name: str
    root: Path
    present: frozenset[str]  # the ids of the cases that are answered

    def answer(self, case: Case) -> Mapping[str, Any]:
        """The tensors of the case's file."""
        if not any(name.startswith(f"{case.suite}/") for name in self.present):
            raise NotOffered(f"{self.root} has no answer to any case of the suite {case.suite}.")
        path = self.root / f"{case.id}.safetensors"
        if case.id not in self.present:
            nearest = difflib.get_close_matches(case.id, self.present, 1, 0.8)
            hint = f"; {nearest[0]}.safetensors is there" if nearest else ""
            raise PortError(f"{self.root} must hold {case.id}.safetensors, or nothing of its suite; it does not{hint}.")
        try:
            return read_tensors(path)
        except (OSError, ValueError) as error:
            raise PortError(f"The answer to {case.id} cannot be read. {error}") from None

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: files answer what was asked when they were written."""
        raise NotOffered(f"Files hold no answer to layer {n} of {case.id} alone.")
