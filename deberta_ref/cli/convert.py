"""The command ``convert``: a checkpoint in another layout."""

from __future__ import annotations

import argparse

from deberta_ref.progress import progress


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    command.add_argument("source", metavar="SOURCE", help="a directory, a preset's name, hf://… or kaggle://…")
    command.add_argument("destination", metavar="DESTINATION", help="the directory to make")
    command.add_argument("--layout", required=True, help="huggingface or keras")
    command.add_argument("--dtype", help="float16, bfloat16, float32 or float64 (default: as stored)")


def run(options: argparse.Namespace) -> None:
    """Write a checkpoint in another layout."""
    from deberta_ref.checkpoints.convert import convert  # noqa: PLC0415 - needed here only

    with progress(f"converting {options.source}"):
        files = convert(options.source, options.destination, options.layout, options.dtype)
    print(f"{options.destination} now holds {', '.join(files)}.")
