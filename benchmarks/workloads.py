"""What is computed: published sizes, the recipe's weights, and batches without padding and with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_ref import Config, presets
from deberta_ref.recipe import recipe_ids


@dataclass(frozen=True)
class Workload:
    """Texts of these lengths, padded to the longest, for a model of these sizes."""

    id: str
    label: str  # in the table
    config: Config
    lengths: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """B and T, padding included."""
        return len(self.lengths), max(self.lengths)


EXTRA_SMALL, BASE = (presets[f"deberta_v3_{name}_en"].config for name in ("extra_small", "base"))

WORKLOADS = (
    Workload("extra-small-1x128", "extra small, 1 × 128", EXTRA_SMALL, (128,)),
    Workload("base-1x128", "base, 1 × 128", BASE, (128,)),
    Workload("base-8x128", "base, 8 × 128", BASE, (128,) * 8),
    Workload("base-1x512", "base, 1 × 512", BASE, (512,)),
    Workload(
        "base-8-padded",
        "base, 8 texts of 128 to 512, padded",
        BASE,
        tuple(round(512 * share) for share in np.linspace(0.25, 1, 8)),
    ),
)

TINY = Workload(
    "tiny",
    "tiny, 2 texts of 3 and 5",
    Config(40, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=12, max_sequence_length=16, bucket_size=8),
    (3, 5),
)
"""For the tests: it takes no time and says nothing."""


def inputs_of(workload: Workload) -> dict[str, Any]:
    """Token ids and padding mask, (B, T) each, the padding at the end."""
    B, T = workload.shape
    mask = np.arange(T) < np.array(workload.lengths)[:, None]
    ids = recipe_ids(workload.config, B, T)
    return {"token_ids": np.where(mask, ids, 0).astype(np.int32), "padding_mask": mask.astype(np.int32)}
