"""transformers' DebertaV2Model under torch.compile as a port: load(checkpoint_dir) -> run.

The compiler is PyTorch's default, inductor, which writes C++ and needs a compiler for it, such as g++. Nothing else is
to be installed besides torch and transformers. The last hidden state alone: no hook sees inside what is compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DebertaV2Model

NAME = "torch"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D)."""
    torch.compiler.reset()  # a process compiles the same code for eight models, and no more
    model = DebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype)).eval()
    compiled = torch.compile(model, fullgraph=True)  # or what it cannot compile would run uncompiled, without a word

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        with torch.no_grad():
            return compiled(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()

    return run
