"""Every public object says what it takes, gives and raises, with examples that hold."""

import ast
import doctest
import importlib
import inspect
import re
from functools import cached_property

import pytest

import deberta_ref


def documented():
    """The public objects by their names from ``deberta_ref`` on: functions, classes and what a class defines itself."""
    found = {name: getattr(deberta_ref, name) for name in deberta_ref.__all__ if name != "presets"}
    for name, value in list(found.items()):
        if inspect.isclass(value):
            members = {member for member in vars(value) if not member.startswith("_")} - {*value.__annotations__}
            members |= {"__call__"} & {*vars(value)}
            found |= {f"{name}.{member}": inspect.getattr_static(value, member) for member in members}
    return dict(sorted(found.items()))


OBJECTS = documented()


def bare(value):
    """The function or class behind a property or a class method."""
    if isinstance(value, cached_property):
        return value.func
    return value.fget if isinstance(value, property) else getattr(value, "__func__", value)


def of_presets():
    """The string that stands below the assignment of ``presets``, which has no docstring of its own."""
    body = ast.parse(inspect.getsource(importlib.import_module("deberta_ref.presets"))).body
    place = next(n for n, line in enumerate(body) if ast.unparse(line).startswith("presets:"))
    return inspect.cleandoc(ast.literal_eval(ast.unparse(body[place + 1])))


def docstring(name):
    return of_presets() if name == "presets" else inspect.getdoc(bare(OBJECTS[name]))


def sections(name):
    """The sections of a docstring by their titles."""
    parts = re.split(r"^(\w+)\n-+$", docstring(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section):
    """What a section lists: the lines that are not indented, without their types."""
    lines = re.findall(r"^\S.*", section, re.MULTILINE)
    return [name.strip(" *") for line in lines for name in line.partition(" : ")[0].split(",")]


@pytest.mark.parametrize("name", [*OBJECTS, "presets"])
def test_the_examples_of_a_docstring_hold(name):
    test = doctest.DocTestParser().get_doctest(docstring(name), dict(vars(deberta_ref)), name, None, None)
    assert test.examples, "no example"
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("name", OBJECTS)
def test_a_docstring_has_its_sections_and_names_every_parameter(name):
    value, found = OBJECTS[name], sections(name)
    assert [*found] == [s for s in ("Parameters", "Returns", "Raises", "Examples") if s in found]
    assert "Examples" in found
    if isinstance(value, (property, cached_property)):
        return
    signature = inspect.signature(bare(value))
    wanted = [parameter for parameter in signature.parameters if parameter not in {"self", "cls"}]
    assert entries(found.get("Parameters", "")) == wanted
    if not inspect.isclass(value):
        assert ("Returns" in found) == (signature.return_annotation != "None")
        assert ("Raises" in found) == bool(wanted)


@pytest.mark.parametrize("name", OBJECTS)
def test_no_public_signature_takes_or_gives_anything(name):
    signature = inspect.signature(bare(OBJECTS[name]))
    annotations = [parameter.annotation for parameter in signature.parameters.values() if parameter.name != "self"]
    if not inspect.isclass(OBJECTS[name]):
        annotations.append(signature.return_annotation)
    for annotation in annotations:
        assert "Any" not in re.findall(r"\w+", re.sub(r"\[(typing\.)?Any\b", "[", str(annotation))), annotation
