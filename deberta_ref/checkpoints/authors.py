"""The layout of the authors' releases: model_config.json, and pytorch_model.bin under the names that transformers kept.

Files of the first version hold query, key and value as one interleaved ``in_proj`` and projections for positions of
their own; they are of another architecture, and refused with their names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from deberta_ref.checkpoints import architecture, torch_save
from deberta_ref.checkpoints.huggingface import from_tensors, read_tensors, tensor_name
from deberta_ref.config import Config
from deberta_ref.files import replace, replacing
from deberta_ref.params import Params

CONFIG = "model_config.json"
WEIGHTS = "pytorch_model.bin"


def recognises(directory: Path) -> bool:
    """Whether ``directory`` has a model_config.json."""
    return (directory / CONFIG).is_file()


def read(directory: Path, *, allow_nonfinite: bool = False) -> Params:
    """The parameters in ``directory``, mapped from its files, with the errors of the Hugging Face layout."""
    tensors = read_tensors(directory, (WEIGHTS,))
    return from_tensors(read_config(directory), tensors, directory, allow_nonfinite=allow_nonfinite)


def read_config(directory: Path) -> Config:
    """The sizes in the model_config.json of ``directory``."""
    return architecture.read_config(directory / CONFIG)


def write(params: Params, directory: str | os.PathLike[str]) -> None:
    """Write model_config.json and pytorch_model.bin, each whole or not at all, as the authors' package reads them."""
    entries = {
        **architecture.entries_of(params.config),
        "attention_head_size": params.config.head_dim,
        "attention_probs_dropout_prob": params.config.dropout,
        "padding_idx": 0,
    }
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as unfinished:
        torch_save.write(unfinished, {f"deberta.{tensor_name(n)}": array for n, array in params.arrays().items()})
    replace(folder / CONFIG, (json.dumps(entries, indent=2, sort_keys=True) + "\n").encode())
