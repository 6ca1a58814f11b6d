"""The report on a terminal, in colours if rich is installed, and the progress while cases are judged."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from deberta_ref import progress as plain_progress
from deberta_ref.conformance.reports.lines import Line, Style, lines
from deberta_ref.conformance.verdict import Report, Status

WIDTH = 100
"""Letters in a line, where there is no terminal to ask."""

COLOURS: dict[Style, str] = {
    "plain": "",
    "strong": "bold",
    "faint": "dim",
    "good": "green",
    "bad": "bold red",
    "odd": "yellow",
}
"""rich's name for every style; the terminal's own sixteen colours."""


def show(report: Report, stream: TextIO, *, colour: bool | None = None, width: int | None = None) -> None:
    """Write the report: the cases first, the verdict in the last line.

    ``colour`` defaults to whether ``stream`` is a terminal that shows colours; without rich there are none. ``width``
    defaults to the terminal's, or ``WIDTH``.
    """
    if width is None:
        width = shutil.get_terminal_size((WIDTH, 0)).columns if stream.isatty() else WIDTH
    if colour is None:
        colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    rendered = lines(report, width)
    if not (colour and _coloured(rendered, stream)):
        stream.writelines("".join(text for text, _ in line) + "\n" for line in rendered)


def _coloured(rendered: Iterable[Line], stream: TextIO) -> bool:
    """Write the lines in colours; return False and write nothing if rich is not installed."""
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        return False
    console = Console(file=stream, force_terminal=True, color_system="standard", no_color=False)
    for line in rendered:
        console.print(Text.assemble(*((text, COLOURS[style]) for text, style in line)), soft_wrap=True)
    return True


@dataclass
class Judged:
    """How many cases are judged, and how many of them are wrong."""

    total: int
    show: Callable[[int, str], None]  # takes how many are judged, and a sentence
    done: int = 0
    wrong: int = 0

    def advance(self, case_id: str, status: Status) -> None:
        """One more case is judged."""
        self.done += 1
        self.wrong += status in {"fail", "error"}
        wrong = f", {self.wrong} wrong" if self.wrong else ""
        self.show(self.done, f"{self.done} of {self.total} cases{wrong}, the last {case_id}")

    def weigh(self, what: str) -> None:
        """All cases are judged; something is measured to tell which mistakes the port has."""
        self.show(self.total, f"all {self.total} cases judged; measuring {what}")


@contextmanager
def progress(total: int) -> Iterator[Judged]:
    """Show on standard error, if that is a terminal, how many cases are judged while the block runs; leave no trace."""
    try:
        from rich import console, progress as rich  # noqa: PLC0415 - an extra
    except ImportError:
        terminal = False
    else:
        terminal = bool(sys.stderr) and sys.stderr.isatty()
    if not terminal:
        with plain_progress.progress("judging") as shown:
            yield Judged(total, lambda _done, words: setattr(shown, "done", f": {words}"))
        return
    columns = (
        rich.SpinnerColumn(),
        rich.BarColumn(24, complete_style="cyan", finished_style="cyan"),
        rich.TextColumn("{task.description}", markup=False),
    )
    bar = rich.Progress(*columns, rich.TimeElapsedColumn(), console=console.Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task(f"judging {total} cases", total=total)
        yield Judged(total, lambda done, words: bar.update(task, completed=done, description=words))
