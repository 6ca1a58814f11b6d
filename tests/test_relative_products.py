"""The products with relative embeddings against their definition: ATT-C2P, ATT-P2C."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deberta_ref import Config, ops
from deberta_ref.fast.relative_products import TOKENS_AT_A_TIME as BLOCK, relative_products
from deberta_ref.ops import gather_rows, mT
from deberta_ref.positions import relative_row

clause = pytest.mark.clause

LENGTHS = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK - 1]


def operands(T, d=5, H=3, dtype=np.float64, seed=0):
    """Tokens, relative embeddings, and rows with logarithmic buckets from distance 8 on."""
    random = np.random.default_rng(seed)
    config = Config(9, 1, H, H * d, 1, max_sequence_length=max(T, 10), bucket_size=16)
    x, relative = random.normal(size=(T, H, d)), random.normal(size=(config.num_relative, H, d))
    # as they come in the model: the heads of a matrix (T, D), which are no contiguous arrays
    return x.astype(dtype).swapaxes(0, 1), relative.astype(dtype).swapaxes(0, 1), relative_row(T, config)


def agree(x, relative, row):
    """Whether the products are those of the definition, but for the order of d = 5 additions of numbers below 20."""
    found, expected = relative_products(x, relative, row), ops.relative_products(x, relative, row)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    return abs(found - expected).max() <= 10 * 20 * np.finfo(x.dtype).eps


@clause("ATT-C2P", "ATT-P2C")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("T", LENGTHS)
def test_they_are_the_gathered_products_of_all_tokens_with_all_rows(T, dtype):
    x, relative, row = operands(T, dtype=dtype)
    assert agree(x, relative, row)
    assert agree(x, relative, row.T)
    assert agree(x, relative, np.ascontiguousarray(row))


@clause("ATT-C2P", "ATT-P2C", "PAD-POSITIONS")
@given(st.integers(1, 90), st.integers(0, 2**32))
def test_rows_of_some_positions_alone_with_holes_or_without(T, seed):
    random = np.random.default_rng(seed)
    x, relative, row = operands(T, seed=seed)
    some = np.flatnonzero(random.random(T) < 0.7)
    start, stop = sorted(random.integers(0, T + 1, 2))
    for positions in (some, slice(start, stop)):
        there = row[positions][:, positions]
        if there.size:
            assert agree(x[:, positions], relative, there)
            assert agree(x[:, positions], relative, there.T)


def test_any_row_for_any_pair_is_served():
    x, relative, _ = operands(7)
    assert agree(x, relative, np.random.default_rng(1).integers(0, 32, (7, 7)))


@pytest.mark.parametrize("T", LENGTHS[2:])
def test_results_are_read_in_order_and_so_is_a_transposed_result_of_transposed_rows(T):
    x, relative, row = operands(T)
    assert relative_products(x, relative, row).flags.c_contiguous
    assert mT(relative_products(x, relative, row.T)).flags.c_contiguous


@clause("ATT-C2P", "ATT-P2C")
def test_gather_rows_picks_the_product_with_the_row_of_each_pair():
    products = np.arange(2 * 3 * 5.0).reshape(2, 3, 5)
    row = np.array([[4, 0, 1], [2, 2, 2], [0, 4, 3]])
    y = gather_rows(products, row)
    assert y.shape == (2, 3, 3)
    for h, i, j in np.ndindex(2, 3, 3):
        assert y[h, i, j] == products[h, i, row[i, j]]
