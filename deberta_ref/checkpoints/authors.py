"""The layout of the authors' releases: model_config.json, and pytorch_model.bin under the names that transformers kept.

Files of the first version hold query, key and value as one interleaved ``in_proj`` and projections for positions of
their own; they are of another architecture, and refused with their names. The layout is read, and not written.
"""

from __future__ import annotations

from pathlib import Path

from deberta_ref.checkpoints import architecture
from deberta_ref.checkpoints.huggingface import from_tensors, read_tensors
from deberta_ref.config import Config
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
