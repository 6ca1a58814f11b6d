"""The KerasHub layout: a preset directory with config.json, metadata.json and the weights in HDF5 under keras's names.

keras numbers the groups of its file by class, and writes the true name of its layer into each. Layers are found by
their true names; only where a group has none, as in files of old versions of keras, by keras's numbering.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deberta_ref.checkpoints.finite import refuse_nonfinite
from deberta_ref.checkpoints.safetensors_map import widened
from deberta_ref.config import Config
from deberta_ref.files import replace
from deberta_ref.ownership import own
from deberta_ref.params import Params, shapes
from deberta_ref.precision import STORED, Array

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

WEIGHTS = "model.weights.h5"
INDEX = "model.weights.json"
SHARD = re.compile(r"model_\d+\.weights\.h5")

MODULES = {
    "token_embedding": "token_embedding",
    "embeddings_norm": "embeddings_layer_norm",
    "relative_embedding": "rel_embedding",
    "relative_norm": "rel_embedding/layer_norm",
    "query": "_self_attention_layer/_query_dense",
    "key": "_self_attention_layer/_key_dense",
    "value": "_self_attention_layer/_value_dense",
    "attention_output": "_self_attention_layer/_output_dense",
    "attention_norm": "_self_attention_layer_norm",
    "up": "_feedforward_intermediate_dense",
    "down": "_feedforward_output_dense",
    "feedforward_norm": "_feedforward_layer_norm",
}
"""The names of ``Params`` and those of KerasHub, without the encoder layer and the leaf."""


def variable_name(name: str) -> str:
    """Where a parameter is, from its layer's true name on: 'embeddings_norm.bias' -> 'embeddings_layer_norm/vars/1'."""
    parts = name.split(".")
    prefix = ""
    if parts[0] == "layers":
        prefix, parts = f"disentangled_attention_encoder_layer_{parts[1]}/", parts[2:]
    return f"{prefix}{MODULES[parts[0]]}/vars/{int(parts[-1] == 'bias')}"


def stored_shape(name: str, shape: tuple[int, ...], config: Config) -> tuple[int, ...]:
    """The shape that a parameter has in the file: a matrix is (in, out), and the D features of a projection (H, d)."""
    parts = name.split(".")
    shape = shape[::-1] if parts[-1] == "weight" else shape
    return (*shape[:-1], config.num_heads, config.head_dim) if {"query", "key", "value"} & {*parts} else shape


def groups(config: Config) -> dict[str, str]:
    """The group in which keras puts each layer, by the layer's true name: a number tells layers of one class apart."""
    encoder = "disentangled_attention_encoder"
    return {
        "token_embedding": "layers/reversible_embedding",
        "embeddings_layer_norm": "layers/layer_normalization",
        "rel_embedding": "layers/relative_embedding",
        **{f"{encoder}_layer_{n}": f"layers/{encoder}{f'_{n}' if n else ''}" for n in range(config.num_layers)},
    }


def recognises(directory: Path) -> bool:
    """Whether config.json there is that of a ``DebertaV3Backbone``, as it is in the presets of tasks too."""
    path = directory / "config.json"
    try:
        entries = _read_json(path) if path.is_file() else {}
    except (OSError, ValueError):
        return False
    return bool(entries.get("class_name") == "DebertaV3Backbone")


def read(directory: Path, *, allow_nonfinite: bool = False) -> Params:
    """The parameters in ``directory``, read into memory in the types they are kept in, bfloat16 widened to float32.

    Matrices are transposed views of what was read. What a task keeps beside its backbone is left alone. Raises
    ValueError for files that are cut short or lead elsewhere, with every name for arrays that are missing, unknown or
    of the wrong shape, and, unless ``allow_nonfinite``, with the first place for values that are not finite;
    ModuleNotFoundError without h5py. The HDF5 library itself is C code that a file made
    to break it can hang or crash: from those you do not trust, ask for safetensors.
    """
    config = read_config(directory)
    found: list[tuple[str, Array]] = []
    layers: dict[str, str] = {}
    for path in _weight_files(directory):
        arrays, names = _read_file(path)
        found += arrays.items()
        layers |= names  # a layer that two shards share is named in one of them
    if config.num_layers > len(found):  # it may be any number: nothing is as long as it says until it is believed
        raise ValueError(f"{directory}: config.json has {config.num_layers} layers, the weights {len(found)} arrays.")
    layers = {group: layer for layer, group in groups(config).items()} | layers
    named = [(_true_name(path, layers), array) for path, array in found]
    if not allow_nonfinite:
        refuse_nonfinite(dict(named), directory)
    return _fitted(directory, config, named)


