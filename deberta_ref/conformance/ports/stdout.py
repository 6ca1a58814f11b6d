"""Standard output is for the report alone: what a port prints goes to standard error."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what Python, native libraries and child processes print in the block to standard error."""
    _flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed: redirect what Python prints, at least
        with redirect_stdout(sys.stderr):
            yield
        return
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Flush the buffers of Python's and C's standard output."""
    if sys.stdout:
        sys.stdout.flush()
    with suppress(OSError, TypeError, AttributeError):  # no C library by that name, as on Windows
        ctypes.CDLL(None).fflush(None)
