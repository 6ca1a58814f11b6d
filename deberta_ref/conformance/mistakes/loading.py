"""The mistakes in loading a checkpoint, each as a function on the parameters: what is loaded instead of what is there.

Data, as the mutants are: a port that reads right parameters wrongly gives what the reference gives with these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

import numpy as np

from deberta_ref.config import Config
from deberta_ref.conformance.mistakes.mistake import Arrays, Change, Loaded, Mistake

MAPS = {
    "query": "ATT-PROJECTIONS",
    "key": "ATT-PROJECTIONS",
    "value": "ATT-PROJECTIONS",
    "attention_output": "LAYER-ATTENTION",
    "up": "LAYER-INNER",
    "down": "LAYER-FEEDFORWARD",
}
"""The linear maps of a layer, and the clause that each is of."""

NORMS = {
    "embeddings_norm": "EMB-NORM",
    "relative_norm": "REL-NORM",
    "attention_norm": "LAYER-ATTENTION",
    "feedforward_norm": "LAYER-FEEDFORWARD",
}
"""The layer normalisations, and the clause that each is of."""


def each(name: str, function: Callable[[Any], Any]) -> Change:
    """The function on every array whose name is, or ends in, what the regular expression ``name`` matches."""
    pattern = re.compile(rf"(?:.*\.)?(?:{name})")
    return lambda arrays, _config: {n: function(a) for n, a in arrays.items() if pattern.fullmatch(n)}


def untransposed(weight: Any) -> Any:
    """Numbers that are kept as (in, out), read as (out, in)."""
    return np.ascontiguousarray(weight.T).reshape(weight.shape)


def heads_interleaved(name: str) -> Change:
    """The rows of this map as if the features were (d, H), not (H, d): its outputs, weight and bias."""

    def change(arrays: Arrays, config: Config) -> Arrays:
        order = np.arange(config.hidden_dim).reshape(config.num_heads, -1).T.ravel()
        return {n: a[order] for n, a in arrays.items() if n.split(".")[-2:-1] == [name]}

    return change


def columns_interleaved(arrays: Arrays, config: Config) -> Arrays:
    """The columns of the attention's output map as if the contexts were merged as (d, H), the other way round."""
    order = np.arange(config.hidden_dim).reshape(config.num_heads, -1).T.ravel()
    return {n: a[:, order] for n, a in arrays.items() if n.endswith(".attention_output.weight")}


def renamed(names: Mapping[str, str]) -> Change:
    """Every map or normalisation of a layer by another one's: ``names`` says whose parameters each has."""

    def change(arrays: Arrays, _config: Config) -> Arrays:
        return {
            name: arrays[".".join([*path[:-2], names[path[-2]], path[-1]])]
            for name in arrays
            for path in [name.split(".")]
            if len(path) > 2 and path[-2] in names
        }

    return change


def fused_by_head(arrays: Arrays, config: Config) -> Arrays:
    """Query, key and value out of one fused map, kept head by head (H, 3, d), and read as (3, H, d)."""
    found: Arrays = {}
    for n in range(config.num_layers):
        for leaf in ("weight", "bias"):
            names = [f"layers.{n}.{module}.{leaf}" for module in ("query", "key", "value")]
            by_head = [arrays[name].reshape(config.num_heads, config.head_dim, -1) for name in names]
            fused = np.stack(by_head, axis=1).reshape(3, *arrays[names[0]].shape)
            found |= dict(zip(names, fused, strict=True))
    return found


def layers(order: Callable[[int], list[int]]) -> Change:
    """The layers' parameters in another order: ``order`` of their number says which one each has."""

    def change(arrays: Arrays, config: Config) -> Arrays:
        source = dict(enumerate(order(config.num_layers)))
        return {
            name: arrays[".".join(["layers", str(source[int(n)]), *rest])]
            for name in arrays
            if name.startswith("layers.")
            for _, n, *rest in [name.split(".")]
        }

    return change


