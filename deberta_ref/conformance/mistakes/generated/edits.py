"""The changes that the grammar makes in the plain forward pass: of each line, of each part of it."""

from __future__ import annotations

import ast
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, cast

from deberta_ref.conformance.mistakes.generated import plain
from deberta_ref.conformance.mistakes.generated.grammar import (
    ALIASES,
    CALLS,
    COMPARISONS,
    EPSILONS,
    FACTORS,
    FIELDS,
    FILLS,
    MAPS,
    NAMES,
    OPERATORS,
    STATEMENTS,
)

Change = Callable[..., ast.AST]
"""What stands in place of a node of the syntax tree."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of one function."""

    function: str
    node: int  # its number, as ast.walk counts
    change: Change
    clause: str
    old: str  # the line as it is
    new: str  # and as it becomes


@cache
def edits() -> tuple[Edit, ...]:
    """Every change that the grammar makes, function by function: always the same ones."""
    return tuple(_edits())


def _edits() -> Iterator[Edit]:
    for function in functions():
        seen: set[tuple[str, str]] = set()
        for edit in _of(function):
            if edit.new != edit.old and (edit.old, edit.new) not in seen:
                seen.add((edit.old, edit.new))
                yield edit


WITHOUT_GATE = {
    "buckets",
    "gathered",
    "transposed",
    "float16",
    "split",
    "merged",
    "forward",
    "encoder_layer",
    "relative_embeddings",
}
"""Functions of whole numbers, or that move numbers alone, or whose results have a gate where they are used."""


@cache
def gates() -> list[Edit]:
    """A factor at each step: the last line that assigns a name in a function, each bias, and each epsilon."""
    found = []
    for function in functions():
        if function in WITHOUT_GATE:
            continue
        tree = function_of(function)
        numbers = {id(node): n for n, node in enumerate(ast.walk(tree))}
        last = {ast.unparse(s.targets[0]): s for s in ast.walk(tree) if isinstance(s, ast.Assign)}
        for name, statement in last.items():
            if name not in {"terms", "scale", "row", "pairs", "heads", "span", "mean"}:
                found.append(_gate(function, statement, statement.value, numbers))
        for step in ast.walk(tree):
            if isinstance(step, ast.Assign):
                for node in ast.walk(step.value):
                    bias = isinstance(node, ast.Attribute) and node.attr == "bias" and "norm" not in ast.unparse(node)
                    if bias or (isinstance(node, ast.Name) and node.id in {"EPSILON", "bias", "residual"}):
                        found.append(_gate(function, step, node, numbers))
    return found


def _gate(function: str, statement: ast.stmt, node: ast.AST, numbers: Mapping[int, int]) -> Edit:
    line = _lines()[statement.lineno - 1]
    clause = line.partition("# ")[2].strip()
    return Edit(function, numbers[id(node)], _put("_"), clause, ast.unparse(node), _first_line(statement))


def multiplied(gate: Edit, factor: str) -> Edit:
    """The change that multiplies what a gate is of."""
    return Edit(gate.function, gate.node, _put(f"_ * ({factor})"), gate.clause, gate.old, gate.new)


@cache
def functions() -> tuple[str, ...]:
    """The names of the functions of the plain forward pass."""
    return tuple(node.name for node in _module().body if isinstance(node, ast.FunctionDef))


@cache
def _module() -> ast.Module:
    return ast.parse(inspect.getsource(plain))


@cache
def _lines() -> list[str]:
    return inspect.getsource(plain).splitlines()


@cache
def function_of(name: str) -> ast.FunctionDef:
    """The syntax tree of a function: not to be changed."""
    return next(n for n in _module().body if isinstance(n, ast.FunctionDef) and n.name == name)


@cache
def _pickled(name: str) -> bytes:
    return pickle.dumps(function_of(name))


def edited(name: str, changes: tuple[Edit, ...]) -> ast.FunctionDef:
    """A copy of a function with these changes."""
    tree = pickle.loads(_pickled(name))  # noqa: S301 - a copy of the package's own, five times as fast as copy.deepcopy
    nodes = list(ast.walk(tree))
    replaced = {id(nodes[edit.node]): edit.change for edit in changes}
    return cast("ast.FunctionDef", _Replaced(replaced).visit(tree))


