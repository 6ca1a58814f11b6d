"""Where parameters come from: a handle -> a directory -> its layout -> ``Params``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deberta_ref.checkpoints import huggingface
from deberta_ref.config import Config
from deberta_ref.initialisation import init
from deberta_ref.params import Params
from deberta_ref.presets import presets


def from_preset(handle: str, load_weights: bool = True, dtype: Any = None) -> Params:
    """The parameters that ``handle`` names: a directory in the Hugging Face layout.

    With ``load_weights=False``, random parameters (``init``, seed 0) in the sizes that it names, which may then also be
    the name of a preset. ``dtype`` casts; by default parameters stay in the type that they are kept in.
    """
    if not load_weights:
        return init(read_config(handle), dtype="float32" if dtype is None else dtype)
    params = huggingface.read(_directory(handle))
    return params if dtype is None else params.astype(dtype)


def read_config(handle: str) -> Config:
    """The sizes of the model that ``handle`` names: a preset, or a directory."""
    return presets[handle].config if handle in presets else huggingface.read_config(_directory(handle))


def _directory(handle: str) -> Path:
    if handle in presets:
        raise ValueError(
            f"The weights of {handle} are not here; give a directory that holds them, or load_weights=False."
        )
    directory = Path(handle)
    if not (directory / "config.json").is_file():
        raise FileNotFoundError(
            f"A handle must name a preset ({', '.join(presets)}) or a directory with a config.json; got {handle!r}."
        )
    return directory
