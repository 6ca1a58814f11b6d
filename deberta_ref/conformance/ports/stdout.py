"""Standard output kept for what the kit prints: what a port prints goes to standard error."""

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
    except OSError:  # one of them is closed: what is printed by Python is still sent elsewhere
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
    """Write out what Python's and C's standard output hold back."""
    if sys.stdout:
        sys.stdout.flush()
    with suppress(OSError, TypeError, AttributeError):  # no C library is to be had by that name: Windows
        ctypes.CDLL(None).fflush(None)
