"""What a port is given for a case: a checkpoint, inputs and, on disk, a manifest that says what is asked.

``export`` writes all of it into a directory, to be answered elsewhere: ``deberta-ref check --export DIR``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deberta_ref.checkpoints import locate
from deberta_ref.config import Config
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.params import num_params
from deberta_ref.progress import progress
from deberta_ref.recipe import from_recipe

FOR_OPERATIONS = Config(60, 1, 2, 24, 32, max_sequence_length=16, bucket_size=8)
"""The model of a port that is asked for operations: they need no parameters, but loading a port does."""

KEPT = 5_000_000
"""A checkpoint of fewer parameters is kept until the last case, as many cases share one."""

MANIFEST = "manifest.json"

PROTOCOL = Path(__file__).with_name("protocol.md")
"""The page that says how to answer the questions."""


class Checkpoints:
    """Checkpoint directories in the Hugging Face layout, one for all cases with the same parameters.

    They exist as long as this object. Of the large ones only the last is kept.
    """

    def __init__(self) -> None:
        """None yet."""
        self._root = Path(tempfile.mkdtemp(prefix="deberta-ref-"))
        self._known: dict[str, Path] = {}
        self._large: set[str] = set()
        weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)

    def of(self, case: Case) -> Path:
        """The directory with the parameters of ``case``."""
        parameters = _identity(case)
        if parameters not in self._known:
            for name in self._large:
                shutil.rmtree(self._known.pop(name), ignore_errors=True)
            self._large = set() if is_small(case) else {parameters}
            directory = Path(tempfile.mkdtemp(dir=self._root))
            write_checkpoint(case, directory)
            self._known[parameters] = directory
        return self._known[parameters]


def is_small(case: Case) -> bool:
    """Whether its model has fewer than ``KEPT`` parameters."""
    return "config" not in case.manifest or num_params(case.config) < KEPT


def write_checkpoint(case: Case, directory: Path) -> None:
    """Write the parameters of a case: the demo's with its spm.model; for an operation, those of a small model."""
    if preset := _preset(case):
        directory.mkdir(parents=True, exist_ok=True)
        for path in locate(preset).iterdir():
            if path.is_file():
                shutil.copyfile(path, directory / path.name)
    elif case.suite == "ops":
        from_recipe(FOR_OPERATIONS).save(directory)
    else:
        case.params.save(directory)


def handed(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of a case's tensors as int64 and float32: a port may change them."""
    return {name: np.array(x, np.float32 if x.dtype.kind == "f" else np.int64, order="C") for name, x in inputs.items()}


def texts(case: Case) -> list[Any]:
    """The texts of a case of the suite tokenizer: a str each, or a tuple of two."""
    return [tuple(text) if isinstance(text, list) else text for text in case.inputs["texts"]]


def write_inputs(case: Case, directory: Path, inputs: Mapping[str, Any]) -> Path:
    """Write the inputs to inputs.safetensors, or texts to inputs.json; return the path."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - costs time that other commands need not

    if case.suite == "tokenizer":
        path = directory / "inputs.json"
        path.write_text(json.dumps(inputs, ensure_ascii=False, indent=2) + "\n", "utf-8")
    else:
        path = directory / "inputs.safetensors"
        save_file(handed(inputs), path)
    return path


def write_manifest(case: Case, directory: Path, **others: Any) -> Path:
    """Write the case's manifest, with ``others`` added; return the path."""
    path = directory / MANIFEST
    text = json.dumps({**case.manifest, **others}, ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(text + "\n", "utf-8")
    return path


def export(cases: Sequence[Case], directory: str | os.PathLike[str]) -> None:
    """Write a checkpoint, inputs and a manifest for every case into ``directory``, and the protocol as README.md.

    Either all of it is written or nothing. Raises ValueError if ``directory`` is not empty, or there is no case.
    """
    place = Path(directory).resolve()
    if not cases:
        raise ValueError("There must be a case to export; the suites and ids that were asked for have none.")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ValueError(f"{directory} must be a new or an empty directory; there is something in it: name another.")
    unfinished = place.with_name(f".{place.name}.unfinished-{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        with progress("writing the questions") as shown:
            for n, case in enumerate(cases):
                shown.done = f": {n} of {len(cases)}"
                _write_question(case, unfinished / case.id)
        shutil.copyfile(PROTOCOL, unfinished / "README.md")
        if place.exists():
            place.rmdir()  # it is empty; Windows cannot rename to a directory that exists
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_question(case: Case, directory: Path) -> None:
    """Write one case, and let the parameters of a large one go."""
    directory.mkdir(parents=True)
    write_checkpoint(case, directory / "checkpoint")
    write_inputs(case, directory, case.inputs)
    write_manifest(case, directory)
    if case.large:
        case.release()


def _preset(case: Case) -> str | None:
    """The preset that a case's parameters or tokenizer come from, if they do."""
    source = case.manifest.get("tokenizer") or case.manifest.get("parameters") or {}
    preset: str | None = source.get("preset")
    return preset


def _identity(case: Case) -> str:
    """A key that is equal for cases with the same parameters."""
    if case.suite == "ops":
        return case.suite
    beside = str(case.directory) if "checkpoint" in case.manifest.get("parameters", {}) else ""
    return _preset(case) or json.dumps([case.manifest["config"], case.manifest["parameters"], beside], sort_keys=True)
