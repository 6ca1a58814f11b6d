"""Every tap of a DeBERTa that runs in PyTorch, transformers' or the authors', without a change to its code.

Module outputs are heard through hooks; what attention computes between its modules, through the PyTorch functions that
it calls: bmm for c2c, gather for c2p and p2c and the rows, softmax for scores and probs.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Calls(TorchFunctionMode):
    """The arguments and results of every call of some functions, by name, in order."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.made: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name in self.made:
            self.made[name].append(((args, kwargs or {}), result.clone()))
        return result


def taps(model: Any, num_heads: int, call: Any, *, scaled: bool) -> dict[str, Any]:
    """Name -> array, by the names of chapter 9 of spec/; ``scaled`` says that c2c comes out of bmm divided by sqrt(3d).

    ``model`` has ``embeddings`` and ``encoder`` as both implementations name them; ``call(model)`` gives its last
    hidden state.
    """
    heard: dict[str, list[Any]] = defaultdict(list)
    handles = _listen(model, heard)
    try:
        with torch.no_grad(), _Calls("bmm", "gather", "softmax") as calls:
            output = call(model)
    finally:
        for handle in handles:
            handle.remove()
    found = {name: values[0] for name, values in heard.items()}
    found["relative_embeddings"] = found["relative_embeddings"].squeeze(0)
    args, kwargs = calls.made["gather"][0][0]
    found["relative_row"] = kwargs["index"][0] if "index" in kwargs else args[2][0]
    for n in range(len(model.encoder.layer)):
        tap = f"layers.{n}.attention."
        for name in ("query", "key"):
            content, relative = heard[tap + name]  # one map serves both, content first
            found[tap + name], found[f"{tap}relative_{name}"] = (
                _heads(x, num_heads) for x in (content, relative.squeeze(0))
            )
        found[tap + "value"] = _heads(found[tap + "value"], num_heads)
        scale = (3 * found[tap + "query"].shape[-1]) ** 0.5 if scaled else 1
        (scores, *_), _ = calls.made["softmax"][n][0]
        pairs = {
            "c2c": calls.made["bmm"][4 * n][1] * scale,
            "c2p": calls.made["gather"][2 * n][1],
            "p2c": calls.made["gather"][2 * n + 1][1].transpose(-1, -2),
            "scores": scores,
            "probs": calls.made["softmax"][n][1],
        }
        found |= {tap + name: x.reshape(len(output), num_heads, *x.shape[-2:]) for name, x in pairs.items()}
    found["output"] = output
    return {name: value.detach().contiguous().numpy() for name, value in found.items()}


def _listen(model: Any, heard: dict[str, list[Any]]) -> list[Any]:
    """Have the modules' outputs, or inputs, appended under their taps' names; the handles that end it."""
    outputs = {"embeddings": model.embeddings, "relative_embeddings": model.encoder.LayerNorm}
    inputs = {}
    for n, layer in enumerate(model.encoder.layer):
        for name in ("query", "key", "value"):
            outputs[f"layers.{n}.attention.{name}"] = getattr(layer.attention.self, f"{name}_proj")
        inputs[f"layers.{n}.attention.context"] = layer.attention.output.dense
        outputs[f"layers.{n}.attention.output"] = layer.attention.output.LayerNorm
        outputs[f"layers.{n}.feedforward.inner"] = layer.intermediate
        outputs[f"layers.{n}.output"] = layer.output.LayerNorm

    def output_of(name: str) -> Any:
        return lambda _module, _given, result: heard[name].append(result.detach().clone())

    def input_of(name: str) -> Any:
        return lambda _module, given, _result: heard[name].append(given[0].detach().clone())

    handles = [module.register_forward_hook(output_of(name)) for name, module in outputs.items()]
    return handles + [module.register_forward_hook(input_of(name)) for name, module in inputs.items()]


def _heads(x: Any, num_heads: int) -> Any:
    """(…, T, D) -> (…, H, T, d)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(-2, -3)
