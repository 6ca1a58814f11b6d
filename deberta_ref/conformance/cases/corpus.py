"""The golden cases: what is asked, and what every right implementation gives for it. The data is in golden/cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref import positions
from deberta_ref.checkpoints import from_preset
from deberta_ref.config import Config
from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.noise import Size
from deberta_ref.conformance.cases.operations import operation
from deberta_ref.conformance.cases.summary import SUMMARY, summarised
from deberta_ref.params import Params, num_params
from deberta_ref.precision import Precision
from deberta_ref.recipe import from_recipe
from deberta_ref.taps import tap_axes
from deberta_ref.tokenizer import Tokenizer
from deberta_ref.tracing import record, record_layer

CASE_DIRECTORIES = (Path(__file__).parents[2] / "golden", Path(__file__).parents[3] / "golden" / "cases")
"""Where the cases are: inside the package if it is installed, beside it in the repository."""

SUITES = {
    "model": "small models, with intermediate values",
    "long": "more tokens than max_sequence_length",
    "presets": "the published sizes: the last hidden state and a summary of each layer",
    "layer": "one encoder layer, fed the reference's values",
    "ops": "single operations",
    "precision": "whole models whose parameters are exact in every precision",
    "tokenizer": "text to ids",
}
"""The suites, in the order in which a port is judged by them."""

WHOLE = ("model", "long", "presets", "precision")
"""The suites that ask for a whole model."""

SUMMARISED = ("presets", "precision")
"""The suites of models so large that they hold the last hidden state and a summary of each layer."""

ROW = "relative_row"
"""The one tap that holds integers."""

LARGE = 150_000_000
"""A case with so many parameters or more takes over a gigabyte, and is judged only when asked for."""


@dataclass(frozen=True)
class Case:
    """One golden case: a directory with a manifest, inputs and expected values."""

    directory: Path
    manifest: dict[str, Any]
    precision: Precision = "float32"  # that a port is judged in
    weights: Params | None = field(default=None, repr=False, compare=False)  # other parameters than the manifest's

    @property
    def id(self) -> str:
        """Its name, which never changes: 'suite/name'."""
        return str(self.manifest["id"])

    @property
    def suite(self) -> str:
        """The suite that it belongs to, one of ``SUITES``."""
        return self.id.partition("/")[0]

    @property
    def allow_long(self) -> bool:
        """Whether T exceeds ``max_sequence_length``, clause REL-LONG."""
        return bool(self.manifest.get("allow_long"))

    @property
    def config(self) -> Config:
        """The sizes of the model; KeyError in a suite without models."""
        return Config(**self.manifest["config"])

    @property
    def large(self) -> bool:
        """Whether its model has ``LARGE`` parameters or more."""
        return "config" in self.manifest and num_params(self.config) >= LARGE

    @cached_property
    def params(self) -> Params:
        """The parameters, float32: from the recipe, from the checkpoint beside the manifest, or from the demo."""
        if self.weights is not None:
            return self.weights
        source = self.manifest["parameters"]
        if "recipe" in source:
            return from_recipe(self.config, **source["recipe"])
        return from_preset(self.directory / source["checkpoint"] if "checkpoint" in source else source["preset"])

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What is asked: arrays by name; for the suite tokenizer ``texts`` and ``sequence_length``."""
        if self.suite == "tokenizer":
            return dict(json.loads((self.directory / "inputs.json").read_text("utf-8")))
        return _tensors(self.directory / "inputs.safetensors")

    @cached_property
    def expected(self) -> dict[str, Any]:
        """What every right implementation gives: float64, and integers that are exact.

        ``relative_row`` follows from the sizes alone: it is computed where the file leaves it out as too large.
        """
        held = _tensors(self.directory / "expected.safetensors")
        return held if self.suite not in WHOLE or ROW in held else {**held, ROW: self._row(positions).astype(np.int64)}

    @property
    def required(self) -> tuple[str, ...]:
        """The values that an answer must hold; the others are useful, but may be left out."""
        if self.suite == "layer":
            return (f"layers.{self.manifest['layer']}.output",)
        return {"ops": ("result",), "tokenizer": ("token_ids", "padding_mask")}.get(self.suite, ("output",))

    @property
    def order(self) -> list[str]:
        """The names of the expected values, in the order of the computation."""
        if "config" not in self.manifest:
            return list(self.expected)
        names = list(tap_axes(self.config))
        return sorted(self.expected, key=lambda name: names.index(name.removesuffix(SUMMARY)))

    def varied(self, variation: ModuleType) -> Case:
        """The case with what a permitted variation of the model gives for it."""
        found = self.evaluate(variation, "float64")
        return self.with_values(expected={name: found[name] for name in self.expected})

    def with_values(
        self,
        *,
        inputs: Mapping[str, Any] | None = None,
        expected: Mapping[str, Any] | None = None,
        params: Params | None = None,
        floors: Mapping[str, Size] | None = None,
    ) -> Case:
        """The case with other inputs, expected values, parameters or floors; what is left out stays as it is.

        Without any it is a copy that shares what is loaded, and that loads the rest for itself.
        """
        given = {"inputs": inputs, "expected": expected, "params": params, "floors": floors}
        loaded = {name: self.__dict__[name] for name in given if name in self.__dict__}
        other = Case(self.directory, self.manifest, self.precision, self.weights)
        other.__dict__.update(loaded | {name: values for name, values in given.items() if values is not None})
        return other  # cached_property looks into __dict__ before it reads a file

    def release(self) -> None:
        """Let the parameters go, which are gigabytes at the published sizes: the next use makes them anew."""
        self.__dict__.pop("params", None)

    @cached_property
    def floors(self) -> dict[str, Size]:
        """The noise floor of every expected value in the case's precision; 0 for integers, which are exact."""
        floors = self.manifest.get("floors", {})
        if self.precision != "float32":
            floors = self.manifest["precisions"][self.precision]  # PREC-FLOOR
        return {name: Size(**floors[name]) if name in floors else Size(0.0, 0.0) for name in self.expected}

    def evaluate(self, model: ModuleType, dtype: Any) -> dict[str, Any]:
        """Every value that the case can hold, as computed by ``deberta_ref.model`` or a variant of it."""
        match self.suite:
            case "ops":
                return {"result": operation(model, self.manifest["operation"], self.inputs, dtype)}
            case "layer":
                return record_layer(model, self.params, self.manifest["layer"], self.inputs, dtype)
            case "tokenizer":
                tokenizer = Tokenizer.from_preset(self.manifest["tokenizer"]["preset"])
                return tokenized(tokenizer, self.inputs)
        found = self.view(record(model, self.params, self.inputs, dtype, allow_long=self.allow_long))
        return found if ROW in found else {**found, ROW: self._row(model)}

    def view(self, taps: Mapping[str, Any]) -> dict[str, Any]:
        """What the case compares of a model's taps: the taps themselves, or their summaries at the published sizes."""
        return summarised(taps) if self.suite in SUMMARISED else dict(taps)

    def _row(self, module: ModuleType) -> Any:
        """The row of every pair of positions, as ``module`` has it: (T, T)."""
        return module.relative_row(self.inputs["padding_mask"].shape[1], self.config)

    def errors(self, found: Mapping[str, Any]) -> dict[str, Size]:
        """The size of the error of every value in ``found`` that the case holds, over all that is valid."""
        held = {name: value for name, value in found.items() if name in self.expected}
        if "config" in self.manifest:
            return noise.errors(held, self.expected, self.params, self.inputs)
        where = self.inputs["mask"].astype(bool) if "mask" in self.inputs else ...
        return {name: noise.error(value, self.expected[name], where) for name, value in held.items()}

    def scores(self, found: Mapping[str, Any]) -> dict[str, float]:
        """The score of every value in ``found`` that the case holds (NOISE-SCORE)."""
        return noise.scores(self.errors(found), self.floors)


def tokenized(tokenizer: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a tokenizer gives for a case of the suite tokenizer."""
    texts = [tuple(text) if isinstance(text, list) else text for text in inputs["texts"]]
    return dict(tokenizer(texts, sequence_length=inputs["sequence_length"]))


def corpus(root: Path | None = None) -> list[Case]:
    """Every golden case, in the order of the suites and then of the ids; FileNotFoundError if there is none."""
    place = root or next((place for place in CASE_DIRECTORIES if place.is_dir()), CASE_DIRECTORIES[0])
    cases = [Case(path.parent, json.loads(path.read_text("utf-8"))) for path in place.glob("*/*/manifest.json")]
    if not cases:
        raise FileNotFoundError(f"There must be golden cases in {place}; there are none. Install the package again.")
    return sorted(cases, key=lambda case: (list(SUITES).index(case.suite), case.id))


def ordinary(case: Case) -> bool:
    """Whether a port is asked for it by default: not the published sizes, nor what --precision asks for."""
    return case.suite not in SUMMARISED


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file  # noqa: PLC0415 - costs time that `import deberta_ref` need not

    return dict(load_file(path))
