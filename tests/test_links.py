"""Every relative link in a document leads to a file of the repository, and its anchor to a heading there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
NOT_OURS = {"node_modules", "venv", "build", "dist"}

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in NOT_OURS for part in path.relative_to(ROOT).parts)
)


def links(text):
    """The targets of the links in a document, without those on the web."""
    return [link for link in LINK.findall(CODE.sub("code", BLOCK.sub("", text))) if "://" not in link]


def anchors(text):
    """What ``#…`` may name in a document: its headings, as Markdown pages are rendered."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_links_of_a_document_lead_somewhere(document):
    for link in links(document.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target.read_text("utf-8")), f"{link}: there is no such heading"


def test_a_link_that_leads_nowhere_would_be_found():
    text = "[`x`](no/such.md), [web](https://example.org), `[code](in.md)`\n```sh\n[a](b.md)\n```\n## Here, a heading\n"
    assert links(text) == ["no/such.md"]
    assert anchors(text) == {"here-a-heading"}


def test_the_documents_are_found():
    names = {document.relative_to(ROOT).as_posix() for document in DOCUMENTS}
    assert {"README.md", "docs/architecture.md", "spec/README.md", "deberta_ref/demo/README.md"} <= names
