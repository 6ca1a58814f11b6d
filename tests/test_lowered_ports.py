"""Deployments of transformers in less than float32, each judged by the command, and named as what it is."""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.ports

ADAPTERS = Path(__file__).parents[1] / "ports" / "adapters" / "lowered.py"

NAMED = {
    "bfloat16": "precision-bfloat16",
    "autocast_float16": "precision-float16-autocast",
    "weights_float16": "loaded-in-float16",
    "layer_norm_bfloat16": "precision-bfloat16-layer-norm",
    "hidden_state_float16": "precision-float16-hidden-state",
    "gelu_float16": "precision-float16-gelu",
    "torch_dynamic_int8": "precision-int8-torch",
    "torchao_int8_weights": "weights-int8-channels-torch",
    "torchao_int8": "precision-int8-tokens",
    "torchao_float8_weights": "weights-float8-e4m3-channels-torchao",
    "onnxruntime_int8": "precision-int8-onnxruntime",
    "onnxruntime_int8_matmul": "precision-int8-onnxruntime-channels-matmul",
    "onnxruntime_uint8_channels": "precision-uint8-onnxruntime-channels",
    "onnxruntime_4_bits": "precision-int4-onnxruntime-blocks",
}
"""What is named first in a port that is judged in float32."""

RIGHT = [(precision, f"{way}{precision}") for precision in ("bfloat16", "float16") for way in ("", "autocast_")]

WRONG = {
    ("float16", "onnxruntime_float16"): "bucket-divisor-in-half",
    ("bfloat16", "openvino_bfloat16"): "bucket-logarithm-in-bfloat16",
    ("bfloat16", "openvino_float16"): "bucket-logarithm-in-bfloat16",  # on processors with bfloat16 it computes in that
    ("bfloat16", "torchao_int8_weights"): "weights-int8-channels-torch",
}
"""What is named in a port's own precision."""


def judged(name, tmp_path, *options, adapter=ADAPTERS):
    report = tmp_path / "report.json"
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], "-m", "deberta_ref", "check", f"{adapter}:{name}", *options]
    done = subprocess.run(
        [*command, "--json", str(report)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "EXPORTER": "legacy"},
    )
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(report.read_text())


@pytest.mark.parametrize("name", NAMED)
def test_a_deployment_is_named_as_what_it_is(name, tmp_path):
    report = judged(name, tmp_path, "--suite", "model", "--suite", "long")
    assert not report["conforms"]
    assert report["diagnosis"][0]["mutant"] == NAMED[name]
    assert report["diagnosis"][0]["score"] <= 4


@pytest.mark.parametrize(("precision", "name"), RIGHT)
def test_a_right_deployment_conforms_in_its_precision(precision, name, tmp_path):
    report = judged(name, tmp_path, "--precision", precision)
    assert report["conforms"]
    assert not any(entry["state"] == "has" for entry in report["evidence"])


@pytest.mark.parametrize(
    ("policy", "backend"),
    [("float16", "tensorflow"), ("mixed_bfloat16", "tensorflow"), ("mixed_float16", "jax"), ("bfloat16", "jax")],
)
def test_kerashub_conforms_under_its_policies(policy, backend, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    adapter = ADAPTERS.with_name("kerashub.py")
    report = judged(policy, tmp_path, "--precision", policy.removeprefix("mixed_"), adapter=adapter)
    assert report["conforms"]
    assert not any(entry["state"] == "has" for entry in report["evidence"])


@pytest.mark.parametrize(("precision", "name"), WRONG)
def test_a_wrong_deployment_is_named_in_its_precision(precision, name, tmp_path):
    report = judged(name, tmp_path, "--precision", precision)
    assert not report["conforms"]
    assert report["diagnosis"][0]["mutant"] == WRONG[precision, name]
