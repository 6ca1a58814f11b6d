"""The model that a command computes with: the options that choose it, and its parameters."""

from __future__ import annotations

import argparse

from deberta_ref.checkpoints import DEMO, from_preset, read_config
from deberta_ref.initialisation import init
from deberta_ref.params import Params
from deberta_ref.precision import COMPUTED
from deberta_ref.progress import progress


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``read`` understands, and those that say how to compute."""
    command.add_argument(
        "--model",
        metavar="HANDLE",
        default=DEMO,
        help=f"a directory, a preset's name, hf://… or kaggle://… (default: {DEMO}, which comes with the package)",
    )
    command.add_argument("--random", action="store_true", help="take only the model's sizes, with random parameters")
    command.add_argument("--seed", type=int, help="the seed of the random parameters (default: 0)")
    command.add_argument(
        "--dtype",
        help=f"{', '.join(COMPUTED)} (default: that of the parameters, float32 at least)",
    )
    command.add_argument("--allow-nonfinite", action="store_true", help="accept parameters that are NaN or infinite")
    command.add_argument("--allow-long", action="store_true", help="accept more tokens than max_sequence_length")


def read(options: argparse.Namespace) -> Params:
    """The parameters of the model, or random ones of its sizes."""
    if options.seed is not None and not options.random:
        raise ValueError("--seed is for random parameters: give --random too, or leave it out.")
    with progress(f"opening {options.model}"):
        if options.random:
            return init(read_config(options.model), seed=options.seed or 0)
        return from_preset(options.model, allow_nonfinite=options.allow_nonfinite)
