"""The intermediate values of a forward pass, recorded by name. Chapter 9 of spec/, clause VEC-TAPS."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref import model
from deberta_ref.config import Config
from deberta_ref.inputs import Batch, Inputs
from deberta_ref.params import Params
from deberta_ref.precision import Array, DType, DTypeLike
from deberta_ref.taps import Tap, at, tap_axes, untapped, watched


def trace(
    params: Params,
    inputs: Inputs,
    dtype: DTypeLike | None = None,
    *,
    allow_long: bool = False,
    taps: Collection[str] | None = None,
) -> dict[str, NDArray[Any]]:
    """Every intermediate value of the forward pass, or those asked for, by the names of spec/09-vectors.md.

    Parameters
    ----------
    params, inputs, dtype, allow_long
        As for ``forward``.
    taps : collection of str, optional
        The names that are wanted, such as ``["layers.0.attention.scores"]``; by default all of them. Values that are
        not wanted take no memory.

    Returns
    -------
    dict of str to array
        In the order of the computation. ``output`` equals the result of ``forward`` bit for bit. All others have zeros
        where a token, or a token of a pair, is padded. ``relative_row`` has integers, everything else ``dtype``.

    Raises
    ------
    ValueError, TypeError
        As ``forward`` does, and for a name that no tap has.

    Examples
    --------
    >>> inputs = {"token_ids": [[1, 30, 2]], "padding_mask": [[1, 1, 1]]}
    >>> taps = trace(from_preset("deberta_v3_demo_en"), inputs, taps=["layers.0.attention.probs"])
    >>> taps["layers.0.attention.probs"].shape                                    # (B, H, T, T)
    (1, 4, 3, 3)
    """
    return record(model, params, inputs, dtype, allow_long=allow_long, taps=taps)


def record(
    module: ModuleType,
    params: Params,
    inputs: Any,
    dtype: Any = None,
    *,
    allow_long: bool = False,
    taps: Collection[str] | None = None,
) -> dict[str, Any]:
    """``trace`` of the model in ``module``: ``deberta_ref.model``, or a variant of it."""
    batch = module.pack(inputs, params, allow_long=allow_long)
    axes = _asked(tap_axes(params.config), taps)
    params, dtype = params.computed_in(dtype)
    found = _zeros(axes, params.config, batch, dtype)
    with watched(dtype, depth=1) as tap:  # VEC-TAPS: the very computation of `forward`
        for examples, part in batch.parts():
            module.encode(params, part, dtype, tap=_Recorder(axes, found, examples, part, tap))
        if "output" in found and not batch.mask.all():
            found["output"][~batch.mask] = module.padded(params, dtype)  # VEC-PADDED: the others keep their zeros
    return found


def record_layer(
    module: ModuleType, params: Params, n: int, inputs: Any, dtype: Any = None, *, allow_long: bool = False
) -> dict[str, Any]:
    """The taps of layer ``n`` alone, by the names that they have in ``record``.

    ``inputs`` maps ``x``, the hidden state that comes in, to (B, T, D), ``relative_embeddings``, normalised, to (R, D)
    and ``padding_mask`` to (B, T).
    """
    config, mask, prefix = params.config, np.asarray(inputs["padding_mask"]), f"layers.{n}."
    batch = module.pack({"token_ids": np.ones_like(mask), "padding_mask": mask}, params, allow_long=allow_long)
    axes = {name: letters for name, letters in tap_axes(config).items() if name.startswith(prefix)}
    params, dtype = params.computed_in(dtype)
    found = _zeros(axes, config, batch, dtype)
    recorder = _Recorder(axes, found, slice(None), batch, untapped)
    x = np.asarray(inputs["x"])[batch.mask].astype(dtype)  # (N, D)
    relative = np.asarray(inputs["relative_embeddings"], dtype)  # (R, D)
    row = module.relative_row(batch.length, config)  # (T, T)
    sequences = [(s, row[s.positions][:, s.positions]) for s in batch.sequences]
    with np.errstate(all="ignore"):
        module.encoder_layer(params.layers[n], config.num_heads, x, relative, sequences, at(recorder, prefix))
    return found


def _asked(axes: dict[str, str], taps: Collection[str] | None) -> dict[str, str]:
    """The taps that are asked for, in the order of the computation; ValueError for a name that none has."""
    if taps is None:
        return axes
    if isinstance(taps, str) or not isinstance(taps, Collection) or any(not isinstance(name, str) for name in taps):
        raise TypeError(f"taps must be a list of names, such as ['output']; got {taps!r}.")
    for name in taps:
        if name not in axes:
            near = " or ".join(difflib.get_close_matches(name, axes, 2, 0.6)) or "layers.0.attention.scores"
            raise ValueError(f"taps must be names of spec/09-vectors.md, such as {near}; got {name!r}.")
    return {name: letters for name, letters in axes.items() if name in set(taps)}


def _zeros(axes: Mapping[str, str], config: Config, batch: Batch, dtype: DType) -> dict[str, Any]:
    """An array of zeros for every tap of a batch."""
    B, T = batch.mask.shape
    sizes = {"B": B, "T": T, "D": config.hidden_dim, "H": config.num_heads, "d": config.head_dim}
    sizes |= {"R": config.num_relative, "F": config.intermediate_dim}
    return {
        name: np.zeros([sizes[letter] for letter in letters], np.intp if name == "relative_row" else dtype)
        for name, letters in axes.items()
    }


class _Recorder:
    """A tap that lays values out: packed tokens go back to their examples and positions.

    ``examples`` are those of the whole batch that ``part`` has.
    """

    def __init__(
        self, axes: Mapping[str, str], taps: Mapping[str, Any], examples: slice, part: Batch, another: Tap
    ) -> None:
        self.axes = axes
        self.taps = {name: tap[examples] if axes[name][0] == "B" else tap for name, tap in taps.items()}
        self.part = part
        self.another = another  # a tap that is shown the same

    def __call__(self, name: str, value: Array, sequence: Any = None, heads: slice = slice(None)) -> Array:
        if name not in self.taps:
            return self.another(name, value)
        laid_out = self.taps[name]
        match self.axes[name]:
            case "BTD" | "BTF":
                laid_out[self.part.mask] = value
            case "BHTd":
                laid_out.swapaxes(1, 2)[self.part.mask] = value.swapaxes(0, 1)
            case "BHTT":
                positions = np.arange(self.part.length)[sequence.positions]
                laid_out[sequence.example, heads][:, positions[:, None], positions] = value
            case _:
                laid_out[...] = value
        return self.another(name, value)
