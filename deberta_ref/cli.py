"""The command line, ``deberta-ref``: exit 0 when it did its job, 2 with a sentence when the request is unusable."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from deberta_ref import __version__
from deberta_ref.checkpoints import from_preset, read_config
from deberta_ref.files import replace
from deberta_ref.initialisation import init
from deberta_ref.inputs import pack
from deberta_ref.model import forward
from deberta_ref.params import Params
from deberta_ref.precision import Array
from deberta_ref.presets import presets
from deberta_ref.taps import trace

AT_A_TIME = 8
"""Examples in one forward pass: enough for large matrix products, few enough for the progress to move."""

Inputs = dict[str, Any]
Result = TypeVar("Result")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        sys.stdout = io.TextIOWrapper(io.BytesIO())  # so that nothing is flushed into the broken pipe at exit
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"deberta-ref {options.name}: {error}", file=sys.stderr)
        return 2
    return 0


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
        print(json.dumps(rows, indent=2))
        return
    table: list[tuple[str, ...]] = [("preset", "layers", "heads", "hidden", "feed-forward", "vocabulary", "parameters")]
    for name, p in presets.items():
        c = p.config
        sizes = (c.num_layers, c.num_heads, c.hidden_dim, c.intermediate_dim, c.vocabulary_size)
        table.append((name, *map(str, sizes), f"{p.num_params:,}"))
    _print_table(table)
    print(f"All with max_sequence_length {c.max_sequence_length} and bucket_size {c.bucket_size}.")


def run_run(options: argparse.Namespace) -> None:
    """Compute the last hidden states, show the first numbers of each token, and write all of them if asked to."""
    save = _saver(options.out, (".safetensors", ".npy"))
    inputs = _inputs(options)
    params, opening = _timed(lambda: _params(options))
    pack(inputs, params.config, allow_long=options.allow_long)  # refuse all of it before computing a part of it
    y, computing = _timed(lambda: _forward(params, inputs, options))
    save({**inputs, "output": y})
    examples = [
        {"token_ids": ids[mask].tolist(), "first_numbers": rows[mask, : options.first].tolist()}
        for ids, mask, rows in zip(inputs["token_ids"], inputs["padding_mask"].astype(bool), y, strict=True)
    ]
    if options.json:
        seconds = {"opening": opening, "computing": computing}
        print(json.dumps({"shape": y.shape, "dtype": y.dtype.name, "seconds": seconds, "examples": examples}, indent=2))
        return
    for b, example in enumerate(examples):
        print(f"example {b}, {len(example['token_ids'])} tokens:")
        rows = zip(example["token_ids"], example["first_numbers"], strict=True)
        _print_table([[str(i), *(f"{number:.6f}" for number in numbers), "…"] for i, numbers in rows])
    print(
        f"{y.dtype} of shape {y.shape} computed in {computing:.3f} s, after {opening:.3f} s for the "
        f"{params.num_params:,} parameters." + (f" Written to {options.out}." if options.out else "")
    )


def run_trace(options: argparse.Namespace) -> None:
    """Write every tap to a safetensors file, with the inputs: VEC-FILES."""
    save = _saver(options.out, (".safetensors",))
    inputs = _inputs(options)
    taps = trace(_params(options), inputs, options.dtype, allow_long=options.allow_long)
    save({**inputs, **taps})
    _print_table([("tap", "type", "shape"), *((name, str(tap.dtype), str(tap.shape)) for name, tap in taps.items())])
    print(f"Written to {options.out}, with token_ids and padding_mask.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deberta-ref", description="The numerical oracle of the DeBERTaV3 encoder.")
    parser.add_argument("--version", action="version", version=f"deberta-ref {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    command = commands.add_parser("presets", help="the published models and their sizes")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(command=run_presets)

    command = commands.add_parser("run", help="token ids in, last hidden states out")
    _add_inputs(command)
    command.add_argument("--out", metavar="FILE", help="write the output: .safetensors (with the inputs) or .npy")
    command.add_argument("--first", type=int, default=5, metavar="N", help="show the first N numbers of a token (5)")
    command.add_argument("--json", action="store_true", help="print JSON: what is shown, not the whole output")
    command.set_defaults(command=run_run)

    command = commands.add_parser("trace", help="every intermediate value, into a file")
    _add_inputs(command)
    command.add_argument("--out", metavar="FILE.safetensors", required=True, help="the file to write")
    command.set_defaults(command=run_trace)
    return parser


def _add_inputs(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--ids", action="append", metavar="'1 2 3'", help="the token ids of one example; repeatable")
    source.add_argument(
        "--ids-file",
        metavar="FILE",
        help="an example a line; or .json, a list of lists; or .safetensors with token_ids and padding_mask",
    )
    command.add_argument("--model", metavar="HANDLE", required=True, help="a directory, or the name of a preset")
    command.add_argument("--random", action="store_true", help="take only the model's sizes, and random parameters")
    command.add_argument("--seed", type=int, default=0, help="the seed of the random parameters (0)")
    command.add_argument("--dtype", help="float32 or float64 (that of the parameters, float32 at least)")
    command.add_argument("--allow-long", action="store_true", help="take more tokens than max_sequence_length")


def _params(options: argparse.Namespace) -> Params:
    return init(read_config(options.model), seed=options.seed) if options.random else from_preset(options.model)


def _inputs(options: argparse.Namespace) -> Inputs:
    """Token ids and padding mask, (B, T) each; shorter examples are padded at the end."""
    if options.ids:
        return _padded([_ids(text) for text in options.ids])
    path = Path(options.ids_file)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file  # noqa: PLC0415 - costs time that other commands need not

        return {name: array for name, array in load_file(path).items() if name in {"token_ids", "padding_mask"}}
    text = path.read_text("utf-8")
    return _padded(json.loads(text) if path.suffix == ".json" else [_ids(line) for line in text.splitlines()])


def _ids(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"Token ids must be integers with spaces or commas between them; got {text!r}.") from None


def _padded(rows: list[list[int]]) -> Inputs:
    longest = max(map(len, rows), default=0)
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    dtype = np.int64 if longest == 0 else None  # an empty list has no type of its own
    return {"token_ids": np.array(ids, dtype), "padding_mask": np.array(mask, dtype)}


def _forward(params: Params, inputs: Inputs, options: argparse.Namespace) -> Array:
    """``forward``, a few examples at a time."""
    starts = range(0, max(1, len(inputs["token_ids"])), AT_A_TIME)
    batches = [{name: rows[start : start + AT_A_TIME] for name, rows in inputs.items()} for start in starts]
    parts = [
        forward(params, batch, options.dtype, allow_long=options.allow_long)
        for batch in _with_progress(batches, f"batches of up to {AT_A_TIME} examples")
    ]
    return np.concatenate(parts)


def _with_progress(items: list[Any], what: str) -> Iterable[Any]:
    """The items; after one second, with a line on standard error that counts them, where that is a terminal."""
    start = time.monotonic()
    shown = False
    for done, item in enumerate(items):
        if sys.stderr.isatty() and time.monotonic() - start > 1:
            shown = True
            print(f"\r{done} of {len(items)} {what}", end="", file=sys.stderr, flush=True)
        yield item
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _saver(out: str | None, suffixes: tuple[str, ...]) -> Callable[[Inputs], None]:
    """What writes arrays to ``out``, whole or not at all; an unusable name is refused now, before computing."""
    if out is None:
        return lambda _arrays: None
    path = Path(out)
    if path.suffix not in suffixes:
        raise ValueError(f"--out must end in {' or '.join(suffixes)}; got {out!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out must be in a directory that exists; {str(path.parent)!r} does not.")

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


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of words in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        columns = (word.rjust(width) for word, width in zip(others, widths[1:], strict=True))
        print("  ".join(["", first.ljust(widths[0]), *columns]).rstrip())


if __name__ == "__main__":
    sys.exit(main())
