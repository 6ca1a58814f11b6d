"""The Hugging Face layout: a directory with config.json and the weights under the names of transformers' DebertaV2."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deberta_ref.checkpoints import safetensors_map
from deberta_ref.config import Config
from deberta_ref.files import replace
from deberta_ref.ops import EPSILON
from deberta_ref.params import Params, shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS = "model.safetensors"

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

ARCHITECTURE = {
    "model_type": "deberta-v2",
    "hidden_act": "gelu",
    "layer_norm_eps": EPSILON,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}
"""What makes a config.json a DeBERTaV3: the same in all of them."""

MODULES = {
    "token_embedding": "embeddings.word_embeddings.weight",
    "embeddings_norm": "embeddings.LayerNorm",
    "relative_embedding": "encoder.rel_embeddings.weight",
    "relative_norm": "encoder.LayerNorm",
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "feedforward_norm": "output.LayerNorm",
}
"""The names of ``Params`` and those of transformers, without the layer and the leaf."""


def tensor_name(name: str) -> str:
    """The checkpoint's name of a parameter: 'layers.0.up.bias' -> 'encoder.layer.0.intermediate.dense.bias'."""
    parts = name.split(".")
    prefix = ""
    if parts[0] == "layers":
        prefix, parts = f"encoder.layer.{parts[1]}.", parts[2:]
    leaf = "" if len(parts) == 1 else ".weight" if parts[1] == "scale" else f".{parts[1]}"
    return f"{prefix}{MODULES[parts[0]]}{leaf}"


def read(directory: Path) -> Params:
    """The parameters in ``directory``, mapped from its files."""
    return from_tensors(read_config(directory), safetensors_map.read(directory / WEIGHTS))


def read_config(directory: Path) -> Config:
    """The sizes in the config.json of ``directory``."""
    entries = json.loads((directory / "config.json").read_text("utf-8"))
    missing = [name for name in SIZES.values() if name not in entries]
    if missing:
        raise ValueError(f"config.json must have {', '.join(SIZES.values())}; {', '.join(missing)} is missing.")
    return Config(**{field: entries[name] for field, name in SIZES.items()})


def from_tensors(config: Config, tensors: Mapping[str, Any]) -> Params:
    """Parameters from tensors under the names of this layout."""
    return Params.from_arrays(config, {name: tensors[tensor_name(name)] for name in shapes(config)})


def write(params: Params, directory: str | os.PathLike[str]) -> None:
    """Write config.json and model.safetensors, each whole or not at all."""
    from safetensors.numpy import save  # noqa: PLC0415 - costs time that `import deberta_ref` need not

    entries = {
        **ARCHITECTURE,
        "architectures": ["DebertaV2Model"],
        "attention_probs_dropout_prob": params.config.dropout,
        "dtype": params.dtype.name,
        "initializer_range": 0.02,
        "pad_token_id": 0,
        **{name: getattr(params.config, field) for field, name in SIZES.items()},
    }
    tensors = {tensor_name(name): np.ascontiguousarray(array) for name, array in params.arrays().items()}
    folder = Path(directory)  # VEC-FILES
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    replace(folder / "config.json", (json.dumps(entries, indent=2, sort_keys=True) + "\n").encode())
