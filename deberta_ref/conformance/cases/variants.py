"""The reference with something in it changed: a function exchanged, or an expression written differently.

The reference itself knows nothing of this: a variant is a copy of ``deberta_ref.model``, loaded afresh, with other
functions under some of its names. Variants do not see one another, and any number of them may run at once.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any

PACKAGE = "deberta_ref"
MODEL = "deberta_ref.model"


@dataclass(frozen=True)
class Edit:
    """An expression that stands in place of the one that a statement has.

    A statement is known by the name of the tap that it shows, or else by what it assigns ("row", "x, context",
    "normalised *="), by its loop ("for p"), as "return", or by the function that it calls and whose result it drops.
    The expression that it has is what it assigns, loops over, returns or calls, or the value that a tap shows.

    In ``new``, ``_`` is the expression that was there: ``(lambda row: _)(row.T)`` is the same one of another ``row``.
    """

    function: str  # its dotted name in deberta_ref, such as ops.layer_norm; or a module's, for the constants
    statement: str
    new: str
    whole: bool = False  # in place of the call of the tap, of whose value ``_`` is the expression

    @property
    def module(self) -> str:
        """The module that is edited."""
        return _place(self.function)[0]

    @property
    def adapts(self) -> bool:
        """Whether it makes something of the expression that was there."""
        return any(isinstance(node, ast.Name) and node.id == "_" for node in ast.walk(_parsed(self.new)))


def exchanged(**functions: Any) -> ModuleType:
    """A copy of the model in which each of these names is another function.

    Raises ValueError for a name that the model does not have.
    """
    model = copied(MODEL)
    for name, function in functions.items():
        if not hasattr(model, name):
            raise ValueError(f"{MODEL} has no {name} to exchange.")
        setattr(model, name, function)
    return model


def combined(*edits: Edit) -> ModuleType:
    """A copy of the model with all of these edits, of one module or of several; ValueError as ``edited``."""
    modules = dict.fromkeys(edit.module for edit in edits)
    copies = {module: copied(module, *(e for e in edits if e.module == module)) for module in [MODEL, *modules]}
    model = copies.pop(MODEL)
    for name, value in vars(model).items():
        if changed := copies.get(getattr(value, "__module__", MODEL)):
            setattr(model, name, getattr(changed, name))
    return model


def copied(module: str, *edits: Edit) -> ModuleType:
    """A module of this package with these edits, executed once more; ValueError as ``edited``.

    It has its own name, but is not in the table of modules.
    """
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ValueError(f"There is no module {module}.")
    variant = importlib.util.module_from_spec(spec)
    exec(_compiled(module, edits), variant.__dict__)  # noqa: S102 - the package's own source, rewritten by itself
    return variant


def edited(tree: ast.Module, edits: Iterable[Edit]) -> ast.Module:
    """A copy of a module's syntax tree with these edits.

    Those of one statement are made one after another, and all but the first must adapt what was there. Raises
    ValueError if they do not, for then they contradict one another, and if a statement is not found exactly once: then
    the source has moved on, and the edit means nothing.
    """
    tree = copy.deepcopy(tree)
    changes: dict[ast.stmt, list[Edit]] = {}
    for edit in edits:
        changes.setdefault(_found(tree, edit), []).append(edit)
    for statement, several in changes.items():
        several.sort(key=lambda edit: (edit.whole, edit.adapts))
        if not all(e.adapts for e in several[1:]) or any(e.whole for e in several[:-1]):
            news = " and ".join(repr(edit.new) for edit in several)
            raise ValueError(f"Edits of {several[0].statement} in {several[0].function} contradict each other: {news}.")
        _change(statement, several)
    return tree


def _change(statement: Any, edits: Sequence[Edit]) -> None:
    field = "iter" if isinstance(statement, ast.For) else "value"
    call = getattr(statement, field)
    expression = call.args[1] if _tap(call) else call
    for edit in edits:
        expression = _Adapted(expression).visit(_parsed(edit.new))
    if _tap(call) and not edits[-1].whole:
        call.args[1] = expression
    else:
        setattr(statement, field, expression)


class _Adapted(ast.NodeTransformer):
    """Puts an expression where ``_`` stands."""

    def __init__(self, expression: ast.expr) -> None:
        self.expression = expression

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.expression if node.id == "_" else node


def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _found(tree: ast.Module, edit: Edit) -> ast.stmt:
    """The statement that an edit is of; ValueError where it is not found exactly once."""
    within: list[ast.AST] = [tree]
    for name in _place(edit.function)[1]:
        within = [s for node in within for s in _statements(node) if getattr(s, "name", None) == name]
    found = [statement for node in within for statement in _statements(node) if _known_by(statement) == edit.statement]
    if len(found) != 1:
        raise ValueError(
            f"{edit.statement} must stand exactly once in {edit.function}; it is found {len(found)} times."
        )
    return found[0]


def _place(function: str) -> tuple[str, list[str]]:
    """The module of a dotted name in this package, and the names within that."""
    module, names = PACKAGE, function.split(".")
    while names and _is_module(f"{module}.{names[0]}"):
        module += f".{names.pop(0)}"
    return module, names


@lru_cache(maxsize=256)
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what it would be in is no package
        return False


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Those of a module, class or function, in its blocks too, but not those of what it defines itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if not isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.expr)):
            yield from _statements(child)


def _known_by(statement: ast.stmt) -> str | None:
    """What an edit calls a statement; None for one that has no expression of its own."""
    match statement:
        case ast.Assign(value=ast.expr() as value) | ast.Return(value=ast.expr() as value) if name := _tap(value):
            return name
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target, value=ast.expr()):
            return _names(target)
        case ast.AugAssign():
            return ast.unparse(statement).partition("=")[0] + "="
        case ast.For(target=target):
            return f"for {_names(target)}"
        case ast.Expr(value=ast.Call(func=function)):
            return ast.unparse(function)
    return "return" if isinstance(statement, ast.Return) and statement.value else None


def _names(target: ast.expr) -> str:
    return ", ".join(map(ast.unparse, target.elts if isinstance(target, ast.Tuple) else [target]))


def _tap(expression: ast.expr) -> str | None:
    """The name of the tap that is shown by a call."""
    match expression:
        case ast.Call(func=ast.Name("tap"), args=[ast.Constant(str() as name), _]):
            return name
    return None


@lru_cache(maxsize=64)
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module's source: not to be changed."""
    return ast.parse(inspect.getsource(importlib.import_module(module)))


@lru_cache(maxsize=256)
def _compiled(module: str, edits: tuple[Edit, ...]) -> CodeType:
    path = inspect.getfile(importlib.import_module(module))
    return compile(edited(tree_of(module), edits), path, "exec")
