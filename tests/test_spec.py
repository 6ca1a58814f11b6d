"""The specification, the code and the tests hold together: every clause has all three, and no id is invented."""

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

from deberta_ref import Config, positions

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "spec").glob("[0-9][0-9]-*.md"))
FAMILIES = "HALF|PREC|EVID|IN|EMB|REL|ATT|LAYER|NORM|GELU|NUM|PAD|VEC|REC|NOISE|TOK|JUDGE"
ID = re.compile(rf"\b(?:{FAMILIES})-[A-Z0-9]+\b")


def clauses():
    """The text of every clause by its id."""
    found = {}
    for chapter in CHAPTERS:
        for part in re.split(r"^### ", chapter.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            name, _, text = part.partition("\n")
            assert name not in found, f"{name} stands twice"
            found[name] = text
    return found


CLAUSES = clauses()


def cited_by_code():
    """The ids that each file of the package cites."""
    return {path: set(ID.findall(path.read_text("utf-8"))) for path in sorted((ROOT / "deberta_ref").rglob("*.py"))}


def cited_by_tests():
    """The ids in the ``clause`` markers of each test file."""
    found = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
        markers = (call for call in calls if ast.unparse(call.func) in {"clause", "pytest.mark.clause"})
        found[path] = {ast.literal_eval(argument) for marker in markers for argument in marker.args}
    return found


def test_the_readme_lists_every_chapter():
    readme = (ROOT / "spec" / "README.md").read_text("utf-8")
    assert [chapter.name[:2] for chapter in CHAPTERS] == [f"{n:02}" for n in range(16)]
    assert all(chapter.name in readme for chapter in CHAPTERS)


@pytest.mark.parametrize("name", CLAUSES)
def test_a_clause_is_complete(name):
    text = CLAUSES[name]
    assert ID.fullmatch(name)
    assert len(re.findall(r"\bMUST\b", text)) == 1, "one MUST sentence, no more"
    assert re.search(r"^ {4}\S", text, re.MULTILINE), "a formula"
    assert ">>> " in text, "an example that can be executed"
    assert [f"- **{part}:**" in text for part in ("From", "Code", "Variations")] == [True] * 3


@pytest.mark.parametrize("name", CLAUSES)
def test_the_code_of_a_clause_cites_it(name):
    (line,) = re.findall(r"^- \*\*Code:\*\* (.*)$", CLAUSES[name], re.MULTILINE)
    for path in re.findall(r"`([\w.]+)`", line):
        module, _, function = path.rpartition(".")
        code = getattr(importlib.import_module(module), function)
        assert name in inspect.getsource(inspect.unwrap(code)), f"{path} does not cite {name}"


def test_every_clause_has_a_test_and_every_test_a_known_clause():
    tested = cited_by_tests()
    for path, names in tested.items():
        assert names <= set(CLAUSES), f"{path.name} cites {names - set(CLAUSES)}"
    assert set(CLAUSES) == set().union(*tested.values())


def test_the_code_cites_every_clause_and_only_clauses():
    cited = cited_by_code()
    for path, names in cited.items():
        assert names <= set(CLAUSES), f"{path.name} cites {names - set(CLAUSES)}"
    assert set(CLAUSES) == set().union(*cited.values())


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_cite_only_clauses(chapter):
    assert set(ID.findall(chapter.read_text("utf-8"))) <= set(CLAUSES)


@pytest.mark.parametrize("chapter", CHAPTERS[1:], ids=lambda path: path.stem)
def test_the_examples_of_a_chapter_hold(chapter):
    failed, run = doctest.testfile(str(chapter), module_relative=False, encoding="utf-8", verbose=False)
    assert run > 0
    assert failed == 0


def test_the_disagreements_of_logarithms_that_the_chapter_lists_are_exact_ties():
    for bucket_size, M, distance in [(32, 129, 32), (32, 1025, 64), (50, 65, 40), (128, 513, 128)]:
        m = bucket_size // 2
        t = positions.bucket(distance, Config(1, 1, 1, 1, 1, max_sequence_length=M, bucket_size=bucket_size)) - m
        assert distance ** (m - 1) * m**t == (M - 1) ** t * m ** (m - 1)
