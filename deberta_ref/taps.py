"""The intermediate values of a forward pass, by name. Chapter 9 of spec/, clause VEC-TAPS."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref import model
from deberta_ref.config import Config
from deberta_ref.inputs import Batch
from deberta_ref.params import Params
from deberta_ref.precision import Array, DType, compute_dtype

FIRST = {"embeddings": "BTD", "relative_embeddings": "RD", "relative_row": "TT"}
"""The taps before the layers, in order, with their axes."""

LAYER = {
    "attention.query": "BHTd",
    "attention.key": "BHTd",
    "attention.value": "BHTd",
    "attention.relative_query": "HRd",
    "attention.relative_key": "HRd",
    "attention.c2c": "BHTT",
    "attention.c2p": "BHTT",
    "attention.p2c": "BHTT",
    "attention.scores": "BHTT",
    "attention.probs": "BHTT",
    "attention.context": "BTD",
    "attention.output": "BTD",
    "feedforward.inner": "BTF",
    "output": "BTD",
}
"""The taps of each layer, in order, with their axes; their names begin with ``layers.n.``."""

LAST = {"output": "BTD"}
"""The tap after the layers."""


def tap_axes(config: Config) -> dict[str, str]:
    """The axes of every tap by its name, in the order of the computation: a letter an axis, as in chapter 0."""
    # VEC-TAPS
    layers = {f"layers.{n}.{name}": axes for n in range(config.num_layers) for name, axes in LAYER.items()}
    return {**FIRST, **layers, **LAST}


def trace(params: Params, inputs: Any, dtype: Any = None, *, allow_long: bool = False) -> dict[str, Any]:
    """Every tap of the specification, name -> array, in the order of the computation.

    The arguments are those of ``forward``, and ``output`` equals its result bit for bit. Every other tap has zeros
    where a token, or a token of a pair, is padded. ``relative_row`` is of integers, everything else of ``dtype``.
    """
    return record(model, params, inputs, dtype, allow_long=allow_long)


def record(
    module: ModuleType, params: Params, inputs: Any, dtype: Any = None, *, allow_long: bool = False
) -> dict[str, Any]:
    """``trace`` of the model in ``module``: ``deberta_ref.model``, or a variant of it."""
    batch = module.pack(inputs, params, allow_long=allow_long)
    taps = _empty(params.config, batch, compute_dtype(dtype, params.dtype))
    for examples, part in batch.parts():
        with np.errstate(all="ignore"):  # VEC-TAPS: the very computation of `forward`
            module.encode(params, part, taps["output"].dtype, tap=_Recorder(params.config, taps, examples, part))
    return taps


def record_layer(
    module: ModuleType, params: Params, n: int, inputs: Any, dtype: Any = None, *, allow_long: bool = False
) -> dict[str, Any]:
    """The taps of layer ``n`` alone, by the names that they have in ``record``.

    ``inputs`` maps ``x``, the hidden state that comes in, to (B, T, D), ``relative_embeddings``, normalised, to (R, D)
    and ``padding_mask`` to (B, T).
    """
    config, mask = params.config, np.asarray(inputs["padding_mask"])
    batch = module.pack({"token_ids": np.ones_like(mask), "padding_mask": mask}, params, allow_long=allow_long)
    taps = _empty(config, batch, compute_dtype(dtype, params.dtype))
    recorder, dtype = _Recorder(config, taps, slice(None), batch), taps["output"].dtype
    x = np.concatenate([inputs["x"][batch.mask], np.zeros((1, config.hidden_dim))]).astype(dtype)  # (N + 1, D)
    relative = np.asarray(inputs["relative_embeddings"], dtype)  # (R, D)
    row = module.relative_row(batch.length, config)  # (T, T)
    sequences = [(s.tokens, row[s.positions][:, s.positions]) for s in batch.sequences]
    prefix = f"layers.{n}."
    with np.errstate(all="ignore"):
        module.encoder_layer(
            params.layers[n], config, x, relative, sequences, lambda name, value: recorder(prefix + name, value)
        )
    return {name: tap for name, tap in taps.items() if name.startswith(prefix)}


def _empty(config: Config, batch: Batch, dtype: DType) -> dict[str, Any]:
    """Every tap of a batch, zeros."""
    B, T = batch.mask.shape
    sizes = {"B": B, "T": T, "D": config.hidden_dim, "H": config.num_heads, "d": config.head_dim}
    sizes |= {"R": config.num_relative, "F": config.intermediate_dim}
    return {
        name: np.zeros([sizes[axis] for axis in axes], np.intp if name == "relative_row" else dtype)
        for name, axes in tap_axes(config).items()
    }


class _Recorder:
    """Lays out what ``encode`` hands over for some examples: packed tokens back to their examples and positions."""

    def __init__(self, config: Config, taps: dict[str, Any], examples: slice, batch: Batch) -> None:
        self.batch = batch
        self.axes = tap_axes(config)
        self.taps = {name: tap[examples] if self.axes[name][0] == "B" else tap for name, tap in taps.items()}
        self.seen = dict.fromkeys(self.axes, 0)  # heads so far of all sequences, for the taps of pairs

    def __call__(self, name: str, value: Array) -> None:
        batch, laid_out = self.batch, self.taps[name]
        match self.axes[name]:
            case "BTD" | "BTF" if name == "output":
                laid_out[...] = value[batch.index]  # VEC-PADDED: as `forward` has it; the others keep their zeros
            case "BTD" | "BTF":
                laid_out[batch.mask] = value[:-1]
            case "BHTd":
                laid_out.swapaxes(1, 2)[batch.mask] = value[:, :-1].swapaxes(0, 1)
            case "BHTT":
                n, h = divmod(self.seen[name], laid_out.shape[1])
                sequence = batch.sequences[n]
                positions = np.arange(batch.length)[sequence.positions]
                laid_out[sequence.example, h : h + len(value), positions[:, None], positions] = value.transpose(1, 2, 0)
                self.seen[name] += len(value)
            case _:
                laid_out[...] = value
