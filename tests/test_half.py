"""float16, bfloat16 and the mixed policies: every operation of that type, computed in float32 and rounded once."""

import importlib
import math
import subprocess
import sys
from typing import Any

import ml_dtypes
import models
import numpy as np
import pytest
from hypothesis import given, strategies as st

from deberta_ref import Params, fast, forward, from_preset, init, ops, trace
from deberta_ref.cli import main
from deberta_ref.conformance.mistakes.loading import bfloat16 as nearest_bfloat16
from deberta_ref.params import Linear, Norm
from deberta_ref.taps import watched

clause = pytest.mark.clause

HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
NAMES = ["float16", "bfloat16"]

seeds = st.integers(0, 2**32)


def drawn(random, dtype, *shape):
    return random.normal(size=shape).astype(np.float32).astype(dtype)


def same(found, exact, dtype):
    """Assert that a result is of the type, and is what was computed in float32, rounded once."""
    assert found.dtype == dtype
    assert found.shape == exact.shape
    assert (found.astype(np.float32) == exact.astype(np.float32).astype(dtype).astype(np.float32)).all()


@clause("HALF-RESULTS", "HALF-PRODUCTS", "HALF-SOFTMAX", "HALF-NORM")
@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@given(st.integers(1, 9), st.integers(1, 12), seeds)
def test_every_operation_computes_in_float32_and_rounds_once(dtype, T, d, seed):
    random = np.random.default_rng(seed)
    x, y, weight, bias = (drawn(random, dtype, *shape) for shape in [(T, d), (T, d), (5, d), (5,)])
    scale = drawn(random, np.float32, d)
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    same(ops.matmul(x, y.T), x32 @ y32.T, dtype)
    same(ops.softmax(x), ops.softmax(x32), dtype)
    same(ops.layer_norm(x, Norm(scale, scale)), ops.layer_norm(x32, Norm(scale, scale)), dtype)
    same(ops.scaled(x, 3 * d), x32 / math.sqrt(3 * d), dtype)
    same(fast.gelu(x), fast.gelu(x32), dtype)
    same(x + y, x32 + y32, dtype)
    product = (x32 @ weight.astype(np.float32).T).astype(dtype).astype(np.float32)
    same(ops.linear(x, Linear(weight, bias)), product + bias.astype(np.float32), dtype)
    same(ops.linear(x, Linear(weight.astype(np.float32), bias)), product + bias.astype(np.float32), dtype)


@clause("HALF-RESULTS")
@pytest.mark.parametrize("dtype", HALVES, ids=NAMES)
@given(st.integers(1, 9), seeds)
def test_relative_products_round_as_products_do_in_either_way(dtype, T, seed):
    random = np.random.default_rng(seed)
    x, relative = drawn(random, dtype, 2, T, 3), drawn(random, dtype, 2, 8, 3)
    row = ops.gather_rows.__globals__["np"].add.outer(np.arange(T), -np.arange(T)).clip(-4, 3) + 4
    plain = ops.relative_products(x, relative, row)
    found = fast.relative_products(x, relative, row)
    assert found.dtype == plain.dtype == dtype
    exact = ops.relative_products(x.astype(np.float64), relative.astype(np.float64), row)
    step = float(ml_dtypes.finfo(dtype).eps)
    assert (abs(found.astype(np.float64) - exact) <= step * abs(exact) + 1e-6).all()


