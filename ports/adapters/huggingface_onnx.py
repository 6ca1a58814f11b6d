"""transformers' DebertaV2Model, exported to ONNX, in ONNX Runtime, as a port: load(checkpoint_dir) -> run.

``tools/export_onnx.py`` writes the model to a temporary file, once a checkpoint; the session then takes any B and T. In
float32 on the CPU: ONNX Runtime has no erf in float64. Install it with ``pip install onnx onnxscript onnxruntime``. The
last hidden state alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from export_onnx import export

NAME = "onnxruntime"
"""The package that is run, by its name on PyPI."""


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D)."""
    with tempfile.TemporaryDirectory() as directory:
        file = f"{directory}/model.onnx"
        export(checkpoint_dir, file, dtype)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (np.asarray(inputs[name], np.int64) for name in ("token_ids", "padding_mask"))
        return session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})[0]

    return run
