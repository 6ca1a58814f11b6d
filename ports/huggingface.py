"""transformers' DebertaV2Model, eager attention, as a port: load(checkpoint_dir) -> run."""

from __future__ import annotations

from typing import Any

import torch
from torch_taps import taps
from transformers import DebertaV2Model

NAME = "transformers"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to every tap of spec/09, by name."""
    model = DebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype)).eval()

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        heads = model.config.num_attention_heads
        return taps(model, heads, lambda m: m(input_ids=ids, attention_mask=mask).last_hidden_state, scaled=True)

    return run
