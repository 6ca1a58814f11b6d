"""pytest --deberta-ref-port, and assert_conforms for a port author's own tests."""

import importlib.metadata
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deberta_ref import forward, pytest_plugin
from deberta_ref.conformance.cases.corpus import corpus, ordinary
from deberta_ref.conformance.verdict import Verdict
from deberta_ref.testing import assert_conforms, golden_case

WHOLE = [case for case in corpus() if case.suite in {"model", "long"}]

PORT = """
import deberta_ref
from deberta_ref.conformance.mistakes.mutants import mutants

def load(checkpoint_dir):
    params = deberta_ref.from_preset(checkpoint_dir)
    return lambda inputs: MODEL.forward(params, inputs, allow_long=True)
"""


def run_pytest(directory, *arguments):
    """A pytest of its own, with the plugin as it is installed, or else by its module."""
    installed = any(e.value == "deberta_ref.pytest_plugin" for e in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "deberta_ref.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", *arguments]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def test_every_case_of_a_right_port_is_a_test_that_passes(tmp_path):
    (tmp_path / "my_port.py").write_text(PORT.replace("MODEL", "deberta_ref.model"))
    done = run_pytest(tmp_path, "--deberta-ref-port", "my_port.py:load", "-v", "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deberta-ref::model/holes PASSED" in done.stdout
    assert "deberta-ref::ops/gelu SKIPPED" in done.stdout
    assert f"{len(WHOLE)} passed" in done.stdout


def test_a_wrong_port_fails_in_the_cases_that_show_it_with_the_sentence_and_no_traceback(tmp_path):
    (tmp_path / "my_port.py").write_text(PORT.replace("MODEL", 'mutants["bucket-multiplied-first"].model()'))
    done = run_pytest(tmp_path, "--deberta-ref-port", "my_port.py:load")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"1 failed, {len(WHOLE) - 1} passed" in done.stdout
    assert "model/bucket-64-of-512: 512 tokens at (64, 512)" in done.stdout
    assert "output errs by " in done.stdout
    assert "times the float32 rounding error of a right implementation; 4 times are allowed." in done.stdout
    assert "Traceback" not in done.stdout
    assert "\n$ deberta-ref check my_port.py:load --case model/bucket-64-of-512\n" in done.stdout


def test_a_wrong_port_in_a_precision_fails_with_the_command_that_judges_it_in_that_precision(tmp_path):
    (tmp_path / "my_port.py").write_text(PORT.replace("MODEL", 'mutants["gelu-sigmoid"].model()') + "\n")
    arguments = ["--deberta-ref-port", "my_port.py:load", "--deberta-ref-precision", "tf32", "-k", "wide"]
    done = run_pytest(tmp_path, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "times the tf32 rounding error of a right implementation; 4 times are allowed." in done.stdout
    assert "\n$ deberta-ref check my_port.py:load --precision tf32 --case precision/wide\n" in done.stdout


@pytest.mark.parametrize(
    ("tap", "said"),
    [
        ("relative_row", "relative_row must be equal to what is expected, as integers are."),
        ("embeddings", "embeddings has an infinite error."),
    ],
)
def test_an_infinite_score_is_said_in_words(tap, said):
    verdict = Verdict("model/whole", "model", "fail", math.inf, {tap: math.inf}, tap)
    assert said in pytest_plugin._sentences(golden_case("model/whole"), verdict).splitlines()


def test_a_port_that_is_not_there_is_a_usage_error(tmp_path):
    done = run_pytest(tmp_path, "--deberta-ref-port", "nowhere.py:load")
    assert done.returncode == 4
    assert "nowhere.py" in done.stderr
    done = run_pytest(tmp_path, "--deberta-ref-port", "")
    assert done.returncode == 4
    assert "must not be empty" in done.stderr


def test_cases_are_counted_among_what_is_collected_and_chosen_by_name(tmp_path):
    (tmp_path / "my_port.py").write_text(PORT.replace("MODEL", "deberta_ref.model"))
    done = run_pytest(
        tmp_path, "--deberta-ref-port", "my_port.py:load", "--collect-only", "-q", "-k", "holes and model"
    )
    cases = sum(ordinary(case) for case in corpus())
    assert done.stdout.splitlines()[0] == "::deberta-ref::model/holes"
    assert f"1/{cases} tests collected ({cases - 1} deselected)" in done.stdout


def test_without_the_option_nothing_is_added(tmp_path):
    (tmp_path / "test_mine.py").write_text("def test_mine(): pass\n")
    assert "1 passed" in run_pytest(tmp_path).stdout


def test_assert_conforms_takes_what_is_right_and_refuses_what_is_not():
    case = golden_case("model/tail-padding")
    right = forward(case.params, case.inputs)
    assert_conforms(right, case)
    assert_conforms(right, "model/tail-padding", "output")
    with pytest.raises(
        AssertionError,
        match=r"output errs by up to 0\.001.* times the float32 rounding error .*; 4 times are allowed\.",
    ):
        assert_conforms(right + np.float32(0.001), case)
    with pytest.raises(AssertionError, match=r"output must be .* got"):
        assert_conforms(right[0], case)
    with pytest.raises(ValueError, match="tap must be one that model/tail-padding holds"):
        assert_conforms(right, case, "outputs")
    with pytest.raises(ValueError, match="case must be one of the golden cases"):
        golden_case("model/nothing")


def test_an_argument_that_is_not_a_case_is_refused():
    with pytest.raises(TypeError, match="case must be a golden case, or its id, such as model/whole; got int"):
        assert_conforms(None, 5)


def test_wrong_integers_are_counted_in_the_message():
    row = golden_case("model/whole").expected["relative_row"].copy()
    row[0, :3] += 1
    with pytest.raises(AssertionError, match=rf"relative_row must be equal .*; 3 of {row.size} differ\."):
        assert_conforms(row, "model/whole", "relative_row")
