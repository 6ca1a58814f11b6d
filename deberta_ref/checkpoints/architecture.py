"""What a config.json of Hugging Face's or the authors' kind must say for the weights to be a DeBERTaV3's.

Both describe many architectures with one set of fields, and both switch a feature off, without a word, when its field
is missing. So every field that another architecture would have set differently is looked at, present or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deberta_ref.config import EPSILON, Config

SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "bucket_size": "position_buckets",
}
"""The fields of Config by their names in config.json."""


@dataclass(frozen=True)
class Feature:
    """A field that tells architectures apart: what it must be, what a missing one means, and why it matters."""

    wanted: Any
    absent: Any
    reason: str
    fits: Callable[[Any], bool] | None = None

    def serves(self, value: Any) -> bool:
        """Whether ``value`` describes a DeBERTaV3."""
        return self.fits(value) if self.fits else type(value) is type(self.wanted) and bool(value == self.wanted)


def _words(value: Any) -> set[str]:
    """The parts of 'p2c|c2p', or of a list of such words."""
    parts = value.split("|") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return {str(part).strip().lower() for part in parts}


FEATURES = {
    "relative_attention": Feature(True, False, "positions are known as distances only"),
    "position_biased_input": Feature(False, True, "no absolute positions are added to the embeddings"),
    "type_vocab_size": Feature(0, 0, "no token types are added to the embeddings"),
    "share_att_key": Feature(True, False, "positions are projected by the query and key of the content"),
    "pos_att_type": Feature(
        "p2c|c2p", "none", "both terms count, and the scale is sqrt(3d)", lambda value: _words(value) == {"c2p", "p2c"}
    ),
    "norm_rel_ebd": Feature(
        "layer_norm", "none", "the relative embeddings are normalised", lambda value: _words(value) == {"layer_norm"}
    ),
    "hidden_act": Feature("gelu", "gelu", "the feed-forward uses the GELU with erf"),
    "layer_norm_eps": Feature(EPSILON, EPSILON, "every layer normalisation has this epsilon"),
    "conv_kernel_size": Feature(0, 0, "no convolution follows the first layer", lambda value: not value),
}
"""The fields that a DeBERTaV3 shares with no other architecture, in the order in which they are complained of."""


def read_entries(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError with the path if it holds anything else."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no complete JSON file: {error}. Fetch or write it again.") from None
    if not isinstance(entries, dict):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the argument
            f"{path} must hold a JSON object; got a {type(entries).__name__}. Fetch or write it again."
        )
    return entries


def read_config(path: Path) -> Config:
    """The sizes in a config.json or model_config.json.

    Raises ValueError that lists every field by which the model is no DeBERTaV3, and every size that is missing.
    """
    entries = read_entries(path)
    faults = _differences(entries)
    faults += [f"{name} is missing" for field, name in SIZES.items() if name not in entries and field != "dropout"]
    if faults:
        raise ValueError(f"{path} describes no DeBERTaV3: {'; '.join(faults)}.")
    sizes = {field: entries[name] for field, name in SIZES.items() if name in entries}
    try:
        return Config(**sizes)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from None


def entries_of(config: Config) -> dict[str, Any]:
    """What a config.json says of a model of these sizes."""
    features = {name: feature.wanted for name, feature in FEATURES.items() if name != "conv_kernel_size"}
    sizes = {name: getattr(config, field) for field, name in SIZES.items()}
    return {**features, **sizes, "max_relative_positions": -1}


def _differences(entries: Mapping[str, Any]) -> list[str]:
    """Every field by which ``entries`` describes another architecture, each with what it must be and why."""
    faults = []
    for name, feature in FEATURES.items():
        if not feature.serves(entries.get(name, feature.absent)):
            found = f"is {json.dumps(entries[name])}" if name in entries else "is missing"
            faults.append(f"{name} {found} and must be {json.dumps(feature.wanted)}, for {feature.reason}")
    derived = {  # fields that repeat or replace a size
        "embedding_size": (entries.get("hidden_size"), "embeddings are as wide as hidden states"),
        "attention_head_size": (_head_size(entries), "the heads divide the hidden state among them"),
        "max_relative_positions": (entries.get("max_position_embeddings"), "it decides where log buckets end"),
    }
    for name, (wanted, reason) in derived.items():
        value = entries.get(name)
        below_1 = name == "max_relative_positions" and isinstance(value, int) and value < 1
        if value not in (None, wanted) and not below_1:
            faults.append(f"{name} is {json.dumps(value)} and must be {json.dumps(wanted)} or absent, for {reason}")
    return faults


def _head_size(entries: Mapping[str, Any]) -> Any:
    width, heads = entries.get("hidden_size"), entries.get("num_attention_heads")
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None