def read_config(directory: Path) -> Config:
    """The sizes in the config.json of ``directory``."""
    path = directory / "config.json"
    sizes = _read_json(path).get("config")
    names = [field.name for field in fields(Config)]
    missing = [name for name in names if name not in sizes] if isinstance(sizes, dict) else names
    if missing:
        raise ValueError(f"{path} must have {', '.join(names)} under 'config'; {', '.join(missing)} is missing.")
    return Config(**{name: sizes[name] for name in names})


def write(params: Params, directory: str | os.PathLike[str]) -> None:
    """Write config.json, metadata.json and model.weights.h5, each whole or not at all, in the kept types.

    keras-hub opens all of the types and computes in float32, unless its ``from_preset`` is told another.
    """
    weights = _weights(params)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / WEIGHTS, weights)
    versions = {"keras_version": "3.15.1", "keras_hub_version": "0.32.0"}  # those whose layout this is
    metadata = {**versions, "parameter_count": params.num_params, "tasks": ["MaskedLM", "TextClassifier"]}
    replace(folder / "metadata.json", (json.dumps(metadata, indent=2) + "\n").encode())
    replace(folder / "config.json", _json("Backbone", params.dtype.name, asdict(params.config)))


def write_tokenizer(spm: bytes, directory: str | os.PathLike[str]) -> None:
    """Write tokenizer.json and assets/tokenizer/vocabulary.spm, each whole or not at all, beside what ``write`` wrote.

    ``spm`` is a serialised sentencepiece model. keras-hub opens no tokenizer where there is no config.json.
    """
    folder = Path(directory)
    (folder / "assets" / "tokenizer").mkdir(parents=True, exist_ok=True)
    replace(folder / "assets" / "tokenizer" / "vocabulary.spm", spm)
    options = {"config_file": "tokenizer.json", "proto": None}  # the model itself stands in the assets
    replace(folder / "tokenizer.json", _json("Tokenizer", "int32", options))


def _h5py() -> Any:
    try:
        return import_module("h5py")
    except ModuleNotFoundError as error:
        sentence = "KerasHub's weights are read and written through h5py: pip install 'deberta-ref[keras]'."
        raise ModuleNotFoundError(sentence, name=error.name) from None


def _read_json(path: Path) -> Any:
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no complete JSON file: {error}. Fetch or write it again.") from None
    return entries if isinstance(entries, dict) else {}


def _weight_files(directory: Path) -> list[Path]:
    """The one file of weights, or else, as keras-hub chooses, the shards that the index names."""
    names = [WEIGHTS]
    if not (directory / WEIGHTS).exists() and (directory / INDEX).exists():
        places = _read_json(directory / INDEX).get("weight_map")
        listed = places.values() if isinstance(places, dict) else [None]
        names = sorted({str(name) for entry in listed for name in (entry if isinstance(entry, list) else [entry])})
        if not all(map(SHARD.fullmatch, names)):
            raise ValueError(f"{directory / INDEX} must name files such as model_00000.weights.h5; got {names}.")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{directory} must hold {', '.join(missing)}. Fetch or write the preset again.")
    return [directory / name for name in names]


