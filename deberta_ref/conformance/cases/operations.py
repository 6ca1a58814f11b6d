"""Single operations: what the suite ``ops`` asks. Chapters 3, 4 and 6 of spec/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from deberta_ref.config import Config
from deberta_ref.ops import gather_rows, mT
from deberta_ref.params import Linear, Norm

Arrays = Mapping[str, Any]


def _linear(model: ModuleType, a: Arrays) -> Any:
    """``x`` (n, in), ``weight`` (out, in), ``bias`` (out,) -> (n, out)."""
    return model.linear(a["x"], Linear(a["weight"], a["bias"]))


def _layer_norm(model: ModuleType, a: Arrays) -> Any:
    """``x`` (n, D), ``scale`` (D,), ``bias`` (D,) -> (n, D), with EPSILON."""
    return model.layer_norm(a["x"], Norm(a["scale"], a["bias"]))


def _gelu(model: ModuleType, a: Arrays) -> Any:
    """``x`` (n,) -> (n,)."""
    return model.gelu(a["x"])


def _softmax(model: ModuleType, a: Arrays) -> Any:
    """``x`` (n, T) and ``mask`` (n, T), 1 for a valid key -> (n, T); where the mask is 0 nothing is judged."""
    result = np.zeros_like(a["x"])
    for x, mask, probs in zip(a["x"], a["mask"].astype(bool), result, strict=True):
        probs[mask] = model.softmax(x[mask])
    return result


def _gather_c2p(_model: ModuleType, a: Arrays) -> Any:
    """``products`` (H, T, R) of queries with relative keys, ``row`` (T, T) -> (H, T, T): c2p."""
    return gather_rows(a["products"], a["row"])


def _gather_p2c(_model: ModuleType, a: Arrays) -> Any:
    """``products`` (H, T, R) of keys with relative queries, ``row`` (T, T) -> (H, T, T): p2c, query before key."""
    return mT(gather_rows(a["products"], a["row"].T))


def _row(model: ModuleType, a: Arrays) -> Any:
    """``distance`` (n,), ``bucket_size`` and ``max_sequence_length`` (1,) -> (n,): rows, in 0 … 2 · bucket_size − 1."""
    sizes = {name: int(a[name][0]) for name in ("bucket_size", "max_sequence_length")}
    distance = np.asarray(a["distance"])
    rows = model.relative_row(int(abs(distance).max()) + 1, Config(1, 1, 1, 1, 1, **sizes))
    return rows[np.maximum(distance, 0), np.maximum(-distance, 0)]  # the pairs (δ, 0) and (0, −δ)


OPERATIONS: Mapping[str, Callable[[ModuleType, Arrays], Any]] = MappingProxyType(
    {
        "linear": _linear,
        "layer_norm": _layer_norm,
        "gelu": _gelu,
        "softmax": _softmax,
        "gather_c2p": _gather_c2p,
        "gather_p2c": _gather_p2c,
        "row": _row,
    }
)
"""The operations by name; each says what its inputs and its result are."""


def operation(model: ModuleType, name: str, inputs: Arrays, dtype: Any) -> Any:
    """The result of an operation of ``model``, with floating-point inputs cast to ``dtype`` first."""
    cast = {key: x.astype(dtype) if x.dtype.kind == "f" else x for key, x in inputs.items()}
    with np.errstate(all="ignore"):
        return OPERATIONS[name](model, cast)
