"""A port as a command in any language: run once a case, with safetensors files in and out."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.ports.protocol import NotOffered, Port, PortError
from deberta_ref.conformance.ports.questions import Checkpoints, write_inputs, write_manifest
from deberta_ref.conformance.ports.tensors import read_tensors

PLACEHOLDERS = ("{checkpoint}", "{inputs}", "{outputs}")
"""They become paths: of a directory, of a file to read, and of a file to write."""

QUESTION = "{question}"
"""It becomes the path of the case's manifest.json. Only a command that has it is asked for more than whole models."""

DECLINED = 77
"""The exit code of a command that does not offer what is asked; test runners use it for a skip."""

HANGS_TOLERATED = 3
"""Cases in which a command may run out of time before it is no longer asked: nobody waits five minutes for each."""

LINES = 5
"""So many lines of what a command printed are shown if it fails."""


def command_port(command: str, timeout: float = 300.0) -> Port:
    """The port that ``command`` runs, without a shell, for one case in at most ``timeout`` seconds.

    Its words are split as a shell would, and the placeholders in them replaced by paths. With ``{question}`` it is
    asked for layers, operations and texts too. Raises ValueError for a command that cannot be run.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"The command must be words as a shell reads them; got {command!r}: {error}.") from None
    if missing := [name for name in PLACEHOLDERS if name not in command]:
        raise ValueError(
            f"The command must have {', '.join(PLACEHOLDERS[:-1])} and {PLACEHOLDERS[-1]}, which become paths; "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing from {command!r}."
        )
    if shutil.which(words[0]) is None:
        raise ValueError(
            f"The command must begin with a program that can be run; there is no {words[0]!r}: give its path, or "
            f"make it executable."
        )
    if not timeout > 0:
        raise ValueError(f"The time limit must be more than 0 seconds; got {timeout:g}.")
    return _Command(command, tuple(words), timeout)


@dataclass(eq=False)
class _Command:
    name: str
    words: tuple[str, ...]
    timeout: float
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    ended: bool = False  # whether it has ended by itself in any case
    hung: int = 0  # cases in which it ran out of time

    def answer(self, case: Case) -> Mapping[str, Any]:
        """What the command writes for the case."""
        return self._asked(case, case.inputs, elsewhere=case.suite in {"layer", "ops", "tokenizer"})

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the command writes if the manifest asks for one layer."""
        return self._asked(case, inputs, elsewhere=True, layer=n)

    def _asked(self, case: Case, inputs: Mapping[str, Any], *, elsewhere: bool, **manifest: Any) -> Mapping[str, Any]:
        """The answer to a case; ``elsewhere`` if the case is not about a whole model."""
        if elsewhere and QUESTION not in self.name:
            raise NotOffered(
                f"A command without {QUESTION}, which becomes the path of a manifest.json that says what is asked, is "
                f"asked for whole models only."
            )
        if self.hung >= HANGS_TOLERATED and not self.ended:
            raise PortError(
                f"The command was not asked for {case.id}: it ended for none of the {HANGS_TOLERATED} before in "
                f"{self.timeout:g} seconds each, so it was not waited for again."
            )
        with tempfile.TemporaryDirectory(prefix="deberta-ref-", ignore_cleanup_errors=True) as scratch:
            place = Path(scratch)
            outputs = place / "outputs.safetensors"
            paths = {
                "{checkpoint}": self.checkpoints.of(case),
                "{inputs}": write_inputs(case, place, inputs),
                "{outputs}": outputs,
                QUESTION: write_manifest(case, place, **manifest),
            }
            self._run(case, paths, may_decline=elsewhere)
            if not outputs.exists():
                raise PortError(
                    f"The command must write its answer to {case.id} to the path {{outputs}}; it ended with exit code "
                    f"0 and wrote nothing there.{_last_words(paths)}"
                )
            if not outputs.is_file():  # reading a pipe would wait for whoever writes to it
                raise PortError(
                    f"The command must write its answer to {case.id} to {{outputs}}, as a file; there is now a "
                    f"{'directory' if outputs.is_dir() else 'pipe or a device'}: write a safetensors file to that path."
                    f"{_last_words(paths)}"
                )
            try:
                return read_tensors(outputs)
            except (OSError, ValueError) as error:
                said = str(error).replace(str(outputs), "{outputs}")
                raise PortError(
                    f"The command's answer to {case.id} cannot be read. {said}{_last_words(paths)}"
                ) from None

    def _run(self, case: Case, paths: Mapping[str, Path], *, may_decline: bool) -> None:
        """Run the command for a case until it ends, or its time is up."""
        place = paths["{outputs}"].parent
        words = [re.sub("|".join(paths), lambda found: str(paths[found[0]]), word) for word in self.words]
        with (place / "stdout").open("wb") as stdout, (place / "stderr").open("wb") as stderr:
            # Files, not pipes: a process that it leaves running would keep a pipe open, and us waiting.
            try:
                process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
                    words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
                )
            except OSError as error:
                raise PortError(f"The command for {case.id} must be a program that can be run; {error}.") from None
            try:
                code = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                self.hung += 1
                raise PortError(
                    f"The command must answer {case.id} in {self.timeout:g} seconds; it was still running, and was "
                    f"ended: --timeout allows it more.{_last_words(paths)}"
                ) from None
            finally:
                if process.returncode is None:
                    _end(process)
        self.ended = True
        if code == DECLINED and may_decline:
            raise NotOffered(f"The command declined {case.id}, with exit code {DECLINED}.{_last_words(paths)}")
        if code:
            raise PortError(
                f"The command must end with exit code 0; for {case.id} it {_ended(code)}.{_last_words(paths)}"
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _ended(code: int) -> str:
    """How a command ended, in words."""
    if code > 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _is_frame(line: str) -> bool:
    """Whether it is a line of a stack trace as JavaScript and Java print it; only the first of them is shown."""
    return line.startswith("at ")


def _last_words(paths: Mapping[str, Path]) -> str:
    """The last lines on standard error, or else on standard output; empty if there are none.

    Paths are replaced by their placeholders, so that many cases that fail alike say the same.
    """
    place = paths["{outputs}"].parent
    for name in ("stderr", "stdout"):
        with (place / name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        said = [line for before, line in pairwise(["", *lines]) if line and not (_is_frame(line) and _is_frame(before))]
        if last := said[-LINES:]:
            words = " | ".join(last)
            for placeholder, path in paths.items():
                words = words.replace(str(path), placeholder)
            return f" The last lines on its {name}: {words}"
    return ""