def _read_file(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of one file by their paths in it, and the true names of its layers by those of their groups."""
    h5py = _h5py()
    arrays: dict[str, Array] = {}
    layers: dict[str, str] = {}
    with path.open("rb") as raw:  # by the system, so that what it refuses it says in its own words
        room = path.stat().st_size
        try:
            with h5py.File(raw, "r") as file:
                for name, item in _walk(h5py, file):
                    if isinstance(item, h5py.Dataset):
                        arrays[name] = _array(h5py, name, item, room)
                        room -= item.id.get_storage_size()
                    elif name.count("/") == 2 and "name" in item.attrs:  # layers/…/vars
                        layers[name.removesuffix("/vars")] = str(item.attrs["name"])
        except (OSError, RuntimeError, KeyError, TypeError, UnicodeError) as error:  # what h5py raises for broken files
            raise ValueError(f"{path} is no complete HDF5 file: {error}. Fetch or write it again.") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return arrays, layers


def _walk(h5py: Any, file: Any) -> Iterator[tuple[str, Any]]:
    """Every group and array of the file, by its path. What leads to another file, or back into this one, is refused."""
    pending, seen = [("", file)], {file}
    while pending:
        prefix, group = pending.pop()
        for key in group:
            if not prefix and key == "optimizer":  # its state is integers too, and is no part of the model
                continue
            link = group.get(key, getlink=True)
            item = group[key] if isinstance(link, h5py.HardLink) else link
            if item in seen or not isinstance(item, (h5py.Group, h5py.Dataset)):
                got = "a second name" if item in seen else type(item).__name__
                raise ValueError(
                    f"{prefix}{key} must be a group or an array under its only name; got {got}, which is not followed. "
                    f"Write the file with keras."
                )
            seen.add(item)
            pending += [(f"{prefix}{key}/", item)] if isinstance(item, h5py.Group) else []
            yield f"{prefix}{key}", item


def _array(h5py: Any, name: str, dataset: Any, room: int) -> Array:
    """The numbers of a dataset that lies in its file in one piece, and so is no larger than the ``room`` left in it."""
    layout = dataset.id.get_create_plist().get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or dataset.external:
        raise ValueError(f"{name} must lie in the file in one piece, not in chunks or elsewhere. Write it with keras.")
    bfloat16 = dataset.dtype == np.dtype("V2") and dataset.attrs.get("dtype") == "bfloat16"
    if not bfloat16 and dataset.dtype.name not in STORED:
        raise ValueError(f"{name} must be of {', '.join(STORED)}; got {dataset.dtype}.")
    declared = None if dataset.shape is None else dataset.size * dataset.id.get_type().get_size()
    stored = min(room, dataset.id.get_storage_size())
    if declared != stored:
        raise ValueError(f"{name} declares {declared} bytes, and the file has {stored}. Fetch or write it again.")
    values = dataset[()]
    return widened(values.view("<u2")) if bfloat16 else values.astype(values.dtype.newbyteorder("="), copy=False)


def _true_name(path: str, layers: dict[str, str]) -> str:
    """'layers/disentangled_attention_encoder_3/…/vars/0' -> 'disentangled_attention_encoder_layer_3/…/vars/0'."""
    group = "/".join(path.split("/")[:2])
    return layers[group] + path[len(group) :] if group in layers else path


def _fitted(directory: Path, config: Config, found: list[tuple[str, Array]]) -> Params:
    """Parameters from arrays under their true names."""
    wanted = {variable_name(name): stored_shape(name, shape, config) for name, shape in shapes(config).items()}
    arrays: dict[str, Array] = {}
    faults = []
    for name, array in found:
        if name not in wanted:
            faults.append(f"{name} is unknown")
        elif name in arrays:
            faults.append(f"{name} is there twice")
        elif array.shape != wanted[name]:
            fault = "is transposed, of" if array.shape == wanted[name][::-1] else "has"
            faults.append(f"{name} {fault} shape {array.shape} instead of {wanted[name]}")
        arrays[name] = array
    faults += [f"{name} is missing, of shape {shape}" for name, shape in wanted.items() if name not in arrays]
    if faults:
        raise ValueError(f"{directory}: these weights do not fit config.json: {'; '.join(sorted(faults))}.")
    turned = {}
    for name, shape in shapes(config).items():
        array = arrays[variable_name(name)]
        turned[name] = array.reshape(shape[::-1]).T if name.endswith(".weight") else array.reshape(shape)
    return Params.from_arrays(config, {name: own(array) for name, array in turned.items()})


def _weights(params: Params) -> bytes:
    """The HDF5 file: every layer's true name, and every array with its axes in keras's order."""
    content = io.BytesIO()
    places = groups(params.config)
    with _h5py().File(content, "w") as file:
        for layer, group in places.items():
            file.create_group(f"{group}/vars").attrs["name"] = layer
        for name, array in params.arrays().items():
            layer, variable = variable_name(name).split("/", 1)
            values = array.T if name.endswith(".weight") else array
            stored = np.ascontiguousarray(values.reshape(stored_shape(name, array.shape, params.config)))
            path = f"{places[layer]}/{variable}"
            if array.dtype.name == "bfloat16":  # which HDF5 lacks: its bits, as keras keeps them
                file[path] = stored.view("V2")
                file[path].attrs["dtype"] = "bfloat16"
            else:
                file[path] = stored
    return content.getvalue()


def _json(kind: str, dtype: str, config: dict[str, Any]) -> bytes:
    """The class of a KerasHub object, 'Backbone' or 'Tokenizer', and what it is made with, as keras writes them."""
    name = f"deberta_v3_{kind.lower()}"
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": dtype}, "registered_name": None}
    entries = {
        "module": f"keras_hub.src.models.deberta_v3.{name}",
        "class_name": f"DebertaV3{kind}",
        "config": {"name": name, "trainable": True, "dtype": policy, **config},
        "registered_name": f"keras_hub>DebertaV3{kind}",
    }
    return (json.dumps(entries, indent=2) + "\n").encode()
