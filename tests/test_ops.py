"""Each operation against its definition written as loops; of GELU the fast one, which the model computes."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from deberta_ref.fast import gelu
from deberta_ref.ops import (
    EPSILON,
    gather_rows,
    layer_norm,
    linear,
    matmul,
    merge_heads,
    mT,
    softmax,
    split_heads,
)
from deberta_ref.params import Linear, Norm

clause = pytest.mark.clause

matrices = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.floats(-100, 100))


def plain(D):
    return Norm(np.ones(D), np.zeros(D))


def layer_norm_by_loops(row, scale, bias):
    mean = math.fsum(row) / len(row)
    variance = math.fsum((v - mean) ** 2 for v in row) / len(row)
    return [(v - mean) / math.sqrt(variance + EPSILON) * s + b for v, s, b in zip(row, scale, bias, strict=True)]


@clause("NORM-DEFINITION", "NORM-EPSILON")
@given(matrices, st.integers(0, 1000))
def test_layer_norm_is_its_definition(x, seed):
    random = np.random.default_rng(seed)
    scale, bias = random.normal(size=x.shape[1]), random.normal(size=x.shape[1])
    expected = [layer_norm_by_loops(row, scale, bias) for row in x.tolist()]
    # The mean errs by a few ulp of 100, and the smallest deviation that divides it is sqrt(EPSILON).
    assert np.allclose(layer_norm(x, Norm(scale, bias)), expected, rtol=1e-12, atol=100 * 2**-50 / math.sqrt(EPSILON))


@clause("NORM-EPSILON")
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6, 1e-9])
def test_epsilon_is_1e_minus_7_and_inside_the_root(size):
    y = layer_norm(np.array([size, -size]), plain(2))
    assert y[0] == pytest.approx(size / math.sqrt(size**2 + 1e-7), rel=1e-14)


@clause("NORM-RANGE")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("D", [1, 2, 3, 384, 768, 1000])
@pytest.mark.parametrize("value", [0, 1, -3.3, 1e10, 1e30, -3e38, 1e-30])
def test_equal_values_give_the_bias_exactly(dtype, D, value):
    bias = np.arange(D).astype(dtype)
    y = layer_norm(np.full((2, D), value, dtype), Norm(np.ones(D, dtype), bias))
    assert y.dtype == dtype
    assert (y == bias).all()


@clause("NORM-RANGE")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1e3, 1e15, 1e30, 3e37])
def test_huge_values_give_what_small_ones_give_without_epsilon(dtype, factor):
    x = np.random.default_rng(0).normal(size=(5, 64))
    centred = x - x.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True))
    y = layer_norm((x * factor).astype(dtype), plain(64))
    # Rounding to the type moves each value by half an ulp; mean and variance add a few more; epsilon is left out.
    assert np.allclose(y, expected, rtol=0, atol=16 * np.finfo(dtype).eps + 4e-7 / factor**2)


@clause("NORM-RANGE")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("D", [3, 768])
def test_a_mean_larger_than_the_spread_costs_no_digits(dtype, D):
    ulps = np.random.default_rng(0).integers(-40, 40, (4, D))
    offset = 2 / np.finfo(dtype).eps  # its neighbours are 2 apart
    y = layer_norm((offset + 2 * ulps).astype(dtype), plain(D))
    # The values are exact, so only the operations after the first difference round: a few ulp of results up to 2.
    assert np.allclose(y, layer_norm(2.0 * ulps, plain(D)), rtol=0, atol=32 * np.finfo(dtype).eps)


@clause("NORM-RANGE")
@pytest.mark.parametrize("row", [[-1e30, 0, 1], [1e30, 0, -1], [-1e30, -1e30, 0]])
def test_huge_values_of_either_sign_are_served(row):
    centred = np.array(row) - np.mean(row)
    y = layer_norm(np.array(row, np.float32), plain(3))
    assert np.allclose(y, centred / centred.std(), rtol=0, atol=1e-6)


@clause("NORM-RANGE")
def test_the_greatest_float64_values_are_served():
    assert layer_norm(np.array([1.7e308, -1.7e308]), plain(2)).tolist() == [1, -1]


@clause("NUM-SOFTMAX")
@given(matrices)
def test_softmax_is_its_definition(x):
    for row, probs in zip(x.tolist(), softmax(x), strict=True):
        weights = [math.exp(v - max(row)) for v in row]
        assert np.allclose(probs, [w / math.fsum(weights) for w in weights], rtol=1e-14, atol=0)


@clause("NUM-SOFTMAX")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_huge_equal_and_single_scores(dtype):
    assert softmax(np.array([[1e30, 1e30], [-1e30, 1e30], [3e38, -3e38]], dtype)).tolist() == [
        [0.5, 0.5],
        [0, 1],
        [1, 0],
    ]
    assert softmax(np.array([[-1e30]], dtype)).tolist() == [[1]]
    assert softmax(np.zeros((2, 0, 3), dtype)).shape == (2, 0, 3)


@clause("ATT-PROJECTIONS", "NUM-DTYPE")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_is_its_definition_in_the_type_of_its_input(dtype):
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 5)).astype(dtype)
    p = Linear(random.normal(size=(3, 5)).astype(np.float16), random.normal(size=3).astype(np.float16))
    y = linear(x, p)
    assert y.dtype == dtype
    for n in range(4):
        for out in range(3):
            expected = math.fsum(float(x[n, k]) * float(p.weight[out, k]) for k in range(5)) + float(p.bias[out])
            assert y[n, out] == pytest.approx(
                expected, abs=32 * float(np.finfo(dtype).eps)
            )  # 6 roundings of values below 8


def test_matmul_is_a_sum_of_products():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 3, 4)), random.normal(size=(2, 4, 5))
    y = matmul(a, b)
    for h, n, m in np.ndindex(2, 3, 5):
        assert y[h, n, m] == pytest.approx(math.fsum(a[h, n, k] * b[h, k, m] for k in range(4)), abs=1e-14)


@clause("ATT-HEADS")
def test_heads_are_blocks_of_neighbouring_features():
    x = np.arange(5 * 12).reshape(5, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (3, 5, 4)
    for h, n, k in np.ndindex(3, 5, 4):
        assert heads[h, n, k] == x[n, 4 * h + k]
    assert (merge_heads(heads) == x).all()


def test_mt_transposes_the_last_two_axes():
    assert mT(np.zeros((2, 3, 4))).shape == (2, 4, 3)


def test_operations_leave_their_arguments_alone():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    before = x.copy()
    p = Linear(np.ones((4, 4)), np.ones(4))
    layer_norm(x, plain(4)), softmax(x), linear(x, p), matmul(x, mT(x)), gather_rows(x, np.zeros((3, 3), int))
    assert (x == before).all()


def test_no_operation_warns_where_numpy_is_told_to_raise():
    huge = np.array([[3e38, -3e38, 1e-45]], np.float32)
    with np.errstate(all="raise"):
        assert np.isfinite(layer_norm(huge, Norm(np.ones(3, np.float32), np.zeros(3, np.float32)))).all()
        assert np.isfinite(softmax(huge)).all()
        assert np.isfinite(gelu(np.array([-13.0, -6.0, 3e38, 1e-45], np.float32))).all()
        assert np.isfinite(gelu(np.array([-38.3, -1e300, 1e308, 5e-324]))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_stay_in_the_type_they_are_given(dtype):
    x = np.ones((2, 3, 4), dtype)
    p = Norm(np.ones(4, np.float64), np.zeros(4, np.float16))
    assert {y.dtype for y in (layer_norm(x, p), softmax(x), gelu(x), matmul(x, mT(x)))} == {np.dtype(dtype)}


def test_the_callers_error_state_is_left_as_it_was_in_every_thread():
    x = np.full((3, 4), 1e30, np.float32)

    def states(_):
        with np.errstate(all="warn"):
            for _ in range(300):
                layer_norm(x, plain(4)), softmax(x), gelu(x)
            return np.geterr()

    with ThreadPoolExecutor(4) as pool:
        assert all(set(state.values()) == {"warn"} for state in pool.map(states, range(8)))
