"""transformers' DebertaV2Model, eager attention, as a port: load(checkpoint_dir) -> run."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DebertaV2Model


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D)."""
    model = DebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype)).eval()

    @torch.no_grad()
    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        return model(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()

    return run
