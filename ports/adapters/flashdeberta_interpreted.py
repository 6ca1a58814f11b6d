"""FlashDeBERTa's Triton kernels, in Triton's interpreter on the CPU, as a port: load(checkpoint_dir) -> run.

The package needs a GPU, and has no other way to compute attention. TRITON_INTERPRET=1 has Triton run the same kernels
in NumPy, slowly, and the line that selects a CUDA device is made to do nothing. The kernels refuse heads that are not
1, 2, 4, 8, … features wide. Install it with ``pip install flashdeberta==0.0.8``, and not where JAX is needed: Triton
and JAX bring an LLVM each, and a process ends where both are loaded. The last hidden state alone.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import torch
from flashdeberta import FlashDebertaV2Model

NAME = "flashdeberta"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D)."""
    model = FlashDebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype)).eval()

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (torch.as_tensor(inputs[name]).long() for name in ("token_ids", "padding_mask"))
        with torch.no_grad(), mock.patch.object(torch.cuda, "device", contextlib.nullcontext):
            return model(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()

    return run
