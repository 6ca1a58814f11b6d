"""The Hugging Face layout: a directory with config.json and the weights under the names of transformers' DebertaV2.

The weights are in model.safetensors or pytorch_model.bin, or in shards of either with an index, looked for in the order
in which transformers does.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref.checkpoints import architecture, safetensors_map
from deberta_ref.checkpoints.finite import refuse_nonfinite
from deberta_ref.checkpoints.torch import pickle as torch_pickle
from deberta_ref.config import Config
from deberta_ref.files import replace, replacing
from deberta_ref.ownership import own
from deberta_ref.params import Params, misfits, shapes

Tensors = dict[str, NDArray[Any]]
"""Tensors by their names in a checkpoint."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
READERS = {".safetensors": safetensors_map.read, ".bin": torch_pickle.read}

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

FIRST = MODULES["token_embedding"]

LEFTOVERS = re.compile(
    r"(mask_predictions|lm_predictions|cls|classifier|pooler|qa_outputs)\..*"
    r"|embeddings\.(word_embeddings\._weight|position_embeddings\..*|position_ids)"
)
"""What a checkpoint may hold beside the encoder: the heads of pretraining and of tasks, what the pretraining of
DeBERTaV3 added to the generator's embeddings (``_weight``; the sum is in ``weight``), and positions never added."""

logger = logging.getLogger(__name__)


def tensor_name(name: str) -> str:
    """The checkpoint's name of a parameter: 'layers.0.up.bias' -> 'encoder.layer.0.intermediate.dense.bias'."""
    parts = name.split(".")
    prefix = ""
    if parts[0] == "layers":
        prefix, parts = f"encoder.layer.{parts[1]}.", parts[2:]
    leaf = "" if len(parts) == 1 else ".weight" if parts[1] == "scale" else f".{parts[1]}"
    return f"{prefix}{MODULES[parts[0]]}{leaf}"


def recognises(directory: Path) -> bool:
    """Whether ``directory`` has a config.json; other layouts that have one are asked first."""
    return (directory / "config.json").is_file()


def read(directory: Path, *, allow_nonfinite: bool = False) -> Params:
    """The parameters in ``directory``, mapped from its files; heads and leftovers of pretraining are left out.

    What is left out is logged. Raises ValueError for a model that is no DeBERTaV3, for files that are cut short, with
    every name for tensors that are missing, unknown or of the wrong shape, and, unless ``allow_nonfinite``, with the
    first place for values that are not finite; FileNotFoundError for missing files.
    """
    config = read_config(directory)
    return from_tensors(config, read_tensors(directory, WEIGHTS), directory, allow_nonfinite=allow_nonfinite)


def read_config(directory: Path) -> Config:
    """The sizes in the config.json of ``directory``."""
    return architecture.read_config(directory / "config.json")


def read_tensors(directory: Path, names: Iterable[str]) -> Tensors:
    """Every tensor of the first of the files ``names``, or of its shards, that ``directory`` has."""
    for name in names:
        reader = READERS[Path(name).suffix]
        if (directory / name).is_file():
            return reader(directory / name)
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _from_shards(index, reader)
    raise FileNotFoundError(f"{directory} must hold {' or '.join(names)}, or shards with an index; it has none.")


def _from_shards(index: Path, reader: Callable[[Path], Tensors]) -> Tensors:
    """Every tensor from the shard in which the index has it; ValueError if one is elsewhere, or there is another."""
    places = _places(index)
    tensors: Tensors = {}
    for name in sorted({*places.values()}):
        shard = reader(index.with_name(name))
        listed = {tensor for tensor, place in places.items() if place == name}
        if shard.keys() != listed:
            strange = ", ".join(sorted(shard.keys() ^ listed))
            raise ValueError(f"{index} and {name} must agree on what is in that shard; they differ on {strange}.")
        tensors |= shard
    return tensors


def _places(index: Path) -> dict[str, str]:
    """The file beside the index in which each tensor is, by the tensor's name."""
    places = architecture.read_entries(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ValueError(f"{index} must map names of tensors to files under 'weight_map'. Fetch or write it again.")
    names = sorted({*places.values()})
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    if strange := [name for name in names if Path(name).name != name or Path(name).suffix != suffix]:
        raise ValueError(f"{index} must name {suffix} files beside it; got {', '.join(strange)}.")
    if missing := [name for name in names if not index.with_name(name).is_file()]:
        raise FileNotFoundError(f"{index} names {', '.join(missing)}, which is not beside it. Fetch or write it again.")
    return places


def from_tensors(config: Config, tensors: Tensors, where: object, *, allow_nonfinite: bool) -> Params:
    """Parameters from tensors under the names of this layout, with any one prefix before them."""
    if config.num_layers > len(tensors):  # it may be any number: nothing is as long as it says until it is believed
        raise ValueError(f"{where}: config.json has {config.num_layers} layers, the weights {len(tensors)} tensors.")
    prefix = _prefix(tensors, where)
    wanted = {tensor_name(name): shape for name, shape in shapes(config).items()}
    found, leftovers = {}, []
    for name, array in tensors.items():
        bare = name.removeprefix(prefix) if name.startswith(prefix) else name
        if LEFTOVERS.fullmatch(bare) or LEFTOVERS.fullmatch(name.removeprefix(prefix.removesuffix("deberta."))):
            leftovers.append(name)
        else:  # what lacks the prefix stays unknown, even if it has the name of an encoder's tensor without it
            found[bare if name.startswith(prefix) else f"{name}, without the prefix {prefix}"] = array
    if faults := misfits(wanted, {name: np.shape(array) for name, array in found.items()}):
        raise ValueError(f"{where}: these tensors do not fit the configuration: {'; '.join(faults)}.")
    if not allow_nonfinite:
        refuse_nonfinite(found, where)
    if leftovers:
        logger.info("%s: left out, as they are not the encoder's: %s", where, ", ".join(sorted(leftovers)))
    return Params.from_arrays(config, {name: own(found[tensor_name(name)]) for name in shapes(config)})


def _prefix(tensors: Iterable[str], where: object) -> str:
    """What stands before the encoder's names: nothing, 'deberta.', or that with a wrapper's name before it."""
    embeddings = [name for name in tensors if name.endswith(FIRST)]
    if len(embeddings) > 1:
        raise ValueError(f"{where} must hold one encoder; it has {' and '.join(sorted(embeddings))}.")
    if embeddings:
        return embeddings[0].removesuffix(FIRST)
    return "deberta." if any(name.startswith("deberta.") for name in tensors) else ""


def write(params: Params, directory: str | os.PathLike[str]) -> None:
    """Write config.json and model.safetensors, each whole or not at all."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - costs time that `import deberta_ref` need not

    entries = {
        **architecture.entries_of(params.config),
        "model_type": "deberta-v2",
        "architectures": ["DebertaV2Model"],
        "attention_probs_dropout_prob": params.config.dropout,
        "dtype": params.dtype.name,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    }
    tensors = {tensor_name(name): np.ascontiguousarray(array) for name, array in params.arrays().items()}
    folder = Path(directory)  # VEC-FILES
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS[0]) as unfinished:
        save_file(tensors, unfinished, metadata={"format": "pt"})
    replace(folder / "config.json", (json.dumps(entries, indent=2, sort_keys=True) + "\n").encode())
