"""Implementations that share no code with this one agree with it, in float64, on models that neither chose.

Run with ``pytest -m ports -rP`` and DEBERTA_REF_PORTS_PYTHON naming an interpreter that has ports/requirements.txt.
"""

import math
import os
import subprocess
from pathlib import Path

import models
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref import trace
from deberta_ref.conformance.cases import noise

pytestmark = pytest.mark.ports

RUN = Path(__file__).parents[1] / "ports" / "tools" / "run.py"
SEEDS = range(24)

# Two float64 evaluations differ by rounding alone: by up to 1e-13 in scores and products, which reach 100.
EXACT = 1e-12

# transformers takes sqrt(3d) in float32: a relative 3e-8 of every score, up to 100, unless 3d is a perfect square.
FLOAT32_ROOT = 1e-5


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Models, their inputs and the oracle's taps, by the directory that they were written to."""
    root = tmp_path_factory.mktemp("cases")
    found = {}
    for seed in SEEDS:
        random = np.random.default_rng([2, seed])
        config = models.random_config(random)
        params = models.random_params(config, random)
        long = seed % 6 == 5 and config.max_sequence_length - 1 > config.bucket_size // 2
        inputs = models.random_inputs(config, random, T=config.max_sequence_length + 7 if long else None)
        directory = root / f"{seed:02}"
        params.save(directory)
        save_file(inputs, directory / "inputs.safetensors")
        found[directory] = params, inputs, trace(params, inputs, dtype="float64", allow_long=True)
    return root, found


def deviations(cases, port):
    """For each case, the largest deviation of any tap on valid tokens and pairs, and of the output on padded tokens."""
    root, found = cases
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], str(RUN), port, str(root), "--dtype", "float64"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    for directory, (params, inputs, truth) in found.items():
        theirs = load_file(directory / f"{port}.safetensors")
        assert theirs.keys() == truth.keys()
        assert (theirs["relative_row"] == truth["relative_row"]).all()
        largest = max(size.max for size in noise.errors(theirs, truth, params, inputs).values())
        padded = ~inputs["padding_mask"].astype(bool)
        yield params.config, largest, abs(theirs["output"] - truth["output"])[padded].max(initial=0.0)


def test_the_authors_package_agrees_on_every_tap_and_on_padded_tokens(cases):
    largest = 0.0
    for config, valid, padded in deviations(cases, "authors"):
        assert valid <= EXACT, config
        assert padded <= EXACT, config
        largest = max(largest, valid, padded)
    print(f"authors: largest deviation of any tap {largest:.1e} on {len(SEEDS)} models")


def test_transformers_agrees_on_every_tap(cases):
    largest = {True: 0.0, False: 0.0}
    for config, valid, _ in deviations(cases, "huggingface"):
        exact = math.isqrt(3 * config.head_dim) ** 2 == 3 * config.head_dim
        assert valid <= (EXACT if exact else FLOAT32_ROOT), config
        largest[exact] = max(largest[exact], valid)
    print(f"transformers, any tap: {largest[True]:.1e} where 3d is a square, {largest[False]:.1e} elsewhere")
