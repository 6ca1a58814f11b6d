"""A line on the terminal that says what is being done, and for how long already."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

REFRESH_SECONDS = 1.0
"""Until the line is shown first, and between two updates of it."""


@dataclass
class Progress:
    """What is being done, and how much of it is done: updated as the work goes on."""

    what: str
    done: str = ""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show ``what`` and the seconds on standard error while the block runs, if that is a terminal; leave no trace."""
    shown = Progress(what)
    if not sys.stderr or not sys.stderr.isatty():
        yield shown
        return
    start, finished = time.monotonic(), threading.Event()

    def show() -> None:
        while not finished.wait(REFRESH_SECONDS):
            sys.stderr.write(f"\r\033[K{shown.what}{shown.done}, {time.monotonic() - start:.0f} s")
            sys.stderr.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        finished.set()
        thread.join()
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
