"""The command line, ``deberta-ref``, a file a command.

Exit 0 when it did its job, 1 when a comparison differs, 2 with a sentence when the request is unusable.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deberta_ref import __version__
from deberta_ref.cli import check, convert, presets, run, trace, verify_preset

COMMANDS = {
    "check": (check, "judge a port: whether it is right, and if not, where it first goes wrong and how"),
    "run": (run, "compute the last hidden states of texts or token ids"),
    "trace": (trace, "write every intermediate value to a file"),
    "convert": (convert, "convert a checkpoint to another layout"),
    "presets": (presets, "list the published models and their sizes"),
    "verify-preset": (verify_preset, "compare a checkpoint with numbers that others have published for it"),
}
"""Each command by its name: the module that adds its options and runs it, and what its help says it does."""

ENDING = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does; Windows has no SIGHUP."""


@contextmanager
def _warnings_as_sentences(command: str) -> Iterator[None]:
    """Show what the package warns of on standard error, each sentence once, however many batches it is said of."""
    said = set()

    def show(message: Warning | str, *_others: Any) -> None:
        if str(message) not in said:
            print(f"deberta-ref {command}: {message}", file=sys.stderr)
        said.add(str(message))

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="float16 overflowed", category=RuntimeWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows another
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("deberta_ref").setLevel(logging.INFO)  # what of a checkpoint is left out
    try:
        with _ending_tidily(), _warnings_as_sentences(options.command):
            code: int = options.run(options) or 0
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed into the pipe
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"deberta-ref {options.command}: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"deberta-ref {options.command}: not enough memory: {error}. Try shorter texts.", file=sys.stderr)
        return 2
    except _Ended as ended:
        return 128 + ended.number  # as the shell says it
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deberta-ref",
        description="A reference implementation of the DeBERTaV3 encoder, and the judge of its ports: other "
        "implementations of the same encoder.",
    )
    parser.add_argument("--version", action="version", version=f"deberta-ref {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser


class _Ended(KeyboardInterrupt):
    """A signal that ends the command came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """Raise _Ended when one of these signals comes, so that temporary files are removed and child processes ended.

    A signal that is ignored, as under nohup, stays ignored, and one that already has a handler keeps it.
    """

    def end(number: int, _frame: Any) -> None:
        raise _Ended(number)

    known = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    ours = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers in the main thread only
        ours = []
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
