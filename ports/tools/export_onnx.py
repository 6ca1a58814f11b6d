"""Export transformers' DebertaV2Model to ONNX.

    python ports/tools/export_onnx.py CHECKPOINT [FILE]

CHECKPOINT is a directory of the Hugging Face layout; FILE is CHECKPOINT/onnx/model.onnx, where transformers.js looks
for it, unless another is named. The graph takes ``input_ids`` and ``attention_mask``, int64, of any B and T, and gives
``last_hidden_state``. PyTorch has two exporters: the newer one, its default and ours, and that of TorchScript, ten
times faster here, which EXPORTER=legacy in the environment asks for. They need ``pip install onnx onnxscript``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from transformers import DebertaV2Model

AXES = {0: "batch", 1: "tokens"}
"""What may be of any size, by axis: an exporter that is not told makes constants of both."""


class LastHiddenState(torch.nn.Module):
    """The model with two inputs and one output."""

    def __init__(self, model: Any) -> None:  # noqa: D107 - the class says it
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """The last hidden state, (B, T, D)."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def example() -> dict[str, Any]:
    """Inputs to trace with. With one token, the newer exporter takes T for the constant 1, without a word."""
    return {name: torch.ones(2, 5, dtype=torch.long) for name in ("input_ids", "attention_mask")}


def export(checkpoint_dir: str, file: str, dtype: str = "float32") -> None:
    """Write the ONNX file, and its parent directory if there is none."""
    model = LastHiddenState(DebertaV2Model.from_pretrained(checkpoint_dir, dtype=getattr(torch, dtype))).eval()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    inputs = example()
    options: dict[str, Any] = {"input_names": list(inputs), "output_names": ["last_hidden_state"], "verbose": False}
    if os.environ.get("EXPORTER") == "legacy":
        options |= {"dynamo": False, "dynamic_axes": dict.fromkeys((*inputs, "last_hidden_state"), AXES)}
    else:
        axes = {axis: torch.export.Dim(name) for axis, name in AXES.items()}
        options |= {"dynamo": True, "dynamic_shapes": dict.fromkeys(inputs, axes), "external_data": False}
    torch.onnx.export(model, tuple(inputs.values()), file, **options)


def main() -> None:
    """Export one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args()
    export(str(options.checkpoint), str(options.file or options.checkpoint / "onnx" / "model.onnx"))


if __name__ == "__main__":
    main()
