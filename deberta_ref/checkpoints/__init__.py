"""Where parameters come from: a handle -> a directory -> its layout -> ``Params``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deberta_ref.checkpoints import huggingface
from deberta_ref.initialisation import init
from deberta_ref.params import Params
from deberta_ref.presets import presets


def from_preset(handle: str, load_weights: bool = True, dtype: Any = None) -> Params:
    """The parameters that ``handle`` names: a directory in the Hugging Face layout, or a built-in preset.

    With ``load_weights=False``, the architecture with ``init``'s parameters. ``dtype`` casts; by default parameters
    stay as they are kept.
    """
    if handle in presets and not load_weights:
        return init(presets[handle].config, dtype=dtype or "float32")
    params = huggingface.read(Path(handle))
    return params if dtype is None else params.astype(dtype)
