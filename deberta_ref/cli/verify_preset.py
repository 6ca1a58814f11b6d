"""The command ``verify-preset``: a checkpoint against numbers that others have published for it."""

from __future__ import annotations

import argparse

from deberta_ref.cli.output import write_json
from deberta_ref.progress import progress


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    command.add_argument("handle", metavar="HANDLE", help="a preset's name, hf://…, kaggle://… or a directory")
    command.add_argument("--preset", help="the preset that it is a copy of, if the handle does not name it")
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Compare a checkpoint with the numbers that others have published for it; 1 if one differs."""
    from deberta_ref.published import verify_preset  # noqa: PLC0415 - needed here only

    with progress(f"verifying {options.handle}"):
        comparisons = verify_preset(options.handle, options.preset)
    if options.json:
        write_json([vars(comparison) for comparison in comparisons])
    else:
        for c in comparisons:
            print(f"{'agrees' if c.agrees else 'DIFFERS'}: {c.what} ({c.source})")
            print(f"  published {c.published}\n  found     {c.found}")
    return 0 if all(comparison.agrees for comparison in comparisons) else 1
