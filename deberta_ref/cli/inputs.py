"""What a command computes on: texts or token ids, from the command line, a file or standard input."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from deberta_ref.inputs import KEYS
from deberta_ref.tokenizer import Tokenizer

Inputs = dict[str, Any]


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``read`` understands."""
    source = command.add_argument_group("input", "one of these, or texts").add_mutually_exclusive_group()
    command.add_argument("text", nargs="*", metavar="TEXT", help="texts, one example each")
    source.add_argument(
        "--pair", action="append", nargs=2, metavar=("FIRST", "SECOND"), help="two texts, one example; repeatable"
    )
    source.add_argument("--file", metavar="FILE", help="one text per line; - is standard input")
    source.add_argument("--ids", action="append", metavar="'1 2 3'", help="the token ids of one example; repeatable")
    source.add_argument(
        "--ids-file",
        metavar="FILE",
        help="token ids, one example per line; or .json, a list of lists; or .safetensors, token_ids and padding_mask",
    )
    command.add_argument("--special-tokens", action="store_true", help="read [MASK] and the like as tokens, not text")
    command.add_argument("--sequence-length", type=int, metavar="T", help="pad or truncate texts to T tokens")


def read(options: argparse.Namespace) -> tuple[Inputs, Tokenizer | None]:
    """Token ids and padding mask, (B, T) each, and the tokenizer if the input was texts.

    Raises ValueError or OSError, with a sentence, for input that cannot be used.
    """
    sources = {
        "TEXT": options.text,
        "--pair": options.pair,
        "--file": options.file,
        "--ids": options.ids,
        "--ids-file": options.ids_file,
    }
    given = [flag for flag, value in sources.items() if value]
    if len(given) != 1:
        raise ValueError(
            f"Give texts, or one of --pair, --file, --ids and --ids-file; got {' and '.join(given) or 'none'}."
        )
    if given[0] in {"--ids", "--ids-file"}:
        if options.sequence_length is not None:
            raise ValueError("--sequence-length is for texts: token ids are used as they are; leave it out.")
        return _ids(options), None
    texts = options.text or [tuple(pair) for pair in options.pair or ()] or _lines(options.file)
    tokenizer = Tokenizer.from_preset(options.model)
    inputs = tokenizer(texts, sequence_length=options.sequence_length, special_tokens=options.special_tokens)
    return dict(inputs), tokenizer


def _lines(name: str) -> list[str]:
    """The lines of a file, split at line feeds only, empty ones included: line n is example n."""
    raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} must be text in UTF-8; got {error.object[error.start : error.end]!r} at byte {error.start}."
        ) from None
    if not text:
        raise ValueError(f"{name} must hold one text per line; it is empty.")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _ids(options: argparse.Namespace) -> Inputs:
    if options.ids:
        return _padded([_parsed(text) for text in options.ids])
    path = Path(options.ids_file)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - costs time that other commands need not

        try:
            with safe_open(path, framework="numpy") as file:  # which may hold taps too, in types that NumPy lacks
                return {name: file.get_tensor(name) for name in file.keys() if name in KEYS}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is no complete safetensors file: {error}.") from None
    if path.suffix != ".json":
        return _padded([_parsed(line) for line in _lines(options.ids_file)])
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no complete JSON file: {error}.") from None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"{path} must hold a list of lists of token ids, such as [[1, 5, 2], [1, 2]].")
    return _padded(rows)


def _parsed(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not all(re.fullmatch(r"[+-]?[0-9]+", word) for word in words):
        raise ValueError(f"Token ids must be integers with spaces or commas between them; got {text!r}.")
    if not words:
        raise ValueError("Every example must have token ids; got a line without any.")
    return [int(word) for word in words]


def _padded(rows: list[list[int]]) -> Inputs:
    """Rows of one length: shorter ones are padded at the end."""
    longest = max(map(len, rows), default=0)
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    dtype = np.int64 if longest == 0 else None  # an empty list has no type of its own
    return {"token_ids": np.array(ids, dtype), "padding_mask": np.array(mask, dtype)}
