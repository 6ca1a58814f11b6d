"""The reference with something in it changed: a function exchanged, or a line written differently.

The reference itself knows nothing of this: a variant is a copy of ``deberta_ref.model``, loaded afresh, with other
functions under some of its names. Variants do not see one another, and any number of them may run at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from types import ModuleType
from typing import Any

MODEL = "deberta_ref.model"


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
    changed = copied(module, old, new)
    if module == MODEL:
        return changed
    model = copied(MODEL)
    for name, value in vars(model).items():
        if getattr(value, "__module__", None) == module:
            setattr(model, name, getattr(changed, name))
    return model


def copied(module: str, old: str = "", new: str = "") -> ModuleType:
    """A module of this package, executed once more, with ``old``, found once in its source, reading ``new``.

    It has its own name, but is not in the table of modules. Raises ValueError if ``old`` is not found exactly once.
    """
    source = inspect.getsource(importlib.import_module(module))
    if old and source.count(old) != 1:
        raise ValueError(f"{old!r} must stand exactly once in {module}; it stands there {source.count(old)} times.")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} has no source file.")
    copy = importlib.util.module_from_spec(spec)
    code = compile(source.replace(old, new) if old else source, spec.origin, "exec")
    exec(code, copy.__dict__)  # noqa: S102 - the package's own source, with one of its own rewritings
    return copy
