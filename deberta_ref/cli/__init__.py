"""The command line, ``deberta-ref``.

Exit 0 when it did its job, 1 when a comparison differs, 2 with a sentence when the request is unusable.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from deberta_ref import __version__
from deberta_ref.checkpoints import DEMO, from_preset, read_config
from deberta_ref.cli import check as cli_check, inputs as cli_inputs
from deberta_ref.files import replace
from deberta_ref.initialisation import init
from deberta_ref.inputs import pack
from deberta_ref.model import forward
from deberta_ref.params import Params
from deberta_ref.precision import Array
from deberta_ref.presets import presets
from deberta_ref.progress import progress
from deberta_ref.tracing import trace

AT_A_TIME = 8
"""Examples in one forward pass: enough for large matrix products, few enough for the progress to move."""

ENDING = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does; Windows has no SIGHUP."""

Inputs = dict[str, Any]
Result = TypeVar("Result")


class _Ended(KeyboardInterrupt):
    """A signal that ends the command came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """Raise _Ended where one of these signals comes, so that what was begun is cleared away.

    One that is ignored, as under nohup, stays ignored, and one that somebody else handles is theirs.
    """

    def end(number: int, _frame: Any) -> None:
        raise _Ended(number)

    known = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    ours = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # others must not set any
        ours = []
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows another
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("deberta_ref").setLevel(logging.INFO)  # what of a checkpoint is left out
    try:
        with _ending_tidily():
            code: int = options.command(options) or 0
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed into the pipe
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"deberta-ref {options.name}: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"deberta-ref {options.name}: there is not enough memory: {error}. Try shorter texts.", file=sys.stderr)
        return 2
    except _Ended as ended:
        return 128 + ended.number  # as the shell says it
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def run_presets(options: argparse.Namespace) -> None:
    """Print the published models and their sizes."""
    if options.json:
        rows = {
            name: {
                **vars(p.config),
                "num_params": p.num_params,
                "description": p.description,
                "repository": p.huggingface,
            }
            for name, p in presets.items()
        }
        _print_json(rows)
        return
    table: list[tuple[str, ...]] = [
        ("preset", "layers", "heads", "hidden", "feed-forward", "vocabulary", "parameters", "repository")
    ]
    for name, p in presets.items():
        c = p.config
        sizes = (c.num_layers, c.num_heads, c.hidden_dim, c.intermediate_dim, c.vocabulary_size)
        table.append((name, *map(str, sizes), f"{p.num_params:,}", p.huggingface))
    _print_table(table)
    print(f"All with max_sequence_length {c.max_sequence_length} and bucket_size {c.bucket_size}.")


def run_run(options: argparse.Namespace) -> None:
    """Compute the last hidden states, show the first numbers of each token, and write all of them if asked to."""
    save = _saver(options.out, (".safetensors", ".npy"))
    (inputs, tokenizer), tokenizing = _timed(lambda: cli_inputs.read(options))
    params, opening = _timed(lambda: _params(options))
    pack(inputs, params, allow_long=options.allow_long)  # refuse all of it before computing a part of it
    y, computing = _timed(lambda: _forward(params, inputs, options))
    save({**inputs, "output": y})
    examples = []
    for ids, mask, rows in zip(inputs["token_ids"], inputs["padding_mask"].astype(bool), y, strict=True):
        tokens = {"tokens": [tokenizer.id_to_token(i) for i in ids[mask].tolist()]} if tokenizer else {}
        numbers = rows[mask, : options.first].tolist()
        examples.append({"token_ids": ids[mask].tolist(), **tokens, "first_numbers": numbers})
    seconds = {"tokenizing": tokenizing, "opening": opening, "computing": computing}
    if options.json:
        _print_json({"shape": y.shape, "dtype": y.dtype.name, "seconds": seconds, "examples": examples})
        return
    for b, example in enumerate(examples):
        print(f"example {b}, {len(example['token_ids'])} tokens:")
        names = zip(example["token_ids"], example.get("tokens", example["token_ids"]), strict=True)
        labels = [f"{token} {i}" if tokenizer else str(i) for i, token in names]
        _print_table(
            [
                (label, *(f"{number:.6f}" for number in numbers), "…")
                for label, numbers in zip(labels, example["first_numbers"], strict=True)
            ]
        )
    print(f"{y.dtype} of shape {y.shape}, from {params.num_params:,} parameters of {options.model}.")
    print("Seconds: " + ", ".join(f"{what} {took:.3f}" for what, took in seconds.items()) + ".")
    if options.out:
        print(f"Written to {options.out}.")


def run_trace(options: argparse.Namespace) -> None:
    """Write every tap to a safetensors file, with the inputs: VEC-FILES."""
    save = _saver(options.out, (".safetensors",))
    inputs, _ = cli_inputs.read(options)
    params = _params(options)
    with progress("computing every tap"):
        taps = trace(params, inputs, options.dtype, allow_long=options.allow_long)
    save({**inputs, **taps})
    if options.json:
        _print_json({name: {"dtype": str(tap.dtype), "shape": tap.shape} for name, tap in taps.items()})
        return
    _print_table([("tap", "type", "shape"), *((name, str(tap.dtype), str(tap.shape)) for name, tap in taps.items())])
    print(f"Written to {options.out}, with token_ids and padding_mask.")


def run_convert(options: argparse.Namespace) -> None:
    """Write a checkpoint in another layout."""
    from deberta_ref.checkpoints.convert import convert  # noqa: PLC0415 - needed here only

    with progress(f"converting {options.source}"):
        files = convert(options.source, options.destination, options.layout, options.dtype)
    print(f"{options.destination} now holds {', '.join(files)}.")


def run_verify_preset(options: argparse.Namespace) -> int:
    """Hold a checkpoint against the numbers that others have published for it; 1 if one differs."""
    from deberta_ref.published import verify_preset  # noqa: PLC0415 - needed here only

    with progress(f"verifying {options.handle}"):
        comparisons = verify_preset(options.handle, options.preset)
    if options.json:
        _print_json([vars(comparison) for comparison in comparisons])
    else:
        for c in comparisons:
            print(f"{'agrees' if c.agrees else 'DIFFERS'}: {c.what} ({c.source})")
            print(f"  published {c.published}\n  found     {c.found}")
    return 0 if all(comparison.agrees for comparison in comparisons) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deberta-ref", description="The numerical oracle of the DeBERTaV3 encoder.")
    parser.add_argument("--version", action="version", version=f"deberta-ref {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    command = commands.add_parser("check", help="judge a port: is it right, where does it first go wrong, and how")
    cli_check.add_options(command)

    command = commands.add_parser("run", help="text or token ids in, last hidden states out")
    cli_inputs.add_options(command)
    _add_model_options(command)
    command.add_argument("--out", metavar="FILE", help="write the output: .safetensors (with the inputs) or .npy")
    command.add_argument("--first", type=_count, default=5, metavar="N", help="show the first N numbers of a token (5)")
    command.add_argument("--json", action="store_true", help="print JSON: what is shown, not the whole output")
    command.set_defaults(command=run_run)

    command = commands.add_parser("trace", help="every intermediate value, into a file")
    cli_inputs.add_options(command)
    _add_model_options(command)
    command.add_argument("--out", metavar="FILE.safetensors", required=True, help="the file to write")
    command.add_argument("--json", action="store_true", help="print JSON: the taps with their types and shapes")
    command.set_defaults(command=run_trace)

    command = commands.add_parser("convert", help="a checkpoint, into another layout")
    command.add_argument("source", metavar="SOURCE", help="a directory, a preset's name, hf://… or kaggle://…")
    command.add_argument("destination", metavar="DESTINATION", help="the directory to make")
    command.add_argument("--layout", required=True, help="huggingface, keras or authors")
    command.add_argument("--dtype", help="float16, float32 or float64 (as stored)")
    command.set_defaults(command=run_convert)

    command = commands.add_parser("presets", help="the published models and their sizes")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(command=run_presets)

    command = commands.add_parser("verify-preset", help="a checkpoint, against numbers that others have published")
    command.add_argument("handle", metavar="HANDLE", help="a preset's name, hf://…, kaggle://… or a directory")
    command.add_argument("--preset", help="the preset that it is a copy of, if the handle does not say so")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(command=run_verify_preset)
    return parser


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="HANDLE",
        default=DEMO,
        help=f"a directory, a preset's name, hf://… or kaggle://… ({DEMO}, which comes with the package)",
    )
    command.add_argument("--random", action="store_true", help="take only the model's sizes, and random parameters")
    command.add_argument("--seed", type=int, help="the seed of the random parameters (0)")
    command.add_argument("--dtype", help="float32 or float64 (that of the parameters, float32 at least)")
    command.add_argument("--allow-nonfinite", action="store_true", help="take parameters that are NaN or infinite")
    command.add_argument("--allow-long", action="store_true", help="take more tokens than max_sequence_length")


def _params(options: argparse.Namespace) -> Params:
    if options.seed is not None and not options.random:
        raise ValueError("--seed is for random parameters: give --random too, or leave it out.")
    with progress(f"opening {options.model}"):
        if options.random:
            return init(read_config(options.model), seed=options.seed or 0)
        return from_preset(options.model, allow_nonfinite=options.allow_nonfinite)


def _forward(params: Params, inputs: Inputs, options: argparse.Namespace) -> Array:
    """``forward``, a few examples at a time."""
    parts = []
    total = len(inputs["token_ids"])
    with progress("computing hidden states") as shown:
        for start in range(0, max(1, total), AT_A_TIME):  # one pass of none for a batch of none
            batch = {name: rows[start : start + AT_A_TIME] for name, rows in inputs.items()}
            parts.append(forward(params, batch, options.dtype, allow_long=options.allow_long))
            shown.done = f": {min(start + AT_A_TIME, total)} of {total} examples"
    return np.concatenate(parts)


def _saver(out: str | None, suffixes: tuple[str, ...]) -> Callable[[Inputs], None]:
    """What writes arrays to ``out``, whole or not at all; an unusable name is refused now, before computing."""
    if out is None:
        return lambda _arrays: None
    path = Path(out)
    if path.suffix not in suffixes:
        raise ValueError(f"--out must end in {' or '.join(suffixes)}; got {out!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out must be in a directory that exists; {str(path.parent)!r} does not.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise PermissionError(f"--out must be a file that can be written; got {out!r}.")

    def save(arrays: Inputs) -> None:
        if path.suffix == ".npy":
            content = io.BytesIO()
            np.save(content, arrays["output"])
            replace(path, content.getvalue())
        else:
            from safetensors.numpy import save as serialised  # noqa: PLC0415 - costs time that other commands need not

            replace(path, serialised({name: np.ascontiguousarray(array) for name, array in arrays.items()}))

    return save


def _timed(compute: Callable[[], Result]) -> tuple[Result, float]:
    start = time.perf_counter()
    result = compute()
    return result, time.perf_counter() - start


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0; got {text!r}")
    return int(text)


def _print_json(value: Any) -> None:
    """JSON has no NaN and no infinities: they are null."""

    def finite(item: Any) -> Any:
        if isinstance(item, float):
            return item if math.isfinite(item) else None
        if isinstance(item, dict):
            return {name: finite(entry) for name, entry in item.items()}
        return [finite(entry) for entry in item] if isinstance(item, (list, tuple)) else item

    print(json.dumps(finite(value), indent=2, allow_nan=False))


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of words in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        columns = (word.rjust(width) for word, width in zip(others, widths[1:], strict=True))
        print("  ".join(["", first.ljust(widths[0]), *columns]).rstrip())
