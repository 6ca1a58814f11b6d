"""The command ``trace``: every intermediate value, in a file. Chapter 9 of spec/."""

from __future__ import annotations

import argparse

from deberta_ref.cli import inputs as cli_inputs, model
from deberta_ref.cli.output import must_be_writable, print_table, write_arrays, write_json
from deberta_ref.progress import progress
from deberta_ref.tracing import trace


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    cli_inputs.add_options(command)
    model.add_options(command)
    command.add_argument("--out", metavar="FILE.safetensors", required=True, help="the file to write")
    command.add_argument("--json", action="store_true", help="print JSON: the taps with their types and shapes")


def run(options: argparse.Namespace) -> None:
    """Write every tap to a safetensors file, with the inputs: VEC-FILES."""
    must_be_writable("--out", options.out, (".safetensors",))
    inputs, _ = cli_inputs.read(options)
    params = model.read(options)
    with progress("computing every tap"):
        taps = trace(params, inputs, options.dtype, allow_long=options.allow_long)
    write_arrays(options.out, {**inputs, **taps})
    if options.json:
        write_json({name: {"dtype": str(tap.dtype), "shape": tap.shape} for name, tap in taps.items()})
        return
    print_table([("tap", "type", "shape"), *((name, str(tap.dtype), str(tap.shape)) for name, tap in taps.items())])
    print(f"Written to {options.out}, with token_ids and padding_mask.")
