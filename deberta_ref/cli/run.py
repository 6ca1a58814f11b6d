"""The command ``run``: the last hidden states of texts or token ids."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from deberta_ref.cli import inputs as cli_inputs, model
from deberta_ref.cli.inputs import Inputs
from deberta_ref.cli.output import must_be_writable, print_table, write_arrays, write_json
from deberta_ref.inputs import pack
from deberta_ref.model import forward
from deberta_ref.params import Params
from deberta_ref.precision import Array
from deberta_ref.progress import progress

BATCH_SIZE = 8
"""Examples in one forward pass: enough for large matrix products, few enough for the progress to move."""

Result = TypeVar("Result")


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    cli_inputs.add_options(command)
    model.add_options(command)
    command.add_argument("--out", metavar="FILE", help="write the output: .safetensors (with the inputs) or .npy")
    command.add_argument(
        "--first", type=_count, default=5, metavar="N", help="show the first N numbers of each token (default: 5)"
    )
    command.add_argument("--json", action="store_true", help="print the same as JSON; --out writes the whole output")


def run(options: argparse.Namespace) -> None:
    """Compute the last hidden states, show the first numbers of each token, and write all of them if asked to."""
    if options.out is not None:
        must_be_writable("--out", options.out, (".safetensors", ".npy"))
    (inputs, tokenizer), tokenizing = _timed(lambda: cli_inputs.read(options))
    params, opening = _timed(lambda: model.read(options))
    pack(inputs, params, allow_long=options.allow_long)  # refuse all of it before computing a part of it
    y, computing = _timed(lambda: _forward(params, inputs, options))
    if options.out is not None:
        write_arrays(options.out, {**inputs, "output": y})
    examples = []
    for ids, mask, rows in zip(inputs["token_ids"], inputs["padding_mask"].astype(bool), y, strict=True):
        tokens = {"tokens": [tokenizer.id_to_token(i) for i in ids[mask].tolist()]} if tokenizer else {}
        numbers = rows[mask, : options.first].tolist()
        examples.append({"token_ids": ids[mask].tolist(), **tokens, "first_numbers": numbers})
    seconds = {"tokenizing": tokenizing, "opening": opening, "computing": computing}
    if options.json:
        write_json({"shape": y.shape, "dtype": y.dtype.name, "seconds": seconds, "examples": examples})
        return
    for b, example in enumerate(examples):
        print(f"example {b}, {len(example['token_ids'])} tokens:")
        names = zip(example["token_ids"], example.get("tokens", example["token_ids"]), strict=True)
        labels = [f"{token} {i}" if tokenizer else str(i) for i, token in names]
        print_table(
            [
                (label, *(f"{number:.6f}" for number in numbers), "…")
                for label, numbers in zip(labels, example["first_numbers"], strict=True)
            ]
        )
    print(f"{y.dtype} of shape {y.shape}, from {params.num_params:,} parameters of {options.model}.")
    print("Seconds: " + ", ".join(f"{what} {took:.3f}" for what, took in seconds.items()) + ".")
    if options.out is not None:
        print(f"Written to {options.out}.")


def _forward(params: Params, inputs: Inputs, options: argparse.Namespace) -> Array:
    """``forward``, a few examples at a time."""
    parts = []
    total = len(inputs["token_ids"])
    with progress("computing hidden states") as shown:
        for start in range(0, max(1, total), BATCH_SIZE):  # one pass of none for a batch of none
            batch = {name: rows[start : start + BATCH_SIZE] for name, rows in inputs.items()}
            parts.append(forward(params, batch, options.dtype, allow_long=options.allow_long))
            shown.done = f": {min(start + BATCH_SIZE, total)} of {total} examples"
    return np.concatenate(parts)


def _timed(compute: Callable[[], Result]) -> tuple[Result, float]:
    start = time.perf_counter()
    result = compute()
    return result, time.perf_counter() - start


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0; got {text!r}")
    return int(text)
