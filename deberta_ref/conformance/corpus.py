"""The golden cases: parameters, inputs and what every right implementation gives for them. Data in golden/cases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deberta_ref.checkpoints import from_preset
from deberta_ref.config import Config
from deberta_ref.conformance.noise import Size
from deberta_ref.params import Params
from deberta_ref.recipe import from_recipe

PLACES = (Path(__file__).parents[1] / "golden", Path(__file__).parents[2] / "golden" / "cases")
"""Where the cases are: inside an installed package, and beside it in the repository."""


@dataclass(frozen=True)
class Case:
    """One golden case: a directory with a manifest, inputs and expected taps."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """Its name, which never changes: 'suite/name'."""
        return str(self.manifest["id"])

    @property
    def suite(self) -> str:
        """The suite that it belongs to."""
        return self.id.partition("/")[0]

    @property
    def allow_long(self) -> bool:
        """Whether T exceeds ``max_sequence_length``, clause REL-LONG."""
        return bool(self.manifest["allow_long"])

    @cached_property
    def params(self) -> Params:
        """The parameters, float32: by the recipe, of the checkpoint beside the manifest, or of the demo."""
        source = self.manifest["parameters"]
        if "recipe" in source:
            return from_recipe(Config(**self.manifest["config"]), source["recipe"]["seed"])
        return from_preset(self.directory / source["checkpoint"] if "checkpoint" in source else source["preset"])

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """``token_ids`` and ``padding_mask``, (B, T) each."""
        return _tensors(self.directory / "inputs.safetensors")

    @cached_property
    def expected(self) -> dict[str, Any]:
        """The taps that the case holds: float64, ``relative_row`` in integers."""
        return _tensors(self.directory / "expected.safetensors")

    @property
    def floors(self) -> dict[str, Size]:
        """The noise floor of every floating-point tap that the case holds."""
        return {name: Size(**floor) for name, floor in self.manifest["floors"].items()}


def corpus(root: Path | None = None) -> list[Case]:
    """Every golden case, by id; FileNotFoundError where there is none."""
    place = root or next((place for place in PLACES if place.is_dir()), PLACES[0])
    cases = [Case(path.parent, json.loads(path.read_text("utf-8"))) for path in sorted(place.glob("*/*/manifest.json"))]
    if not cases:
        raise FileNotFoundError(f"There must be golden cases in {place}; there are none. Install the package again.")
    return cases


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file  # noqa: PLC0415 - costs time that `import deberta_ref` need not

    return dict(load_file(path))
