"""Chapter 3 and 8: distances, buckets, rows. Integers are compared exactly."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deberta_ref import Config
from deberta_ref.positions import _magnitudes, bucket, relative_row

clause = pytest.mark.clause

SIZES = [*range(2, 40), 63, 64, 65, 100, 128, 200, 255, 256, 257, 300, 384, 511, 512]
LENGTHS = [2, 3, 16, 17, 33, 65, 100, 128, 129, 300, 512, 513, 1024, 1500, 2047, 2048]


def sizes(bucket_size, max_sequence_length):
    return Config(10, 1, 1, 2, 1, max_sequence_length=max_sequence_length, bucket_size=bucket_size)


def with_float64_logarithms(bucket_size, max_sequence_length):
    """The buckets of the distances 0 … M − 1 by the authors' formula, in the authors' order of operations."""
    m, M = bucket_size // 2, max_sequence_length
    distance = np.arange(M)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.ceil(np.log(distance / m) / np.log((M - 1) / m) * (m - 1))
    return np.where(distance <= m, distance, m + t).astype(int)


def is_tie(distance, t, m, M):
    return distance ** (m - 1) * m**t == (M - 1) ** t * m ** (m - 1)


@clause("REL-BUCKET")
@pytest.mark.parametrize("bucket_size", SIZES)
def test_buckets_agree_with_float64_logarithms_except_at_exact_ties(bucket_size):
    m = bucket_size // 2
    for M in LENGTHS:
        exact = np.array(_magnitudes(M, bucket_size, M))
        formula = with_float64_logarithms(bucket_size, M)
        for distance in np.flatnonzero(exact != formula):
            assert is_tie(int(distance), int(exact[distance]) - m, m, M), (bucket_size, M, distance)
            assert formula[distance] == exact[distance] + 1  # the quotient came out above the integer that it is


@clause("REL-BUCKET")
@given(st.integers(2, 512), st.integers(1, 2048), st.integers(0, 2047))
def test_a_log_bucket_is_the_least_that_satisfies_the_inequality(bucket_size, M, distance):
    distance %= M
    m = bucket_size // 2
    found = bucket(distance, sizes(bucket_size, M))
    if distance <= m:
        assert found == distance
        return
    t = found - m

    def holds(t):
        return distance ** (m - 1) * m**t <= (M - 1) ** t * m ** (m - 1)

    assert holds(t)
    assert t == 0 or not holds(t - 1)


@clause("REL-BUCKET")
@pytest.mark.parametrize("bucket_size", SIZES)
def test_buckets_are_odd_never_decrease_and_stay_in_range(bucket_size):
    random = np.random.default_rng(bucket_size)
    for M in LENGTHS:
        config = sizes(bucket_size, M)
        found = _magnitudes(M, bucket_size, M)
        assert all(b <= c for b, c in itertools.pairwise(found))
        assert found[-1] <= max(2 * (bucket_size // 2) - 1, bucket_size // 2)
        for distance in random.integers(0, M, 10).tolist():
            assert bucket(distance, config) == found[distance] == -bucket(-distance, config)


@clause("REL-BUCKET")
@pytest.mark.parametrize(("bucket_size", "M"), [(64, 512), (256, 512), (128, 513), (8, 1500), (100, 1280)])
def test_the_longest_distance_has_the_last_bucket(bucket_size, M):
    assert bucket(M - 1, sizes(bucket_size, M)) == 2 * (bucket_size // 2) - 1


@clause("REL-BUCKET")
def test_known_buckets_of_the_published_sizes():
    config = sizes(256, 512)
    assert [bucket(d, config) for d in (0, 1, 127, 128, 129, 131, 132, 255, 256, 511)] == [
        *(0, 1, 127, 128, 129),
        *(131, 131, 192, 192, 255),
    ]
    assert bucket(-511, config) == -255


@clause("REL-DISTANCE", "REL-ROW")
def test_a_row_is_the_clipped_bucket_of_query_minus_key():
    config = sizes(7, 20)
    row = relative_row(20, config)
    assert row.shape == (20, 20)
    for i in range(20):
        for j in range(20):
            assert row[i, j] == min(max(bucket(i - j, config) + 7, 0), 13)


@clause("REL-ROW")
@pytest.mark.parametrize("bucket_size", SIZES)
def test_no_row_is_clipped_up_to_the_longest_sequence(bucket_size):
    for M in LENGTHS[:9]:
        row = relative_row(M, sizes(bucket_size, M))
        assert row.min() >= 1
        assert row.max() <= 2 * bucket_size - 1
        assert (row + row.T == 2 * bucket_size).all()


@clause("REL-LONG")
def test_beyond_the_longest_sequence_the_true_distance_is_bucketed_and_the_row_clipped():
    row = relative_row(600, sizes(256, 512))
    assert row[0, 511] == 1
    assert row[0, 512] == 0 == row[0, 599]
    assert row[511, 0] == 511 == row[599, 0]


@clause("REL-LONG")
@pytest.mark.parametrize(("bucket_size", "M"), [(16, 8), (16, 9), (256, 5), (8, 1)])
def test_a_distance_without_a_bucket_is_refused(bucket_size, M):
    m = bucket_size // 2
    assert relative_row(m + 1, sizes(bucket_size, M)).max() == bucket_size + m
    with pytest.raises(ValueError, match=f"shorten the sequence to {m + 1} tokens"):
        relative_row(m + 2, sizes(bucket_size, M))


def test_the_smallest_bucket_sizes_have_one_log_bucket():
    for bucket_size in (2, 3):
        assert [bucket(d, sizes(bucket_size, 9)) for d in range(9)] == [0] + [1] * 8


def test_the_formula_of_the_specification_is_the_ceiling_of_a_quotient_of_logarithms():
    assert bucket(7, sizes(8, 16)) == 4 + math.ceil(3 * math.log(7 / 4) / math.log(15 / 4))
