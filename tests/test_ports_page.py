"""docs/ports.md: every example on it, run as it stands there, and what it says of codes, names and limits."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from kit import CASES
from test_tutorial import BLOCK, ROOT, Shell

from deberta_ref.cli.check import DEFAULT_TIMEOUT
from deberta_ref.conformance.cases.operations import OPERATIONS
from deberta_ref.conformance.ports.command import DECLINED, PLACEHOLDERS, QUESTION

PAGE = (ROOT / "docs" / "ports.md").read_text("utf-8")
FILES = {text.split()[1]: text for language, text in BLOCK.findall(PAGE) if language in {"python", "js"}}
COMMANDS = [text for language, text in BLOCK.findall(PAGE) if language == "sh"]
JUDGED = {
    suite: sum(case.suite == suite for case in CASES.values()) for suite in ("model", "long", "layer", "tokenizer")
}
SOFTMAX = sum(case.manifest.get("operation") == "softmax" for case in CASES.values())

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node; .ci/run checks that")


@pytest.fixture
def shell(tmp_path):
    """A directory with the files of the page, in which its commands run."""

    def opened(python=sys.executable):
        for name, source in FILES.items():
            (tmp_path / name).write_text(source, "utf-8")
        shutil.copy(ROOT / "docs" / "ports" / "model.mjs", tmp_path)
        return Shell(tmp_path, python, "")

    return opened


def printed(shell, word):
    """What the one block of commands that has ``word`` in it prints, as words."""
    (commands,) = [text for text in COMMANDS if word in text]
    done = shell.run(commands)
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return " ".join(done.stdout.split())


@pytest.mark.ports
def test_the_adapter_of_transformers_conforms(shell):
    shown = printed(shell(os.environ["DEBERTA_REF_PORTS_PYTHON"]), "my_port.py")
    assert f"my_port.py:load conforms: {JUDGED['model'] + JUDGED['long']} cases" in shown


def test_the_adapter_that_offers_everything_is_judged_by_everything(shell):
    shown = printed(shell(), "everything.py")
    assert f"everything.py:load conforms: {sum(JUDGED.values()) + SOFTMAX} cases within the limit" in shown
    assert "as above" not in shown
    assert "run.operation returned NotImplemented for each of them." in shown


@needs_node
def test_the_adapter_in_javascript_conforms(shell):
    shown = printed(shell(), "--exec")
    assert f"conforms: {JUDGED['model'] + JUDGED['long'] + SOFTMAX} cases within the limit" in shown
    assert "The command declined each of them, with exit code 77." in shown


@needs_node
def test_answers_computed_elsewhere_conform(shell):
    shown = printed(shell(), "--outputs")
    assert f"answers conforms: {JUDGED['model']} cases within the limit" in shown


def test_a_quantized_port_conforms_with_its_own_weights(shell):
    shown = printed(shell(), "quantized.py")
    assert f"quantized.py:load conforms: {JUDGED['model']} cases within the limit" in shown
    assert "It is judged with its own weights" in shown


def test_every_block_of_the_page_is_run():
    assert set(FILES) == {"my_port.py", "everything.py", "port.mjs", "quantized.py"}
    assert len(COMMANDS) == 5
    assert {language for language, _ in BLOCK.findall(PAGE)} == {"python", "js", "sh"}


def test_what_the_page_says_is_what_the_code_does():
    for name in (*PLACEHOLDERS, QUESTION):
        assert f"| `{name}` |" in PAGE
    assert f"| ends with {DECLINED} |" in PAGE
    assert f"`--timeout`, {DEFAULT_TIMEOUT:g} seconds by default" in PAGE
    for name in OPERATIONS:
        assert f"`{name}`" in PAGE
    lines = (ROOT / "docs" / "ports" / "model.mjs").read_text("utf-8").splitlines()
    assert "in a hundred lines" in PAGE
    assert len(lines) <= 110


def test_it_is_linked_where_a_port_s_author_looks():
    for page in ("README.md", "docs/tutorial.md", "deberta_ref/conformance/ports/protocol.md", "CONTRIBUTING.md"):
        assert "ports.md" in Path(ROOT / page).read_text("utf-8"), page
