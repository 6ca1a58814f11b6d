"""Numbers that others have published for the real checkpoints, and whether a checkpoint gives them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deberta_ref.checkpoints import Handle, from_preset
from deberta_ref.model import forward
from deberta_ref.presets import presets
from deberta_ref.tokenizer import Tokenizer

FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class Comparison:
    """One published vector, what the checkpoint gives, and whether that is the same."""

    source: str
    what: str
    published: list[Any]
    found: list[Any]
    agrees: bool


def published() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The published vectors by the name of their preset."""
    vectors: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(FILE.read_text("utf-8"))
    return {name: entry for name, entry in vectors.items() if name != "note"}


def verify_preset(handle: Handle, preset: str | None = None) -> list[Comparison]:
    """Every published vector of a preset against the checkpoint that ``handle`` names, computed in float64.

    ``preset`` says which preset's vectors, where the handle is not a preset's own name or repository. Raises ValueError
    for a preset without vectors, or a checkpoint of other sizes.
    """
    vectors = published()
    name = preset or _preset_of(str(handle))
    if name not in vectors:
        raise ValueError(
            f"Numbers have been published for {', '.join(vectors)}; got {name or handle!r}: name the preset that the "
            f"checkpoint is a copy of (--preset)."
        )
    params = from_preset(handle)
    if dataclasses.replace(params.config, dropout=0) != dataclasses.replace(presets[name].config, dropout=0):
        raise ValueError(f"{handle} must have the sizes of {name}, {presets[name].config}; it has {params.config}.")
    found = []
    for vector in vectors[name]["outputs"]:
        inputs = {key: vector[key] for key in ("token_ids", "padding_mask")}
        numbers = forward(params, inputs, dtype="float64").ravel()[: len(vector["first_numbers"])]
        agrees = bool((abs(numbers - np.array(vector["first_numbers"])) <= vector["tolerance"]).all())
        what = f"first numbers of the output for {vector['token_ids'][0]}, within {vector['tolerance']}"
        found.append(Comparison(vector["source"], what, vector["first_numbers"], numbers.tolist(), agrees))
    tokenizer = Tokenizer.from_preset(handle)
    for vector in vectors[name]["tokens"]:
        text = vector["text"]
        ids = tokenizer([tuple(text) if isinstance(text, list) else text])["token_ids"][0].tolist()
        found.append(
            Comparison(vector["source"], f"ids of {text!r}", vector["token_ids"], ids, ids == vector["token_ids"])
        )
    return found


def _preset_of(handle: str) -> str | None:
    """The preset that a handle names: by its own name, its repository at any revision, or its name on Kaggle."""
    bare = handle.partition("@")[0]
    for name, p in presets.items():
        if bare in {name, f"hf://{p.huggingface}"} or f"/{name}/" in f"{bare}/":
            return name
    return None
