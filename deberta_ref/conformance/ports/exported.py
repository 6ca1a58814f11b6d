"""The questions on the disk, to be answered elsewhere: ``deberta-ref check --export DIR``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.ports.questions import write_checkpoint, write_inputs, write_manifest
from deberta_ref.progress import progress

PROTOCOL = Path(__file__).with_name("protocol.md")
"""The page that says how to answer them."""


def export(cases: Sequence[Case], directory: str | os.PathLike[str]) -> None:
    """Write a checkpoint, inputs and manifest for every case into ``directory``, and the protocol as README.md.

    All of it or nothing. Raises ValueError if there is something in ``directory`` already, or no case to write.
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
                _write(case, unfinished / case.id)
        shutil.copyfile(PROTOCOL, unfinished / "README.md")
        if place.exists():
            place.rmdir()  # empty; what is not POSIX renames to nothing that exists
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(case: Case, directory: Path) -> None:
    directory.mkdir(parents=True)
    write_checkpoint(case, directory / "checkpoint")
    write_inputs(case, directory, case.inputs)
    write_manifest(case, directory)
    if case.large:
        vars(case).pop("params", None)  # gigabytes