def bfloat16(x: Any) -> Any:
    """The nearest numbers that bfloat16 has, of float32; float32 still."""
    bits = x.astype(np.float32).view(np.uint32)
    bits = bits + (0x7FFF + ((bits >> 16) & 1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _words(name: str) -> str:
    return name.replace("_", "-")


def _said(name: str) -> str:
    return {"attention_output": "attention's output"}.get(name, name.partition("_")[0])


LOADINGS = (
    *(
        Mistake(
            f"loaded-{_words(name)}-transposed",
            clause,
            f"The {_said(name)} map's weight is loaded without being transposed: kept as (in, out), read as (out, in).",
            Loaded(each(rf"{name}\.weight", untransposed)),
        )
        for name, clause in MAPS.items()
    ),
    Mistake(
        "loaded-all-transposed",
        "VEC-FILES",
        "The weights of all linear maps are loaded without being transposed: kept as (in, out), read as (out, in).",
        Loaded(each(rf"(?:{'|'.join(MAPS)})\.weight", untransposed)),
    ),
    *(
        Mistake(
            f"loaded-{one}-{other}-swapped",
            "ATT-PROJECTIONS",
            f"The {one} map has the {other} map's parameters, and the {other} map the {one} map's.",
            Loaded(renamed({one: other, other: one})),
        )
        for one, other in (("query", "key"), ("query", "value"), ("key", "value"))
    ),
    *(
        Mistake(
            f"loaded-fused-as-{'-'.join(order)}",
            "ATT-PROJECTIONS",
            f"A fused map of query, key and value is taken apart as {order[0]}, {order[1]}, {order[2]}.",
            Loaded(renamed(dict(zip(order, ("query", "key", "value"), strict=True)))),
        )
        for order in permutations(("query", "key", "value"))
        if all(one != other for one, other in zip(order, ("query", "key", "value"), strict=True))
    ),
    Mistake(
        "loaded-fused-by-head",
        "ATT-HEADS",
        "A fused map of query, key and value, kept head by head as (H, 3, d), is taken apart as (3, H, d).",
        Loaded(fused_by_head),
    ),
    *(
        Mistake(
            f"loaded-{name}-heads-interleaved",
            "ATT-HEADS",
            f"The outputs of the {name} map are loaded as (d, H), not (H, d).",
            Loaded(heads_interleaved(name)),
        )
        for name in ("query", "key", "value")
    ),
    Mistake(
        "loaded-attention-output-heads-interleaved",
        "ATT-HEADS",
        "The inputs of the attention's output map are loaded as (d, H), not (H, d).",
        Loaded(columns_interleaved),
    ),
    *(
        Mistake(
            f"loaded-{_words(name)}-without-bias",
            clause,
            f"The {_said(name)} map's bias is not loaded: it is zeros.",
            Loaded(each(rf"{name}\.bias", np.zeros_like)),
        )
        for name, clause in MAPS.items()
    ),
    *(
        Mistake(
            f"loaded-{_words(name)}-missing",
            clause,
            f"The {name.partition('_')[0]} normalisation's parameters are not loaded: its scale is 1, its bias 0.",
            Loaded(
                lambda arrays, config, name=name: (  # type: ignore[misc]
                    each(rf"{name}\.scale", np.ones_like)(arrays, config)
                    | each(rf"{name}\.bias", np.zeros_like)(arrays, config)
                )
            ),
        )
        for name, clause in NORMS.items()
    ),
    Mistake(
        "loaded-norms-missing",
        "NORM-DEFINITION",
        "No layer normalisation's parameters are loaded, as where they are named gamma and beta: scale 1, bias 0.",
        Loaded(
            lambda arrays, config: (
                each(r"\w+_norm\.scale", np.ones_like)(arrays, config)
                | each(r"\w+_norm\.bias", np.zeros_like)(arrays, config)
            )
        ),
    ),
    Mistake(
        "loaded-norm-scale-and-bias-swapped",
        "NORM-DEFINITION",
        "The scale and the bias of every layer normalisation are swapped.",
        Loaded(
            lambda arrays, _config: {
                name: arrays[f"{module}.{ {'scale': 'bias', 'bias': 'scale'}[leaf] }"]
                for name in arrays
                for module, _, leaf in [name.rpartition(".")]
                if module.endswith("_norm")
            }
        ),
    ),
    Mistake(
        "loaded-norms-of-a-layer-swapped",
        "LAYER-FEEDFORWARD",
        "The two layer normalisations of a layer have one another's parameters.",
        Loaded(renamed({"attention_norm": "feedforward_norm", "feedforward_norm": "attention_norm"})),
    ),
    Mistake(
        "loaded-embeddings-one-row-late",
        "EMB-LOOKUP",
        "The token embeddings are loaded one row too late: id n has the embedding of id n − 1.",
        Loaded(each("token_embedding", lambda table: np.roll(table, 1, axis=0))),
    ),
    Mistake(
        "loaded-embeddings-one-row-early",
        "EMB-LOOKUP",
        "The token embeddings are loaded one row too early: id n has the embedding of id n + 1.",
        Loaded(each("token_embedding", lambda table: np.roll(table, -1, axis=0))),
    ),
    Mistake(
        "loaded-relative-reversed",
        "REL-ROW",
        "The relative embeddings are loaded from the last row to the first.",
        Loaded(each("relative_embedding", lambda table: table[::-1])),
    ),
    Mistake(
        "loaded-relative-one-row-late",
        "REL-ROW",
        "The relative embeddings are loaded one row too late: row r has what row r − 1 should have.",
        Loaded(each("relative_embedding", lambda table: np.roll(table, 1, axis=0))),
    ),
    Mistake(
        "loaded-relative-one-row-early",
        "REL-ROW",
        "The relative embeddings are loaded one row too early: row r has what row r + 1 should have.",
        Loaded(each("relative_embedding", lambda table: np.roll(table, -1, axis=0))),
    ),
    Mistake(
        "loaded-layers-sorted-as-strings",
        "LAYER-STACK",
        "The layers are loaded in the order of their names as strings, 0, 1, 10, 2, which only 11 or more show.",
        Loaded(layers(lambda count: sorted(range(count), key=str))),
    ),
    Mistake(
        "loaded-layers-one-late",
        "LAYER-STACK",
        "Every layer but the first has the parameters of the one before it.",
        Loaded(layers(lambda count: [0, *range(count - 1)])),
    ),
    Mistake(
        "loaded-layers-one-early",
        "LAYER-STACK",
        "Every layer but the last has the parameters of the one after it.",
        Loaded(layers(lambda count: [*range(1, count), count - 1])),
    ),
    Mistake(
        "loaded-first-layer-twice",
        "LAYER-STACK",
        "The second layer has the first one's parameters.",
        Loaded(layers(lambda count: [0, 0, *range(2, count)][:count])),
    ),
    Mistake(
        "loaded-last-layer-everywhere",
        "LAYER-STACK",
        "All layers have the last one's parameters.",
        Loaded(layers(lambda count: [count - 1] * count)),
    ),
    Mistake(
        "loaded-in-bfloat16",
        "NUM-DTYPE",
        "All parameters are rounded to bfloat16 when they are loaded.",
        Loaded(each(".*", bfloat16)),
    ),
    Mistake(
        "loaded-weights-in-bfloat16",
        "NUM-DTYPE",
        "The weights of linear maps are rounded to bfloat16 when they are loaded.",
        Loaded(each(r"\w+\.weight", bfloat16)),
    ),
    Mistake(
        "loaded-in-float16",
        "NUM-DTYPE",
        "All parameters are rounded to float16 when they are loaded.",
        Loaded(each(".*", lambda array: array.astype(np.float16))),
    ),
)
