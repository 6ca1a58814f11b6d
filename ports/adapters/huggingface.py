"""transformers' DebertaV2Model, eager attention, as a port: load(checkpoint_dir) -> run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import DebertaV2Model

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from torch_taps import layer_taps, taps

NAME = "transformers"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to every tap of spec/09, by name.

    Its attribute ``layer`` takes ``x``, ``relative_embeddings`` and ``padding_mask``, and n, to the taps of that layer.
    """
    model = DebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype)).eval()
    heads = model.config.num_attention_heads

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        return taps(model, heads, lambda m: m(input_ids=ids, attention_mask=mask).last_hidden_state, scaled=True)

    def layer(inputs: dict[str, Any], n: int) -> Any:
        x, relative = (torch.as_tensor(inputs[name]).to(model.dtype) for name in ("x", "relative_embeddings"))
        mask = model.encoder.get_attention_mask(torch.as_tensor(inputs["padding_mask"]).long())
        rows = model.encoder.get_rel_pos(x)
        call = lambda m: m.encoder.layer[n](x, mask, relative_pos=rows, rel_embeddings=relative)
        return layer_taps(model, n, heads, call, scaled=True)

    run.layer = layer  # type: ignore[attr-defined]
    return run
