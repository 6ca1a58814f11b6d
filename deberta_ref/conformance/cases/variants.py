"""The reference with something in it changed: a function exchanged, or a line written differently.

The reference itself knows nothing of this: a variant is a copy of ``deberta_ref.model``, loaded afresh, with other
functions under some of its names. Variants do not see one another, and any number of them may run at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from types import CodeType, ModuleType
from typing import Any

MODEL = "deberta_ref.model"

Rewriting = tuple[str, str, str]
"""A module, what is found once in its source, and what stands there instead."""


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


def rewritten(module: str, old: str, new: str) -> ModuleType:
    """A copy of the model in which ``old``, found once in the source of ``module``, reads ``new``.

    Raises ValueError if it is not found exactly once: then the source has moved on, and the rewriting means nothing.
    """
    return combined((module, old, new))


def combined(*rewritings: Rewriting) -> ModuleType:
    """A copy of the model with all of these rewritings, of one module or of several.

    Raises ValueError as ``rewritten`` does, and where two of them change the same characters.
    """
    changes: dict[str, list[tuple[str, str]]] = {MODEL: []}
    for module, old, new in rewritings:
        changes.setdefault(module, []).append((old, new))
    copies = {module: copied_with(module, pairs) for module, pairs in changes.items()}
    model = copies.pop(MODEL)
    for name, value in vars(model).items():
        if copy := copies.get(getattr(value, "__module__", MODEL)):
            setattr(model, name, getattr(copy, name))
    return model


def copied(module: str, old: str = "", new: str = "") -> ModuleType:
    """A module of this package, executed once more, with ``old``, found once in its source, reading ``new``.

    It has its own name, but is not in the table of modules. Raises ValueError if ``old`` is not found exactly once.
    """
    return copied_with(module, [(old, new)] if old else [])


def copied_with(module: str, changes: Sequence[tuple[str, str]]) -> ModuleType:
    """``copied`` with several changes, (old, new) each; ValueError also where two change the same characters."""
    source = inspect.getsource(importlib.import_module(module))
    edits = sorted(_edit(module, source, old, new) for old, new in changes)
    for (one, end, _), (other, _, _) in pairwise(edits):
        if other < end or other == one:
            raise ValueError(f"Two rewritings of {module} change the same characters: {source[one:end]!r}.")
    for start, end, text in reversed(edits):
        source = source[:start] + text + source[end:]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} has no source file.")
    copy = importlib.util.module_from_spec(spec)
    exec(_compiled(source, spec.origin), copy.__dict__)  # noqa: S102 - the package's own source, rewritten by itself
    return copy


def _edit(module: str, source: str, old: str, new: str) -> tuple[int, int, str]:
    """From where to where ``source`` changes, and what stands there then, without what old and new share at the ends.

    So two rewritings of one long expression can be had together where they change different parts of it.
    """
    if source.count(old) != 1:
        raise ValueError(f"{old!r} must stand exactly once in {module}; it stands there {source.count(old)} times.")
    most = min(len(old), len(new))
    front = next((n for n in range(most) if old[n] != new[n]), most)
    back = next((n for n in range(most - front) if old[-1 - n] != new[-1 - n]), most - front)
    start = source.index(old)
    return start + front, start + len(old) - back, new[front : len(new) - back]


@lru_cache(maxsize=256)
def _compiled(source: str, path: str) -> CodeType:
    return compile(source, path, "exec")
