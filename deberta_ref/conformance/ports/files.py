"""A port as files that it wrote elsewhere: DIR/<suite>/<name>.safetensors."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deberta_ref.conformance.cases.corpus import Case, corpus
from deberta_ref.conformance.ports.protocol import NotOffered, Port, PortError
from deberta_ref.conformance.ports.tensors import read_tensors


def files_port(directory: str | os.PathLike[str]) -> Port:
    """The port whose answers are in ``directory``; ValueError if it holds none, or one that answers no golden case."""
    root = Path(directory)
    known = {case.id for case in corpus()}
    found = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.safetensors")}
    present = found & known
    exported = {f"{name}/{part}" for name in known for part in ("inputs", "checkpoint/model")}  # may lie beside them
    if unknown := sorted(found - known - exported):
        near = " or ".join(difflib.get_close_matches(unknown[0], sorted(known), 2, 0.6))
        answers = f"and {len(unknown) - 1} more answer" if len(unknown) > 1 else "answers"
        raise ValueError(
            f"{root} must hold answers to golden cases, as DIR/<suite>/<case>.safetensors; {unknown[0]}.safetensors "
            f"{answers} no golden case: {f'rename it to {near}' if near else 'rename it'}, or remove it."
        )
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
            raise PortError(f"{self.root} must hold {case.id}.safetensors, or nothing of its suite; it does not.")
        try:
            return read_tensors(path)
        except (OSError, ValueError) as error:
            raise PortError(f"The answer to {case.id} cannot be read. {error}") from None

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """Not offered: files answer only what was asked when they were written."""
        raise NotOffered(f"Files hold no answer to layer {n} of {case.id} alone.")
