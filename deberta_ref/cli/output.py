"""What a command writes: tables and JSON on the terminal, and files, whose paths are checked before it computes."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deberta_ref.files import replace
from deberta_ref.precision import Array


def must_be_writable(option: str, path: str, suffixes: tuple[str, ...] = ()) -> None:
    """ValueError if ``path``, the value of ``option``, has none of ``suffixes``; OSError if it cannot be written."""
    if suffixes and Path(path).suffix not in suffixes:
        raise ValueError(f"{option} must end in {' or '.join(suffixes)}; got {path!r}.")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{option} {path} must be a file to write; it is a directory: name a file in it.")
    directory = Path(path).resolve().parent  # that of the file which a link leads to
    if not directory.is_dir():
        raise FileNotFoundError(f"{option} {path} must be in a directory that exists; {Path(path).parent} does not.")
    regular = Path(path).is_file() or not Path(path).exists()  # a pipe or a device needs nothing beside it
    if regular and not os.access(directory, os.W_OK):
        raise PermissionError(
            f"{option} {path} must be in a directory that can be written to; {Path(path).parent} cannot."
        )


def write_arrays(path: str, arrays: Mapping[str, Array]) -> None:
    """Write all arrays to a .safetensors file, or ``output`` alone to a .npy file, which has float32 for bfloat16."""
    if Path(path).suffix == ".npy":
        content = io.BytesIO()
        output = arrays["output"]
        np.save(content, output.astype(np.float32) if output.dtype.name == "bfloat16" else output)
        replace(Path(path), content.getvalue())
    else:
        from safetensors.numpy import save  # noqa: PLC0415 - costs time that other commands need not

        replace(Path(path), save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def write_json(value: Any, path: str = "-") -> None:
    """Write JSON to a file, or for - to standard output. JSON has no NaN and no infinities: they become null."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        replace(Path(path), text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        columns = (word.rjust(width) for word, width in zip(others, widths[1:], strict=True))
        print("  ".join(["", first.ljust(widths[0]), *columns]).rstrip())
