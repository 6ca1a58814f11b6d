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
    hidden state. All of its layers are computed.
    """
    found, calls, output = _heard(model, call)
    found["relative_embeddings"] = [found["relative_embeddings"][0].squeeze(0)]
    args, kwargs = calls["gather"][0][0]
    found["relative_row"] = [kwargs["index"][0] if "index" in kwargs else args[2][0]]
    for n in range(len(model.encoder.layer)):
        mine = {
            "bmm": calls["bmm"][4 * n],
            "gather": calls["gather"][2 * n : 2 * n + 2],
            "softmax": calls["softmax"][n],
        }
        found |= _attention(found, n, num_heads, mine, scaled=scaled)
    return _arrays({**found, "output": [output]})


def layer_taps(model: Any, n: int, num_heads: int, call: Any, *, scaled: bool) -> dict[str, Any]:
    """The taps of layer ``n``, which is all that ``call(model)`` computes."""
    found, calls, _ = _heard(model, call)
    mine = {"bmm": calls["bmm"][0], "gather": calls["gather"], "softmax": calls["softmax"][0]}
    return _arrays(found | _attention(found, n, num_heads, mine, scaled=scaled))


def _heard(model: Any, call: Any) -> tuple[dict[str, Any], Any, Any]:
    """What the modules give, what some functions were called with, and the result, while ``call(model)`` runs."""
    heard: dict[str, list[Any]] = defaultdict(list)
    handles = _listen(model, heard)
    try:
        with torch.no_grad(), _Calls("bmm", "gather", "softmax") as calls:
            output = call(model)
    finally:
        for handle in handles:
            handle.remove()
    return dict(heard), calls.made, output


def _attention(found: Any, n: int, num_heads: int, calls: Any, *, scaled: bool) -> dict[str, Any]:
    """The taps of a layer's attention, heads apart, from what was heard of its modules and its function calls."""
    tap = f"layers.{n}.attention."
    taps: dict[str, Any] = {"value": _heads(found[tap + "value"][0], num_heads)}
    for name in ("query", "key"):
        content, relative = found[tap + name]  # one map serves both, content first
        taps[name], taps[f"relative_{name}"] = (_heads(x, num_heads) for x in (content, relative.squeeze(0)))
    scale = (3 * taps["query"].shape[-1]) ** 0.5 if scaled else 1
    pairs = {
        "c2c": calls["bmm"][1] * scale,
        "c2p": calls["gather"][0][1],
        "p2c": calls["gather"][1][1].transpose(-1, -2),
        "scores": calls["softmax"][0][0][0],
        "probs": calls["softmax"][1],
    }
    taps |= {name: x.reshape(-1, num_heads, *x.shape[-2:]) for name, x in pairs.items()}
    return {tap + name: [x] for name, x in taps.items()}


def _arrays(found: dict[str, Any]) -> dict[str, Any]:
    return {name: x.detach().contiguous().numpy() for name, (x, *_) in found.items()}


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
