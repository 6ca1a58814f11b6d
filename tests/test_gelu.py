"""GELU against 40 digits of mpmath: GELU-ERF, GELU-ACCURACY."""

import math

import mpmath
import numpy as np
import pytest

from deberta_ref.fast.gelu import gelu

clause = pytest.mark.clause

INTERVALS = [(-40, -38), (-38.7, -37), (-37, -20), (-20, -8), (-8, -4), (-4, -1), (-1, 0), (0, 1), (1, 4), (4, 40)]


def exact(x):
    with mpmath.workdps(40):
        return mpmath.mpf(float(x)) * mpmath.erfc(-mpmath.mpf(float(x)) / mpmath.sqrt(2)) / 2


def errors(x):
    """The absolute errors of gelu(x), and the exact values rounded to the type of x."""
    truth = [exact(value) for value in x]
    wrong = [float(abs(mpmath.mpf(float(y)) - t)) for y, t in zip(gelu(x), truth, strict=True)]
    return np.array(wrong), np.array([float(t) for t in truth]).astype(x.dtype)


@clause("GELU-ERF", "GELU-ACCURACY")
@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_float64_errs_by_at_most_4_ulp(low, high):
    x = np.random.default_rng(0).uniform(low, high, 1500)
    wrong, truth = errors(x)
    assert (wrong <= 4 * np.spacing(abs(truth))).all()


@clause("GELU-ACCURACY")
def test_float64_is_right_near_zero_and_at_the_nodes():
    x = np.concatenate([2.0 ** -np.arange(1, 1070, 7), np.arange(-640, 641) / 16, np.arange(-640, 640) / 16 + 1 / 32])
    wrong, truth = errors(x)
    assert (wrong <= 4 * np.spacing(abs(truth))).all()


@clause("GELU-ACCURACY")
@pytest.mark.parametrize(("low", "high"), [(-40, -6), (-6.01, -1), (-1, 0), (0, 1), (1, 6.01), (6, 40)])
def test_float32_errs_by_what_a_half_of_x_times_1_plus_erf_can_give(low, high):
    x = np.random.default_rng(0).uniform(low, high, 3000).astype(np.float32)
    wrong, truth = errors(x)
    assert (wrong <= abs(x.astype(float)) * 2.0**-23).all()
    assert (wrong[x > 0] <= 2 * np.spacing(abs(truth[x > 0]))).all()


@clause("GELU-ERF")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits_and_special_values(dtype):
    y = gelu(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38], dtype))
    assert y.dtype == dtype
    assert y[:2].tolist() == [0, 0]
    assert [math.copysign(1, v) for v in y[:2]] == [1, -1]
    assert y[2] == np.inf
    assert y[3] == 0 == y[6]
    assert np.isnan(y[4])
    assert y[5] == dtype(3e38)


@clause("GELU-ACCURACY")
def test_float64_reaches_down_to_the_subnormal_numbers():
    y = gelu(np.array([-38.2, -38.4, -39.5]))
    assert -1e-316 < y[0] < y[1] < 0
    assert y[2] == 0


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (40_000,), (2, 3, 5)])
def test_any_shape_contiguous_or_not(shape):
    x = np.random.default_rng(1).normal(size=shape)
    y = gelu(x)
    assert y.shape == shape
    assert y.T.tolist() == gelu(x.T).tolist()


def test_float32_does_not_depend_on_the_neighbours():
    x = np.random.default_rng(2).normal(size=50_000).astype(np.float32)
    assert (gelu(x)[17_000:17_010] == gelu(x[17_000:17_010])).all()
