"""The authors' own package (PyPI ``deberta`` 0.1.12) as a port: load(checkpoint_dir) -> run.

The package is of 2021: it imports ``Sequence`` from where Python no longer has it and asks NumPy for ``numpy.int``.
Both are put back before it is imported. Install it with ``pip install --no-deps deberta==0.1.12``.
"""

from __future__ import annotations

import collections
import collections.abc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from torch_taps import layer_taps, taps

NAME = "deberta"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to every tap of spec/09, by name.

    Its attribute ``layer`` takes ``x``, ``relative_embeddings`` and ``padding_mask``, and n, to the taps of that layer.
    """
    deberta = package()
    entries = json.loads((Path(checkpoint_dir) / "config.json").read_text("utf-8"))
    entries["padding_idx"] = entries.pop("pad_token_id", 0)
    if isinstance(entries["pos_att_type"], list):
        entries["pos_att_type"] = "|".join(entries["pos_att_type"])  # the package knows no lists
    model = deberta.DeBERTa(deberta.config.ModelConfig.from_dict(entries)).to(getattr(torch, dtype)).eval()
    tensors = load_file(Path(checkpoint_dir) / "model.safetensors")
    model.load_state_dict(
        {name.removeprefix("deberta."): tensor for name, tensor in tensors.items()}
    )  # strict: every name must be there, and no other
    heads = model.config.num_attention_heads

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        return taps(model, heads, lambda m: m(ids, attention_mask=mask)[-1], scaled=False)

    def layer(inputs: dict[str, Any], n: int) -> Any:
        floating = getattr(torch, dtype)
        x, relative = (torch.as_tensor(inputs[name]).to(floating) for name in ("x", "relative_embeddings"))
        mask = model.encoder.get_attention_mask(torch.as_tensor(inputs["padding_mask"]).long())
        rows = model.encoder.get_rel_pos(x)
        call = lambda m: m.encoder.layer[n](x, mask, relative_pos=rows, rel_embeddings=relative)
        return layer_taps(model, n, heads, call, scaled=False)

    run.layer = layer  # type: ignore[attr-defined]
    return run


def package() -> Any:
    """``DeBERTa.deberta``, imported as on the Python of its time."""
    collections.Sequence = collections.abc.Sequence  # type: ignore[attr-defined]
    np.int = int  # type: ignore[attr-defined]  # noqa: NPY001 - what the package asks for
    import DeBERTa.deberta  # noqa: PLC0415 - importable only after the two lines above

    return DeBERTa.deberta
