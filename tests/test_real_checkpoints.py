"""Checkpoints freshly written by transformers, torch and the authors' package load and compute what they compute.

Run with ``pytest -m ports`` and DEBERTA_REF_PORTS_PYTHON naming an interpreter that has ports/requirements.txt.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from deberta_ref import forward, from_preset

pytestmark = pytest.mark.ports

WRITE = Path(__file__).parents[1] / "ports" / "tools" / "write_checkpoints.py"

LAYOUTS = [
    f"{container}-{dtype}" for container in ("safetensors", "bin") for dtype in ("float32", "float16", "bfloat16")
]
LAYOUTS += ["safetensors-sharded", "bin-sharded", "bin-legacy", "authors"]
LAYOUTS += [
    f"{container}-For{task}"
    for container in ("safetensors", "bin")
    for task in ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM")
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("written")
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], str(WRITE), str(root)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == sorted(LAYOUTS)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_loads_and_computes_what_its_own_library_computes(written, layout):
    params = from_preset(written / layout)
    assert params.dtype == ("float16" if layout.endswith("-float16") else "float32")
    inputs = load_file(written / "inputs.safetensors")
    y = forward(params, inputs, dtype="float64")
    valid = inputs["padding_mask"].astype(bool)
    error = abs(y - load_file(written / layout / "output.safetensors")["output"])[valid].max()
    print(f"{layout}: {error:.1e}")
    assert error <= 1e-12  # both compute in float64, and differ by rounding alone


def test_the_layouts_of_one_model_hold_the_same_values(written):
    for dtype in ("float32", "float16", "bfloat16"):
        one, other = (from_preset(written / f"{container}-{dtype}") for container in ("safetensors", "bin"))
        for name, array in one.arrays().items():
            assert np.array_equal(array, other.arrays()[name])
