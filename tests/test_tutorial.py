"""docs/tutorial.md, done as it stands there: every change, every command, and what is printed held against the page.

``python tests/test_tutorial.py`` writes what is printed into the page. For that and for ``pytest -m ports``,
DEBERTA_REF_PORTS_PYTHON names an interpreter that has ports/requirements.txt.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kit import CASES

from deberta_ref import Config
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.positions import bucket

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
PORT = ROOT / "docs" / "tutorial" / "port.py"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block of the page: diff changes the port, console has commands and what they print, sh commands alone."""

COUNT = re.compile(r"\d+(?= (?:of|cases?|pass|skipped|more|expected)\b)")
"""A number of cases, which is the same everywhere."""

# What differs from machine to machine: seconds, and by how much rounding a right number is off.
SECONDS = re.compile(r"(?<=\bin )[\d.]+(?= s$)", re.MULTILINE)
WORST = re.compile(r"(?<=worst score )(\d+(?:\.\d+)?)(?: \(\S+\))?")
NOISE = re.compile(r"(?<=float32 rounding \(score )([\d.]+)(?=\))")

STAND_IN = """
    import deberta_ref

    def load(checkpoint_dir):
        params = deberta_ref.from_preset(checkpoint_dir)
        return lambda inputs: deberta_ref.trace(params, inputs, allow_long=True)
"""
"""A right port that needs no PyTorch."""


def blocks(*languages):
    return [(language, text) for language, text in BLOCK.findall(PAGE.read_text("utf-8")) if language in languages]


def changed(source, diff, *, back=False):
    """The source with the lines marked − replaced by those marked +, or the other way round; @@ parts the places."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in ("+-" if back else "-+"))
        assert f"\n{source}".count(f"\n{old}") == 1, f"these lines must be in port.py once:\n{old}"
        source = f"\n{source}".replace(f"\n{old}", f"\n{new}")[1:]
    return source


def first_version():
    """The port before the page's changes: the file as it is, with all of them undone."""
    source = PORT.read_text("utf-8")
    for _, diff in reversed(blocks("diff")):
        source = changed(source, diff, back=True)
    return source


class Shell:
    """A directory in which the page's commands run, with deberta-ref, python and pytest of one interpreter."""

    def __init__(self, place, python, port):
        self.place = place
        (place / "port.py").write_text(port, "utf-8")
        programs = place / "bin"
        programs.mkdir()
        entries = importlib.metadata.entry_points(group="pytest11")
        plugin = "" if any(e.value == "deberta_ref.pytest_plugin" for e in entries) else "-p deberta_ref.pytest_plugin"
        for name, arguments in {
            "deberta-ref": "-m deberta_ref",
            "python": "",
            "pytest": f"-m pytest {plugin}",
        }.items():
            (programs / name).write_text(f'#!/bin/sh\nexec "{python}" {arguments} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, commands):
        return subprocess.run(
            [shutil.which("bash"), "-ec", commands],
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def change(self, diff):
        path = self.place / "port.py"
        path.write_text(changed(path.read_text("utf-8"), diff), "utf-8")


def printed(shell):
    """Every command of the page's console blocks, what the page says it prints, and what it prints."""
    for language, text in blocks("diff", "console"):
        if language == "diff":
            shell.change(text)
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            done = shell.run(command)
            assert done.returncode in {0, 1}, done.stderr
            yield command, shown, done.stdout


def words(text):
    """The words of an output, without what differs from machine to machine; of right scores the limit."""
    for pattern in (WORST, NOISE):
        assert all(float(score) < LIMIT for score in pattern.findall(text)), text
        text = pattern.sub("near-1", text)
    return SECONDS.sub("few", text).split()


def agree(one, other):
    """Whether two words are the same, or scores that are nearly the same."""
    if one == other:
        return True
    try:
        return float(one) == pytest.approx(float(other), rel=0.1)
    except ValueError:
        return False


def same(shown, found):
    one, other = words(shown), words(found)
    if COUNT.findall(" ".join(one)) != COUNT.findall(" ".join(other)):
        return False
    return len(one) == len(other) and all(map(agree, one, other))


@pytest.mark.ports
def test_the_page_shows_what_its_commands_print(tmp_path):
    shell = Shell(tmp_path, os.environ["DEBERTA_REF_PORTS_PYTHON"], first_version())
    for command, shown, found in printed(shell):
        assert same(shown, found), f"python {__file__} mends this: $ {command}\n{found}\nis printed, and not\n\n{shown}"
    assert (tmp_path / "port.py").read_text("utf-8") == PORT.read_text("utf-8")
    assert (tmp_path / "report.html").is_file()


def test_every_change_of_the_page_leads_from_one_version_of_the_port_to_the_next():
    source = first_version()
    for _, diff in blocks("diff"):
        compile(source, "port.py", "exec")
        source = changed(source, diff)
    assert source == PORT.read_text("utf-8")


@pytest.mark.ports
def test_the_other_ways_in_are_as_the_page_has_them(tmp_path):
    shell = Shell(tmp_path, sys.executable, "\n".join(line[4:] for line in STAND_IN.splitlines()))
    for _, source in blocks("python"):
        (tmp_path / source.split()[1]).write_text(source, "utf-8")
    for _, commands in blocks("sh"):
        done = shell.run(commands)
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed == 1 + sum(case.suite in {"model", "long"} for case in CASES.values())


def test_what_the_page_says_in_numbers():
    page = " ".join(PAGE.read_text("utf-8").split())
    assert "sixty lines" in page
    assert len(PORT.read_text("utf-8").splitlines()) <= 60
    assert "more than 120 mistakes" in page
    assert len(mutants) > 120

    published = Config(1, 1, 1, 1, 1)
    assert [bucket(distance, published) for distance in (131, 132)] == [131, 131]
    assert "no row depends on it in texts of up to 132" in page

    case = CASES["model/bucket-64-of-512"]
    found = case.evaluate(mutants["bucket-multiplied-first"].model(), "float32")
    wrong = found["relative_row"] != case.expected["relative_row"]
    assert np.argwhere(wrong).tolist() == [[0, 511]]
    assert f"that {wrong.sum()} of {wrong.size} rows is wrong, that of query 0 and key 511" in page
    assert f"{abs(found['output'] - case.expected['output']).max():.3f}" == "0.005"
    assert "errs by 0.005 at most" in page
    assert case.scores({"output": found["output"]})["output"] > 1000


def rewrite(place):
    """Write into the page what its commands print, where that is not what the page has."""
    page, start = PAGE.read_text("utf-8"), 0
    for command, shown, found in printed(Shell(place, os.environ["DEBERTA_REF_PORTS_PYTHON"], first_version())):
        before, after = f"$ {command}\n{shown}", f"$ {command}\n{shown if same(shown, found) else found}"
        start = page.index(before, start)
        page = page[:start] + after + page[start + len(before) :]
        start += len(after)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        rewrite(Path(directory))