@clause("NUM-DTYPE", "HALF-RESULTS", "HALF-POLICY")
@pytest.mark.parametrize("policy", ["", "mixed_"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", ["float32", "float64", "float16", "bfloat16"])
def test_every_tap_is_of_the_type_and_forward_gives_the_same(name, policy, kept):
    random = np.random.default_rng(1)
    params = models.random_params(models.SMALL, random, "float32").astype(kept)
    inputs = models.random_inputs(models.SMALL, random, T=13)
    taps = trace(params, inputs, policy + name)
    assert {tap.dtype.name for tap_name, tap in taps.items() if tap_name != "relative_row"} == {name}
    assert (forward(params, inputs, policy + name) == taps["output"]).all()
    alone = forward(params, {key: value[:1] for key, value in inputs.items()}, policy + name)
    assert (alone == taps["output"][:1]).all()


@clause("HALF-POLICY")
def test_a_mixed_policy_leaves_the_scales_of_norms_as_they_are_kept():
    random = np.random.default_rng(2)
    params = models.random_params(models.SMALL, random, "float32")
    inputs = models.random_inputs(models.SMALL, random, T=9)
    pure, mixed = forward(params, inputs, "float16"), forward(params, inputs, "mixed_float16")
    assert (pure == forward(params.astype("float16"), inputs, "float16")).all()
    assert (pure != mixed).any()
    exact = {name: array.astype(np.float16).astype(np.float32) for name, array in params.arrays().items()}
    same_in_both = Params.from_arrays(models.SMALL, exact)
    assert (forward(same_in_both, inputs, "float16") == forward(same_in_both, inputs, "mixed_float16")).all()


@pytest.mark.parametrize(("name", "least", "most"), [("float16", 1e-4, 1e-2), ("bfloat16", 1e-3, 1e-1)])
def test_it_errs_by_about_as_much_as_the_type_has_digits(name, least, most):
    random = np.random.default_rng(3)
    params = init(models.SMALL, seed=1)
    inputs = models.inputs_of(random.integers(0, 40, (4, 16)))
    error = forward(params, inputs, name).astype(np.float64) - forward(params, inputs, "float64")
    assert least < np.sqrt(np.square(error).mean()) < most


def test_half_parameters_compute_in_float32_unless_they_are_asked_otherwise():
    inputs = models.inputs_of([[1, 2, 3]])
    for name in NAMES:
        assert forward(init(models.SMALL, dtype=name), inputs).dtype == np.float32


def test_casting_rounds_to_the_nearest_and_ties_to_even():
    random = np.random.default_rng(4)
    bits = random.integers(0, 2**31, 100_000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = np.concatenate([x[np.isfinite(x) & (abs(x) < 1e38)], np.float32([1 + 2**-8, 1 + 3 * 2**-8])])
    assert (x.astype(ml_dtypes.bfloat16).astype(np.float32) == nearest_bfloat16(x)).all()


def large(factor: float) -> Params:
    arrays = {name: factor * array + factor for name, array in init(models.SMALL).arrays().items()}
    return Params.from_arrays(models.SMALL, arrays)


@clause("HALF-OVERFLOW")
def test_overflow_in_float16_is_said_with_the_tap_where_it_begins(capsys, tmp_path):
    inputs = models.inputs_of([[1, 2, 3]])
    for compute in (forward, trace):
        with pytest.warns(RuntimeWarning, match=r"overflowed, first at or before layers\.0\.attention\.query: "):
            compute(large(300.0), inputs, "float16")
        compute(large(300.0), inputs, "bfloat16")
        compute(large(1.0), inputs, "float16")
    large(300.0).save(tmp_path)
    assert main(["run", "--model", str(tmp_path), "--ids", "1 2 3", "--dtype", "float16"]) == 0
    assert capsys.readouterr().err.startswith(
        "deberta-ref run: float16 overflowed, first at or before layers.0.attention.query"
    )


@clause("HALF-OVERFLOW")
def test_the_first_tap_is_the_first_of_the_computation_not_the_first_that_is_met():
    def two_sequences():
        with watched(np.dtype(np.float16)) as tap:
            for c2c, probs in ((1.0, math.nan), (math.inf, math.nan)):
                tap("attention.c2c", np.float16([c2c]))
                tap("attention.probs", np.float16([probs]))

    with pytest.warns(RuntimeWarning, match=r"first at or before attention\.c2c: "):
        two_sequences()


@clause("HALF-OVERFLOW")
def test_overflow_is_said_once_however_many_batches_there_are(capsys, tmp_path):
    large(300.0).save(tmp_path)
    ids = [argument for _ in range(20) for argument in ("--ids", "1 2 3")]
    assert main(["run", "--model", str(tmp_path), *ids, "--dtype", "float16"]) == 0
    assert capsys.readouterr().err.count("overflowed") == 1


@clause("HALF-OVERFLOW")
def test_overflow_between_two_taps_is_said_too():
    arrays = {n: 0 * a + 6e4 if ".down." in n else a for n, a in init(models.SMALL).arrays().items()}
    params = Params.from_arrays(models.SMALL, arrays)
    with pytest.warns(RuntimeWarning, match=r"first at or before layers\.0\.output: "):
        y = forward(params, models.inputs_of([[1, 2, 3]]), "float16")
    assert not np.isfinite(y).any()


@clause("NUM-DTYPE")
def test_float64_is_rounded_to_bfloat16_once():
    params = init(models.SMALL, dtype="float64")
    above_the_middle = {"embeddings_norm.scale": np.full(12, 1 + 2.0**-8 + 2.0**-40)}  # float32 rounds it to the middle
    cast = Params.from_arrays(models.SMALL, params.arrays() | above_the_middle).astype("bfloat16")
    assert (cast.embeddings_norm.scale.astype(float) == 1 + 2.0**-7).all()


@clause("HALF-POLICY")
def test_under_a_mixed_policy_float64_is_rounded_once_too():
    random = np.random.default_rng(6)
    exact = models.random_params(models.SMALL, random, "float32").astype("bfloat16").astype("float64").arrays()
    above_the_middle = {name: x * (1 + 2.0**-8 + 2.0**-40) for name, x in exact.items()}
    params = Params.from_arrays(models.SMALL, above_the_middle)
    rounded = {name: x for name, x in params.astype("bfloat16").arrays().items() if "norm" not in name}
    inputs = models.random_inputs(models.SMALL, random, T=9)
    once = forward(Params.from_arrays(models.SMALL, above_the_middle | rounded), inputs, "mixed_bfloat16")
    assert (forward(params, inputs, "mixed_bfloat16") == once).all()


def test_a_number_too_large_for_bfloat16_is_refused_and_infinities_stay():
    arrays = init(models.SMALL).arrays() | {"embeddings_norm.scale": np.full(12, np.finfo(np.float32).max)}
    with pytest.raises(ValueError, match=r"within ±3\.38953e\+38, the range of bfloat16; .*: use float32 or float64\."):
        Params.from_arrays(models.SMALL, arrays).astype("bfloat16")
    arrays["embeddings_norm.scale"] = np.full(12, np.inf, np.float32)
    for name in NAMES:
        assert np.isinf(Params.from_arrays(models.SMALL, arrays).astype(name).embeddings_norm.scale).all()


def test_the_type_of_parameters_in_both_half_precisions_is_float32():
    arrays = init(models.SMALL, dtype="float16").arrays() | {"embeddings_norm.bias": np.zeros(12, HALVES[1])}
    assert Params.from_arrays(models.SMALL, arrays).dtype == np.float32
    arrays["relative_norm.bias"] = np.zeros(12)
    assert Params.from_arrays(models.SMALL, arrays).dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_half_precision_are_saved_and_opened_exactly(tmp_path, name):
    params = models.random_params(models.SMALL, np.random.default_rng(5), "float32").astype(name)
    params.save(tmp_path)
    opened = from_preset(tmp_path, dtype=name)
    assert opened == params
    assert opened.dtype.name == name
    assert from_preset(tmp_path).astype(name) == params


def test_the_command_line_writes_bfloat16(tmp_path):
    out, converted = tmp_path / "y.safetensors", tmp_path / "converted"
    assert main(["run", "--ids", "1 2 3", "--dtype", "bfloat16", "--out", str(out)]) == 0
    assert main(["trace", "--ids", "1 2 3", "--dtype", "mixed_bfloat16", "--out", str(out)]) == 0
    source = "deberta_v3_demo_en"
    assert main(["convert", source, str(converted), "--layout", "huggingface", "--dtype", "bfloat16"]) == 0
    assert from_preset(converted, dtype="bfloat16") == from_preset(source, dtype="bfloat16")


def test_npy_has_float32_for_bfloat16_and_inputs_are_read_from_a_file_of_bfloat16_taps(tmp_path):
    y, taps = tmp_path / "y.npy", tmp_path / "taps.safetensors"
    assert main(["run", "--ids", "1 2 3", "--dtype", "bfloat16", "--out", str(y)]) == 0
    expected = forward(from_preset("deberta_v3_demo_en"), models.inputs_of([[1, 2, 3]]), "bfloat16")
    assert np.load(y).dtype == np.float32
    assert (np.load(y) == expected.astype(np.float32)).all()
    assert main(["trace", "--ids", "1 2 3", "--dtype", "bfloat16", "--out", str(taps)]) == 0
    assert main(["run", "--ids-file", str(taps)]) == 0


def test_kerashubs_layout_keeps_bfloat16(tmp_path):
    source, there, back = "deberta_v3_demo_en", tmp_path / "keras", tmp_path / "back"
    assert main(["convert", source, str(there), "--layout", "keras", "--dtype", "bfloat16"]) == 0
    assert from_preset(there, dtype="bfloat16") == from_preset(source, dtype="bfloat16")
    assert main(["convert", str(there), str(back), "--layout", "huggingface"]) == 0
    assert from_preset(back).dtype == np.float32


def test_without_ml_dtypes_bfloat16_says_what_to_install(monkeypatch):
    def missing(_name: str) -> Any:
        raise ImportError

    monkeypatch.setattr("deberta_ref.precision.importlib", type("", (), {"import_module": staticmethod(missing)}))
    with pytest.raises(ImportError, match=r"^bfloat16 needs the package ml_dtypes: pip install 'deberta-ref\[half\]'"):
        forward(init(models.SMALL), models.inputs_of([[1]]), "bfloat16")
    assert importlib.import_module("ml_dtypes")


def test_importing_the_package_does_not_import_ml_dtypes():
    program = "import deberta_ref, sys; assert 'ml_dtypes' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
