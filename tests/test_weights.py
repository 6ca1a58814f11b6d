"""Ports whose weights are not the checkpoint's: their arithmetic is judged, and the rounding of the weights is said."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref.cli import main

clause = pytest.mark.clause

PORT = """\
import numpy as np
from deberta_ref import forward, from_preset
from deberta_ref.params import Params


def rounded(name, x):
    if x.ndim != 2:
        return x
    step = abs(x).max(axis=1, keepdims=True) / 127
    return (np.rint(x / np.where(step == 0, 1, step)) * step).astype(np.float32)


def load(directory):
    params = from_preset(directory)
    used = Params.from_arrays(params.config, {n: rounded(n, x) for n, x in params.arrays().items()})
    return lambda inputs: forward(used, inputs, "float32", allow_long=True)


def weights(directory):
    from safetensors.numpy import load_file
    tensors = load_file(directory + "/model.safetensors")
    return {n: rounded(n, x.astype(np.float32)) for n, x in tensors.items()}


def tanh(directory):
    from deberta_ref.conformance.cases.variants import exchanged
    params = from_preset(directory)
    used = Params.from_arrays(params.config, {n: rounded(n, x) for n, x in params.arrays().items()})
    gelu = lambda x: (0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))).astype(x.dtype)
    return lambda inputs: exchanged(gelu=gelu).forward(used, inputs, "float32", allow_long=True)
"""


@pytest.fixture
def port(tmp_path):
    path = tmp_path / "int8.py"
    path.write_text(PORT)
    return path


def judged(tmp_path, *arguments):
    report = tmp_path / "report.json"
    code = main(["check", *map(str, arguments), "--json", str(report)])
    return code, json.loads(report.read_text())


@clause("PREC-WEIGHTS")
def test_the_arithmetic_of_a_quantized_port_conforms_with_the_weights_that_it_uses(port, tmp_path, capsys):
    code, report = judged(tmp_path, f"{port}:load", "--weights", f"{port}:weights", "--suite", "model")
    assert code == 0
    assert report["conforms"]
    assert len(report["weights"]) == report["counts"]["pass"]
    assert all(0.0001 < rounding["relative"] < 0.02 for rounding in report["weights"])
    assert max(rounding["multiples"] for rounding in report["weights"]) > 1000
    shown = " ".join(capsys.readouterr().out.split())
    assert "It is judged with its own weights, which are up to" in shown
    code, report = judged(tmp_path, f"{port}:load", "--suite", "model")
    assert code == 1
    assert report["weights"] == []


@clause("PREC-WEIGHTS")
def test_a_mistake_of_a_quantized_port_is_named(port, tmp_path):
    code, report = judged(tmp_path, f"{port}:tanh", "--weights", f"{port}:weights", "--suite", "model")
    assert code == 1
    assert report["diagnosis"][0]["mutant"] == "gelu-tanh"
    assert report["diagnosis"][0]["score"] < 4


@clause("PREC-WEIGHTS")
def test_weights_come_from_files_too(port, tmp_path):
    assert main(["check", "--export", str(tmp_path / "questions"), "--case", "model/whole"]) == 0
    tensors = load_file(tmp_path / "questions" / "model" / "whole" / "checkpoint" / "model.safetensors")
    space: dict = {}
    exec(PORT, space)  # noqa: S102 - the port's own rounding
    rounded = {name: space["rounded"](name, x) for name, x in tensors.items()}
    (tmp_path / "used" / "model").mkdir(parents=True)
    save_file(rounded, tmp_path / "used" / "model" / "whole.safetensors")
    for given in ("used", "used/model/whole.safetensors"):
        _, report = judged(tmp_path, f"{port}:load", "--weights", tmp_path / given, "--case", "model/whole")
        assert report["undecided"], given
        assert report["cases"][0]["score"] < 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere", "--weights must be a directory"),
        ("nowhere.py:weights", "there is no file nowhere.py"),
        ("", "--weights must not be empty"),
    ],
)
def test_weights_that_say_nothing_are_refused(port, capsys, given, sentence):
    assert main(["check", f"{port}:load", "--weights", given, "--case", "model/whole"]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"other": np.zeros(3, np.float32)}, "it has other, which that does not have"),
        ({"embeddings.LayerNorm.weight": np.zeros(3, np.float32)}, "do not fit the configuration"),
        ({"embeddings.LayerNorm.weight": np.full(24, np.nan, np.float32)}, "finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(port, tmp_path, capsys, tensors, sentence):
    save_file(tensors, tmp_path / "w.safetensors")
    asked = ["check", f"{port}:load", "--weights", str(tmp_path / "w.safetensors"), "--case", "model/whole"]
    assert main(asked) == 2
    assert sentence in capsys.readouterr().err
    assert main(asked[:-2]) == 2
    assert "is a file, for one case" in capsys.readouterr().err
