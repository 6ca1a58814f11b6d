"""The command ``presets``: the published models and their sizes."""

from __future__ import annotations

import argparse

from deberta_ref.cli.output import print_table, write_json
from deberta_ref.presets import presets


def add_options(command: argparse.ArgumentParser) -> None:
    """The options that ``run`` understands."""
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Print the published models and their sizes."""
    if options.json:
        write_json(
            {
                name: {
                    **vars(p.config),
                    "num_params": p.num_params,
                    "description": p.description,
                    "repository": p.huggingface,
                }
                for name, p in presets.items()
            }
        )
        return
    table: list[tuple[str, ...]] = [
        ("preset", "layers", "heads", "hidden", "feed-forward", "vocabulary", "parameters", "repository")
    ]
    for name, p in presets.items():
        c = p.config
        sizes = (c.num_layers, c.num_heads, c.hidden_dim, c.intermediate_dim, c.vocabulary_size)
        table.append((name, *map(str, sizes), f"{p.num_params:,}", p.huggingface))
    print_table(table)
    print(f"All with max_sequence_length {c.max_sequence_length} and bucket_size {c.bucket_size}.")
