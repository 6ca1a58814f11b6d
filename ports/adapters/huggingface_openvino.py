"""transformers' DebertaV2Model, converted by OpenVINO, as a port: load(checkpoint_dir) -> run.

OpenVINO reads PyTorch's module by tracing it, once a checkpoint; the compiled model then takes any B and T. In float32
on the CPU, which has to be asked for: OpenVINO's own choice is bfloat16 where the processor has it. Install it with
``pip install openvino``. The last hidden state alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from openvino.properties import hint
from transformers import DebertaV2Model

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from export_onnx import LastHiddenState, example

NAME = "openvino"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D)."""
    if dtype != "float32":
        raise ValueError(f"The dtype must be float32, in which OpenVINO computes on every CPU; got {dtype}.")
    precision = {hint.inference_precision: openvino.Type.f32}
    compiled = openvino.compile_model(converted(checkpoint_dir), "CPU", precision)

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (np.asarray(inputs[name], np.int64) for name in ("token_ids", "padding_mask"))
        return compiled({"input_ids": ids, "attention_mask": mask})[0]

    return run


def converted(checkpoint_dir: str) -> Any:
    """OpenVINO's model, not yet compiled."""
    model = LastHiddenState(DebertaV2Model.from_pretrained(checkpoint_dir, dtype=torch.float32)).eval()
    with torch.no_grad():
        return openvino.convert_model(model, example_input=example())
