"""Mistakes made by the grammar, as others are: each has a model, a clause and a sentence."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from deberta_ref.conformance.mistakes.generated import plain
from deberta_ref.conformance.mistakes.generated.edits import (
    Edit,
    edited,
    edits,
    function_of,
    functions,
    gates,
    multiplied,
)
from deberta_ref.conformance.mistakes.mistake import Mistake

PLACES = {
    "forward": "The model",
    "embeddings": "The embeddings",
    "relative_embeddings": "The relative embeddings",
    "buckets": "The buckets of distances",
    "encoder_layer": "A layer",
    "attention": "Attention",
    "content_to_content": "The term c2c",
    "content_to_position": "The term c2p",
    "position_to_content": "The term p2c",
    "attention_block": "The sum and norm after attention",
    "feedforward_block": "The feed-forward block",
    "layer_norm": "Layer normalisation",
    "softmax": "The softmax",
    "split": "Splitting into heads",
    "merged": "Merging the heads",
    "transposed": "Transposing",
    "gathered": "Choosing relative rows",
    "float16": "Rounding",
}
"""What each function of the plain forward pass is, to a reader who has not seen it."""

LAYERS = {0: "the first layer alone", -1: "the last layer alone", 1: "all layers but the first"}

USES: Mapping[str, tuple[str, ...]] = {
    "layer_norm": ("embeddings_norm", "relative_norm", "attention_norm", "feedforward_norm"),
    "buckets": ("c2p_buckets", "p2c_buckets"),
    "split": ("content_split", "relative_split"),
}
"""Functions that are used under several names, each of which a mistake may be in alone."""

OF_A_LAYER = ("attention", "content_to_content", "content_to_position", "position_to_content", "softmax")
BLOCKS = ("attention_block", "feedforward_block", "encoder_layer")
TERMS = ("content_to_content", "content_to_position", "position_to_content")
SHARED = ("terms", "scale", "row")
"""What the terms have in common: a mistake may be in all of them at once."""

TOGETHER = (
    (
        ("feedforward_block", "inner = inner"),
        ("feedforward_block", "y = gelu(inner @ p.down.weight.T + p.down.bias)"),
    ),
    (
        ("attention", "scores = scores"),
        ("attention", "probs = softmax(scores) * pairs"),
    ),
    (
        ("buckets", "bucket_size = config.max_sequence_length"),
        ("buckets", "max_length = config.bucket_size"),
    ),
    (
        ("attention", "c2p = content_to_position(key, relative_key, buckets_c2p, span)"),
        ("attention", "p2c = position_to_content(query, relative_query, buckets_p2c, span)"),
    ),
    (
        ("attention", "relative_query = relative_split(relative @ shared.key.weight.T + shared.key.bias, heads)"),
        ("attention", "relative_key = relative_split(relative @ shared.query.weight.T + shared.query.bias, heads)"),
    ),
    (
        ("attention", "relative_query = relative_split(relative @ shared.query.weight.T, heads)"),
        ("attention", "relative_key = relative_split(relative @ shared.key.weight.T, heads)"),
    ),
    (
        ("attention", "c2p = -content_to_position(query, relative_key, buckets_c2p, span)"),
        ("attention", "p2c = -position_to_content(key, relative_query, buckets_p2c, span)"),
    ),
    (
        ("attention", "c2p = 2 * content_to_position(query, relative_key, buckets_c2p, span)"),
        ("attention", "p2c = 2 * position_to_content(key, relative_query, buckets_p2c, span)"),
    ),
)
"""Lines that one mistake changes together."""

LAST, OTHERS = -1, 1
"""The last layer alone, and all but the first."""


@dataclass(frozen=True, eq=False)
class Generated(Mistake):
    """A mistake in the plain forward pass: changes, and where they are made."""

    changes: tuple[Edit, ...] = ()
    uses: tuple[str, ...] = ()  # the names under which a changed function is used; all if there is none
    layer: int | None = None  # the one layer that has it; None for all

    def model(self) -> ModuleType:
        """The plain forward pass with it, a new copy each time."""
        module = types.ModuleType("plain")
        module.__dict__.update(vars(plain))
        codes = [_code(self.changes_of(name)) for name in dict.fromkeys(c.function for c in self.changes)]
        if self.layer is None and not self.uses:
            for code in (_right(), *codes):
                exec(code, module.__dict__)  # noqa: S102 - the package's own source, rewritten by itself
            changed = {c.function for c in self.changes}
            for name, names in USES.items():
                if name in changed:
                    module.__dict__.update(dict.fromkeys(names, module.__dict__[name]))
            return _knowing_d(module)
        wrong = dict(vars(plain))
        for code in (_right(), *codes):
            exec(code, wrong)  # noqa: S102
        exec(_right(), module.__dict__)  # noqa: S102
        if self.uses:
            (function,) = {c.function for c in self.changes}
            module.__dict__.update(dict.fromkeys(self.uses, wrong[function]))
            return _knowing_d(module)
        for name, names in USES.items():
            if name in {c.function for c in self.changes}:
                wrong.update(dict.fromkeys(names, wrong[name]))
        one, other, layer = module.__dict__["encoder_layer"], wrong["encoder_layer"], self.layer

        def encoder_layer(n: int, p: Any, shared: Any, config: Any, *others: Any) -> Any:
            has = n > 0 if layer == OTHERS else n == (layer or 0) % config.num_layers
            return (other if has else one)(n, p, shared, config, *others)

        module.__dict__["encoder_layer"] = encoder_layer
        return _knowing_d(module)

    @staticmethod
    def of_gates(gates_: Sequence[Edit], factors: Sequence[str]) -> Generated:
        """These steps multiplied by these factors, which may be expressions of d, the features of a head."""
        said = [
            f"{PLACES[gate.function]}: the port multiplies `{gate.old}` by {_number(factor)}."
            for gate, factor in zip(gates_, factors, strict=True)
        ]
        names = [f"{g.function}:{g.old}:* {_number(f)}" for g, f in zip(gates_, factors, strict=True)]
        clauses = dict.fromkeys(gate.clause for gate in gates_)
        changes = tuple(multiplied(gate, factor) for gate, factor in zip(gates_, factors, strict=True))
        return Generated(f"solved:{' and '.join(names)}", " + ".join(clauses), " ".join(said), changes=changes)

    def changes_of(self, function: str) -> tuple[Edit, ...]:
        """Those of one function."""
        return tuple(change for change in self.changes if change.function == function)

    def __add__(self, other: Mistake) -> Mistake:
        """Both at once; ValueError if they cannot be combined."""
        if not isinstance(other, Generated) or (self.layer, self.uses) != (other.layer, other.uses):
            raise ValueError(f"{self.id} and {other.id} cannot be made at once.")
        return Generated(
            f"{self.id} + {other.id}",
            " + ".join(dict.fromkeys((self.clause, other.clause))),
            f"{self.sentence} {other.sentence}",
            changes=(*self.changes, *other.changes),
            uses=self.uses,
            layer=self.layer,
        )


def _number(factor: str) -> str:
    """A factor in words: its expression, or four digits."""
    try:
        return f"{float(factor):.4g}"
    except ValueError:
        return factor


def _knowing_d(module: ModuleType) -> ModuleType:
    """The module, which knows the features of a head as d, since factors may depend on it."""
    forward = module.__dict__["forward"]

    def knowing(params: Any, *others: Any, **more: Any) -> Any:
        module.__dict__["d"] = params.config.head_dim
        with np.errstate(all="ignore"):  # a mistake may divide by zero
            return forward(params, *others, **more)

    module.__dict__["forward"] = knowing
    return module


@cache
def gated() -> Any:
    """The plain forward pass with a factor, GATES[n], at each of its gates: 1 at first."""
    module = Generated(changes=tuple(multiplied(gate, f"GATES[{n}]") for n, gate in enumerate(gates()))).model()
    module.__dict__["GATES"] = np.ones(len(gates()))
    return module


def _code(changes: tuple[Edit, ...]) -> types.CodeType:
    if len(changes) == 1 and changes[0] in _CODES:
        return _CODES[changes[0]]
    tree = ast.Module([edited(changes[0].function, changes)], [])
    code = compile(ast.fix_missing_locations(tree), "<a mistake>", "exec")
    if len(changes) == 1:
        _CODES[changes[0]] = code
    return code


_CODES: dict[Edit, types.CodeType] = {}


@cache
def _right() -> types.CodeType:
    tree = ast.Module([function_of(name) for name in functions()], [])
    return compile(ast.fix_missing_locations(tree), "<the plain forward pass>", "exec")


@cache
def everywhere() -> tuple[Generated, ...]:
    """Each change in every place where its function is used."""
    return (*(_made(edit) for edit in edits()), *_in_all_terms(), *_together())


@cache
def in_places() -> tuple[Generated, ...]:
    """Each change in the first or the last layer alone, or under one of the names of its function."""
    found: list[Generated] = []
    for edit in edits():
        found += [_made(edit, uses=(name,)) for name in USES.get(edit.function, ())]
        if edit.function in (*OF_A_LAYER, *BLOCKS):
            found += [_made(edit, layer=layer) for layer in (0, LAST, OTHERS)]
    return tuple(found)


def _in_all_terms() -> Iterator[Generated]:
    """The same change of what the terms have in common, in all that have it, or in both of positions."""
    same: dict[tuple[str, str], dict[str, Edit]] = {}
    for edit in edits():
        name = edit.old.partition(" = ")[0]
        if edit.function in TERMS and name in SHARED:
            text = re.sub("relative_query|query|key", "_", edit.new).replace("-bucket", "bucket")
            same.setdefault((name, text), {})[edit.function] = edit
    for (name, _), alike in same.items():
        if len(alike) > 1:
            yield _made(*alike.values())
        if name != "row" and {*TERMS[1:]} <= alike.keys():
            yield _made(*(alike[term] for term in TERMS[1:]))


def _together() -> Iterator[Generated]:
    """Changes of several lines that are one mistake."""
    by_text = {(edit.function, edit.new): edit for edit in edits()}
    for lines in TOGETHER:
        yield _made(*(by_text[line] for line in lines))
    keys_only = by_text["attention", "pairs = mask[:, None, None, :]"]
    for edit in edits():  # whether padded tokens attend matters to these alone
        if edit.function == "softmax" or (edit.function == "attention" and edit.old.startswith(("probs", "context"))):
            yield _made(edit, keys_only)


def _made(*changes: Edit, uses: tuple[str, ...] = (), layer: int | None = None) -> Generated:
    first = changes[0]
    names = " and ".join(dict.fromkeys(c.function for c in changes))
    where = f", in {uses[0]} alone" if uses else "" if layer is None else f", in {LAYERS[layer]}"
    shared = all(change.function in TERMS for change in changes)  # the same change of each
    described = changes[:1] if shared or len({c.function for c in changes}) > 1 else changes
    places = " and ".join(dict.fromkeys(PLACES[c.function] for c in (changes if shared else described)))
    said = " and ".join(_said(change) for change in described)
    place = f"@{uses[0]}" if uses else "" if layer is None else f"@layer{layer}"
    identity = f"generated:{names.replace(' and ', '+')}{place}:{first.old.partition(' = ')[0]}:{first.new}"
    return Generated(
        identity, first.clause, f"{places}{where}: the port {said}.", changes=changes, uses=uses, layer=layer
    )


def _said(change: Edit) -> str:
    if change.new.startswith("(left out"):
        return f"leaves out `{change.old}`"
    return f"computes `{change.new}` where `{change.old}` is right"
