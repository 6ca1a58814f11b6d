"""GELU by tables, to the last digits: clauses GELU-ERF and GELU-ACCURACY of spec/. By definition: ``ops.gelu``.

GELU(x) = x · Φ(x), Φ the standard normal distribution function. NumPy has no erf, and ½(1 + erf(x/√2)) would lose every
digit in the negative tail, where Φ(x) is small.

In float64 the tail is Φ(−t) = exp(−t²/2) · G(t), where G(t) = Φ(−t) · exp(t²/2) is smooth, between ½ at 0 and 0.01 at
40, and solves G′ = t·G − 1/√(2π). So its Taylor series about any node follows from its value there, and the values
follow from node to node downward from t = 40. ``_taylor`` does that in integers, once; an element then takes the
series of its nearest node. exp(−t²/2) is computed here too, for its argument is needed beyond float64: t² is split.

In float32 Φ − ½ is a straight line within each of 24,576 intervals, right to 4e-9. That takes few passes over the
numbers, and one look-up for both coefficients of a line, which are kept as one complex number.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deberta_ref.precision import Array, wide

ELEMENTS_AT_A_TIME = 1 << 14
"""A block and its temporaries stay in the cache."""

TAIL = 40.0
"""Beyond this t, t · Φ(−t) is under half the smallest float64."""

NODES_PER_UNIT = 16
DEGREE = 9

LN2_HIGH = float.fromhex("0x1.62e42feep-1")
"""ln 2 cut to 32 bits, so that a multiple of it below 2²¹ is exact."""

LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
"""ln 2 − LN2_HIGH."""

FLOAT32_BOUND = 6
"""Beyond this |x|, Φ(x) is 0 or 1 to 1e-9."""

FLOAT32_LINES_PER_UNIT = 2048


def gelu(x: Array) -> Array:
    """The product x · Φ(x), element by element, in the type of ``x``: any shape, the same shape."""
    # GELU-ERF, GELU-ACCURACY
    if x.dtype.itemsize == 2:
        return gelu(wide(x)).astype(x.dtype)  # HALF-RESULTS
    evaluate = _gelu64 if x.dtype == np.float64 else _gelu32
    flat = np.ascontiguousarray(x).reshape(-1)
    result = np.empty_like(flat)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, flat.size, ELEMENTS_AT_A_TIME):
            result[start : start + ELEMENTS_AT_A_TIME] = evaluate(flat[start : start + ELEMENTS_AT_A_TIME])
    return result.reshape(x.shape)


def _gelu64(x: Array) -> Array:
    bounded = np.clip(x, -TAIL, TAIL)
    t = np.fmin(abs(x), TAIL)  # a NaN takes the last node, and stays a NaN in x
    node = np.rint(t * NODES_PER_UNIT)
    G = _horner(_taylor().take(node.astype(np.intp), axis=1), t - node / NODES_PER_UNIT)

    high = t.astype(np.float32).astype(np.float64)  # so that high² is exact: t² = high² + (t − high)(t + high)
    exponent = -0.5 * high * high
    twos = np.rint(exponent / math.log(2))
    rest = (exponent - twos * LN2_HIGH) - (twos * LN2_LOW + 0.5 * (t - high) * (t + high))
    exp_minus_1 = rest + rest * rest * _horner(_EXP, rest)

    scaled = bounded * G
    tail = np.ldexp(scaled + scaled * exp_minus_1, twos.astype(np.int32))  # x · Φ(−|x|), rounded once where subnormal
    return np.where(np.signbit(x), tail, x - tail)  # x · Φ(x) = x − x · Φ(−x)


def _gelu32(x: Array) -> Array:
    from_below = bounded = x
    if not (x.min() > -FLOAT32_BOUND and x.max() < FLOAT32_BOUND):  # or there is a NaN, which stays one in x
        from_below = np.maximum(x, np.float32(-FLOAT32_BOUND))
        bounded = np.minimum(from_below, np.float32(FLOAT32_BOUND))
    interval = bounded * np.float32(FLOAT32_LINES_PER_UNIT)
    interval += np.float32(FLOAT32_LINES_PER_UNIT * FLOAT32_BOUND)
    line = _lines().take(interval.astype(np.int32), mode="clip")  # by way of int32, which a NaN becomes one of as well
    result = bounded * line.imag
    result += line.real
    result += np.float32(0.5)
    result *= from_below
    return result


_EXP = np.array([1 / math.factorial(n) for n in range(2, 14)])
"""(exp(r) − 1 − r) / r² by powers of r, to 2e-17 for |r| ≤ ½ ln 2."""


def _horner(coefficients: Array, x: Array) -> Array:
    """The polynomial with these coefficients, lowest power first; each is a number or one number an element of x."""
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value *= x
        value += coefficient
    return value


@lru_cache(maxsize=1)
def _taylor() -> Array:
    """The coefficients of G about t = 0, 1/16, …, 40: (DEGREE + 1, nodes), float64, each rounded once.

    In fixed point with 256 bits. G is proportional to Mills' ratio R = Φ(−t)/φ(t), R′ = t·R − 1, and G(0) = ½.
    """
    one = 1 << 256
    last = int(TAIL) * NODES_PER_UNIT
    ratio = 0
    for n in range(400, 0, -1):  # R(t) = 1/(t + 1/(t + 2/(t + 3/(t + …
        ratio = n * one * one // (int(TAIL) * one + ratio)
    ratio = one * one // (int(TAIL) * one + ratio)
    nodes = []
    for node in range(last, -1, -1):
        series = [ratio, node * ratio // NODES_PER_UNIT - one]
        for n in range(1, 60):  # (n + 1) a(n + 1) = t a(n) + a(n − 1)
            series.append((node * series[n] // NODES_PER_UNIT + series[n - 1]) // (n + 1))
        nodes.append(series[: DEGREE + 1])
        ratio = sum((-1) ** n * a // NODES_PER_UNIT**n for n, a in enumerate(series))  # R at the next node down
    at_zero = nodes[-1][0]
    return np.array([[a / (2 * at_zero) for a in series] for series in reversed(nodes)]).T.copy()


@lru_cache(maxsize=1)
def _lines() -> NDArray[np.complex64]:
    """Φ(x) − ½ as the line a + b · x, kept as a + bi, for x from −6 + n/2048 to −6 + (n + 1)/2048: each rounded once.

    A line has the slope of the chord, and its errors at both ends are that in the middle with the other sign. The first
    and the last are level, so that Φ is 0 and 1 from there on.
    """
    reach = FLOAT32_BOUND * FLOAT32_LINES_PER_UNIT
    x = np.arange(1, 2 * reach + 1) / (2 * FLOAT32_LINES_PER_UNIT)  # middles and ends in turn
    half = 0.5 + _gelu64(-x) / x  # Φ(x) − ½ = ½ − Φ(−x)
    middle, end = half[::2], half[1::2]
    start = np.concatenate([[0.0], end[:-1]])
    slope = (end - start) * FLOAT32_LINES_PER_UNIT
    at_zero = 0.5 * middle + 0.25 * (start + end) - slope * x[::2]
    at_zero[-1], slope[-1] = 0.5, 0.0
    return np.concatenate([(1j * slope - at_zero)[::-1], 1j * slope + at_zero]).astype(np.complex64)
