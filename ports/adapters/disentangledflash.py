"""disentangled-flash's attention in transformers' DebertaV2Model, as a port: load(checkpoint_dir) -> run.

The package has Triton kernels, for a GPU, and as ``backend="torch"`` the same plan without them, which runs on the
CPU: for each length it keeps the relative rows that a distance reaches. It refuses sizes where those are not
consecutive, such as 32 buckets for 18 positions. Install it with ``pip install disentangled-flash``. The last hidden
state alone.
"""

from __future__ import annotations

from typing import Any

import torch
from disentangled_flash import optimize_deberta
from transformers import DebertaV2Model

NAME = "disentangled-flash"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D)."""
    model = DebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype)).eval()
    optimize_deberta(model, backend="torch")  # without it transformers' own attention would stay, where there is no GPU

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        with torch.no_grad():
            model.encoder.prepare_for_inference(ids.shape[1])
            return model(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()

    return run