class _Replaced(ast.NodeTransformer):
    def __init__(self, changes: dict[int, Change]) -> None:
        self.changes = changes

    def visit(self, node: ast.AST) -> ast.AST:
        change = self.changes.get(id(node))
        visited = self.generic_visit(node)
        return change(visited) if change else visited


def _of(function: str) -> Iterator[Edit]:
    tree = function_of(function)
    nodes = list(ast.walk(tree))
    numbers = {id(node): n for n, node in enumerate(nodes)}
    statements = [s for s in ast.walk(tree) if isinstance(s, (ast.Assign, ast.Return, ast.For))]
    local = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    local |= {a.arg for a in tree.args.args}
    clause = "LAYER-STACK"
    for statement in statements:
        comment = _lines()[statement.lineno - 1].partition("# ")[2].strip()
        clause = comment if comment.replace("-", "").isupper() else clause  # else that of the line before
        for node, change in _changes(function, statement, local):
            number = numbers[id(node)]
            probe = Edit(function, number, change, clause, "", "")
            new = next(s for s in _statements(edited(function, (probe,))) if s.lineno == statement.lineno)
            yield Edit(function, number, change, clause, _first_line(statement), _first_line(new))


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            yield node


def _first_line(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Pass):
        return "(left out)"
    return ast.unparse(statement).splitlines()[0].removesuffix(":")


def _changes(function: str, statement: ast.stmt, local: set[str]) -> Iterator[tuple[ast.AST, Change]]:
    """Every node within a statement that may change, and what stands in its place."""
    if isinstance(statement, ast.For):
        for text in STATEMENTS.get((function, f"for {ast.unparse(statement.target)}"), ()):
            yield statement.iter, _put(text)
    elif isinstance(statement, (ast.Assign, ast.Return)) and statement.value is not None:
        key = ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else "return"
        if key in {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)}:
            yield statement, _nothing  # the step is left out
        for change in _of_a_value(function, key, statement.value):
            yield statement.value, change
        for node in ast.walk(statement.value):
            if isinstance(node, ast.expr) and (alternatives := ALTERNATIVES.get(type(node))):
                for change in alternatives(node, local):
                    yield node, change


def _of_a_value(function: str, key: str, value: ast.expr) -> Iterator[Change]:
    """What may stand in place of all that a statement assigns or returns."""
    yield from map(_put, STATEMENTS.get((function, key), ()))
    owners = {name for name in MAPS if f".{name}." in ast.unparse(value)}
    if len(owners) == 1:
        (old,) = owners
        yield from (_renamed(old, new) for new in MAPS if new != old)
    if function not in {"forward", "buckets", "encoder_layer"}:
        yield from map(_put, ("float16(_)", "bfloat16(_).astype(_.dtype)"))
    yield from map(_put, FACTORS)


def _renamed(old: str, new: str) -> Change:
    """The weights and the bias, or the scale and the bias, of another map or normalisation."""

    def change(node: ast.AST) -> ast.AST:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and inner.attr == old:
                inner.attr = new
        return node

    return change


def _exchanged(i: int, j: int) -> Change:
    """A call with two of its arguments exchanged."""

    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Call)  # noqa: S101 - for the types
        args = list(node.args)
        args[i], args[j] = args[j], args[i]
        return ast.copy_location(ast.Call(node.func, args, node.keywords), node)

    return change


def _nothing(node: ast.AST) -> ast.stmt:
    return ast.copy_location(ast.Pass(), node)


def _put(text: str) -> Change:
    """The expression, in which ``_`` is the node itself."""

    def change(node: ast.AST) -> ast.AST:
        return ast.copy_location(_Underscore(node).visit(_parsed(text)), node)

    return change


class _Underscore(ast.NodeTransformer):
    def __init__(self, node: ast.AST) -> None:
        self.node = node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.node if node.id == "_" else node


