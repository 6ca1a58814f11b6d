"""Data flows down: a room of the package imports from the rooms below it, and no module imports itself by a detour."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deberta_ref"

FLOORS = (
    ("__main__",),
    ("cli", "pytest_plugin", "testing"),
    ("conformance.judging", "conformance.reports"),
    ("conformance.diagnosis",),
    ("conformance.mistakes", "conformance.ports"),
    ("conformance.cases", "conformance.verdict"),
    ("the model",),
)
"""The rooms from the top to the bottom. Whatever is in none of the others belongs to the model."""

READS = {"conformance.reports": {"conformance.verdict", "conformance.cases", "the model"}}
"""Rooms that may import from fewer rooms than are below them: a report shows what was found, and judges nothing."""

MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def room(module):
    """The room that a module is in: 'deberta_ref.conformance.cases.noise' -> 'conformance.cases'."""
    name = module.removeprefix("deberta_ref").removeprefix(".")
    known = [room for floor in FLOORS for room in floor]
    return next((room for room in known if f"{name}.".startswith(f"{room}.")), "the model")


def floor(room):
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


@cache
def imports(module):
    """The modules of this package that a module imports anywhere, with the line that does: (line, module) each."""
    found = []
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if alias.name in MODULES]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: an import must name its module in full."
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if name in MODULES else node.module) for name in inside]
    return [(line, name) for line, name in found if name in MODULES]


def upward(module):
    """Sentences on the imports of a module that are not from a room below its own."""
    own = room(module)
    allowed = READS.get(own, {other for rooms in FLOORS[floor(own) + 1 :] for other in rooms}) | {own}
    return [
        f"{module}, line {line}, imports {name}: {own} may import from {', '.join(sorted(allowed))} alone."
        for line, name in imports(module)
        if room(name) not in allowed
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_the_rooms_below_its_own(module):
    assert upward(module) == []


def circle(module, path=()):
    """The modules by which one imports itself, or imports a circle; empty where there is none."""
    if module in path:
        return (*path[path.index(module) :], module)
    found = (circle(name, (*path, module)) for _, name in imports(module) if room(name) != "the model")
    return next(filter(None, found), ())


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) != "the model"])
def test_no_module_of_the_kit_imports_itself_by_a_detour(module):
    assert " imports ".join(circle(module)) == ""


def test_every_room_exists():
    assert {room(module) for module in MODULES} == {room for rooms in FLOORS for room in rooms}


def test_an_upward_import_is_found_wherever_it_stands(tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from deberta_ref.conformance.cases import corpus\n\n\n"
        "def late():\n    from deberta_ref.conformance.judging import judge\n    return judge\n",
        "utf-8",
    )
    monkeypatch.setitem(MODULES, "deberta_ref.conformance.ports.wrong", wrong)
    (sentence,) = upward("deberta_ref.conformance.ports.wrong")
    assert sentence == (
        "deberta_ref.conformance.ports.wrong, line 5, imports deberta_ref.conformance.judging.judge: conformance.ports "
        "may import from conformance.cases, conformance.ports, conformance.verdict, the model alone."
    )
