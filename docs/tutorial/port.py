"""DeBERTaV3 in PyTorch, written from spec/ alone; docs/tutorial.md is about it."""  # noqa: INP001

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear


def bucket(distance: Tensor, m: int, M: int) -> Tensor:
    """Chapter 3: up to m the distance itself, beyond it a logarithm."""
    fits = lambda size, t: size ** (m - 1) * m**t <= (M - 1) ** t * m ** (m - 1)
    far = [m + next(t for t in itertools.count() if fits(size, t)) for size in range(m + 1, int(distance.max()) + 1)]
    return distance.sign() * torch.tensor([*range(m + 1), *far])[distance.abs()]


def load(checkpoint_dir: str) -> Callable:
    """Read a checkpoint; returns run(inputs), which returns every tap of chapter 9."""
    config = json.loads(Path(checkpoint_dir, "config.json").read_text())
    weights = load_file(Path(checkpoint_dir, "model.safetensors"))
    H, M, bucket_size = (config[k] for k in ("num_attention_heads", "max_position_embeddings", "position_buckets"))
    both = lambda name: (weights[f"{name}.weight"], weights[f"{name}.bias"])
    norm = lambda x, name: layer_norm(x, x.shape[-1:], *both(name), eps=1e-7)
    heads = lambda x, name: linear(x, *both(name)).unflatten(-1, (H, -1)).transpose(-3, -2)  # (…, T, D) → (…, H, T, d)

    def layer(name: str, x: Tensor, relative: Tensor, row: Tensor, mask: Tensor, tap: Callable) -> Tensor:
        own = f"{name}.attention.self"
        query, key, value = (tap(f"attention.{p}", heads(x, f"{own}.{p}_proj")) for p in ("query", "key", "value"))
        rq, rk = (tap(f"attention.relative_{p}", heads(relative, f"{own}.{p}_proj")) for p in ("query", "key"))
        row = row.expand(*query.shape[:2], -1, -1)
        c2c = tap("attention.c2c", query @ key.mT)
        c2p = tap("attention.c2p", (query @ rk.mT).gather(-1, row))
        p2c = tap("attention.p2c", (key @ rq.mT).gather(-1, row.mT).mT)
        scores = tap("attention.scores", (c2c + c2p + p2c) / math.sqrt(3 * query.shape[-1]))
        probs = tap("attention.probs", scores.masked_fill(mask[:, None, None] == 0, torch.finfo().min).softmax(-1))
        context = tap("attention.context", (probs @ value).transpose(1, 2).flatten(-2))
        x = x + linear(context, *both(f"{name}.attention.output.dense"))
        x = tap("attention.output", norm(x, f"{name}.attention.output.LayerNorm"))
        inner = tap("feedforward.inner", gelu(linear(x, *both(f"{name}.intermediate.dense"))))
        return tap("output", norm(x + linear(inner, *both(f"{name}.output.dense")), f"{name}.output.LayerNorm"))

    @torch.inference_mode()
    def run(inputs: dict) -> dict[str, Tensor]:
        token_ids, mask = (torch.as_tensor(inputs[name]) for name in ("token_ids", "padding_mask"))
        taps, T = {}, token_ids.shape[1]
        distance = torch.arange(T)[:, None] - torch.arange(T)
        row = taps["relative_row"] = (bucket(distance, bucket_size // 2, M) + bucket_size).clamp(0, 2 * bucket_size - 1)
        relative = taps["relative_embeddings"] = norm(weights["encoder.rel_embeddings.weight"], "encoder.LayerNorm")
        x = taps["embeddings"] = norm(weights["embeddings.word_embeddings.weight"][token_ids], "embeddings.LayerNorm")
        for n in range(config["num_hidden_layers"]):
            tap = lambda name, value, n=n: taps.setdefault(f"layers.{n}.{name}", value)
            x = layer(f"encoder.layer.{n}", x, relative, row, mask, tap)
        return {**taps, "output": x}

    return run
