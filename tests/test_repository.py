"""What the repository says of itself: its citation, its source distribution, the list of its adapters and tools."""

import re
from pathlib import Path

import pytest
import yaml

import deberta_ref

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format requires
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["authors"] == [{"name": "The deberta_ref developers"}]
    assert str(citation["version"]) == deberta_ref.__version__
    assert citation["license"] == "Apache-2.0"


def test_the_source_distribution_has_every_document():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    included = set(re.findall(r'"/([^"]+)"', project.partition("targets.sdist]")[2].partition("]\n")[0]))
    assert {path.name for path in ROOT.glob("*.md")} | {"CITATION.cff", "LICENSE"} <= included
    assert all((ROOT / name).exists() for name in included)


@pytest.mark.parametrize("folder", ["adapters", "tools"])
def test_the_readme_of_the_ports_has_a_row_for_each_adapter_and_tool(folder):
    text = (ROOT / "ports" / "README.md").read_text("utf-8")
    named = re.findall(rf"^\| \[`[\w./]+`\]\({folder}/([\w.]+)\)", text, re.MULTILINE)
    there = [path.name for path in (ROOT / "ports" / folder).iterdir() if path.name != "__pycache__"]
    assert sorted(named) == sorted(there)


def test_every_file_of_the_ports_that_is_named_is_there():
    pages = [*ROOT.glob(".ci/*"), *ROOT.glob("*.md")]
    pages += [path for kind in ("md", "py", "mjs") for path in ROOT.glob(f"[!.]*/**/*.{kind}")]
    named = {
        (path, name)
        for path in pages
        if "node_modules" not in path.parts
        for name in re.findall(r"(?<![\w/])ports/[\w/]+\.(?:py|mjs|txt)", path.read_text("utf-8"))
    }
    assert len(named) > 20
    assert [
        (path, name) for path, name in named if not (ROOT / name).exists() and not (path.parent / name).exists()
    ] == []