def _of_an_operation(node: Any, _local: set[str]) -> Iterator[Change]:
    yield lambda n: n.left
    yield lambda n: n.right
    if isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv, ast.MatMult)):
        yield lambda n: ast.BinOp(n.right, n.op, n.left)
    for other in OPERATORS.get(type(node.op), ()):
        yield lambda n, other=other: ast.BinOp(n.left, other(), n.right)
    if isinstance(node.op, ast.MatMult):
        yield _put("-_")
        for rounding in ("float16", "bfloat16"):
            yield lambda n, r=rounding: _parsed(f"{r}({ast.unparse(n.left)}) @ {r}({ast.unparse(n.right)})")


def _of_a_sign(_node: Any, _local: set[str]) -> Iterator[Change]:
    yield lambda n: n.operand


def _of_a_comparison(node: Any, _local: set[str]) -> Iterator[Change]:
    for other in COMPARISONS:
        if not isinstance(node.ops[0], other):
            yield lambda n, other=other: ast.Compare(n.left, [other()], n.comparators)


def _of_a_constant(node: Any, _local: set[str]) -> Iterator[Change]:
    value = node.value
    if isinstance(value, float):
        yield from map(_put, FILLS)
    elif isinstance(value, int) and not isinstance(value, bool):
        others = dict.fromkeys((value + 1, value - 1, 0, 1, 2 * value, -value, 4))
        yield from (_put(repr(number)) for number in others if number != value)
        yield _put(f"{value} / 2")


def _of_a_name(node: Any, local: set[str]) -> Iterator[Change]:
    if node.id == "EPSILON":
        yield from map(_put, EPSILONS)
    others = {other for group in NAMES if node.id in group for other in group} & local
    yield from (_put(name) for name in sorted(others - {node.id}))
    if node.id in local:
        yield _put("-_")


def _of_a_field(node: Any, _local: set[str]) -> Iterator[Change]:
    if node.attr == "T":
        yield lambda n: n.value
    for field in sorted({other for group in FIELDS if node.attr in group for other in group} - {node.attr}):
        yield lambda n, field=field: ast.Attribute(n.value, field, n.ctx)
    if node.attr in {"bias", "weight", "scale"}:
        yield from map(_put, ("-_", "0 * _", "1 + _"))


def _of_a_call(node: Any, _local: set[str]) -> Iterator[Change]:
    name = ast.unparse(node.func)
    for other in CALLS.get(name, ()):
        yield lambda n, other=other: ast.Call(_parsed(other), n.args, n.keywords)
    if node.args and not isinstance(node.args[0], ast.Starred) and name not in {"range", "np.arange", "softmax"}:
        yield lambda n: n.args[0]
    if name in {*functions(), *ALIASES}:
        yield from (_exchanged(i, j) for i, j in combinations(range(len(node.args)), 2))
    if name == "np.where":
        yield lambda n: n.args[1]
        yield lambda n: n.args[2]
        yield lambda n: ast.Call(n.func, [n.args[0], n.args[2], n.args[1]], [])
    if name == "np.clip":
        yield _put("_ % (span * 2)")
    if isinstance(node.func, ast.Attribute) and node.func.attr in {"swapaxes", "max", "mean", "sum"}:
        yield lambda n: n.func.value
    yield _put("-_")


def _of_an_index(node: Any, _local: set[str]) -> Iterator[Change]:
    if isinstance(node.slice, ast.Name) and node.slice.id == "n":
        for index in ("0", "-1", "max(n - 1, 0)", "config.num_layers - 1 - n", "min(n + 1, config.num_layers - 1)"):
            yield lambda n, index=index: ast.Subscript(n.value, _parsed(index), n.ctx)


ALTERNATIVES: dict[type[ast.AST], Callable[[Any, set[str]], Iterator[Change]]] = {
    ast.BinOp: _of_an_operation,
    ast.UnaryOp: _of_a_sign,
    ast.Compare: _of_a_comparison,
    ast.Constant: _of_a_constant,
    ast.Name: _of_a_name,
    ast.Attribute: _of_a_field,
    ast.Call: _of_a_call,
    ast.Subscript: _of_an_index,
}
"""What may stand in place of an expression, by its kind."""


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
