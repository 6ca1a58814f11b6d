"""Products of tokens with the relative embeddings of their distances: clauses ATT-C2P and ATT-P2C of spec/.

By definition every token is multiplied with all R relative rows, and every pair (i, j) picks one of the products. But
in a sequence without holes the row depends on j − i alone. So a block of tokens is multiplied with the row of every
distance that it has to any other, in order; then what token i needs is T products side by side, one further to the left
at each next i, and picking them is a view along the diagonals.
"""

from __future__ import annotations

import numpy as np

from deberta_ref.precision import Array, Integers

BLOCK = 128
"""Tokens at a time: with them the products number (T + 127) · 128, not (2T − 1) · T, and stay in the cache."""


def relative_products(x: Array, relative: Array, row: Integers) -> Array:
    """For every pair (i, j) the product of token i and its relative row: (H, T, d), (H, R, d), (T, T) -> (H, T, T).

    The result is laid out in memory as ``row`` is, so that it and its transpose are each read in order.
    """
    if row.strides[0] != -row.strides[1]:  # with holes
        return gather_rows(np.matmul(x, relative.swapaxes(1, 2)), row)  # ATT-C2P, ATT-P2C
    T = len(row)
    relative = relative[:, np.concatenate([row[:0:-1, 0], row[0]])]  # (H, 2T − 1, d): of j − i = 1 − T, …, T − 1
    products = np.empty((len(x), T, T), x.dtype)
    if row.strides[0] < 0:  # a transpose
        products = products.swapaxes(1, 2)
    for start in range(0, T, BLOCK):
        stop = min(start + BLOCK, T)
        reached = relative[:, T - stop : 2 * T - 1 - start]  # (H, T + n − 1, d): from 1 − stop to T − 1 − start
        products[:, start:stop] = _diagonals(np.matmul(x[:, start:stop], reached.swapaxes(1, 2)), T)
    return products


def gather_rows(products: Array, row: Integers) -> Array:
    """For every pair (i, j) the product of token i with relative row[i, j]: (H, T, R) and (T, T) -> (H, T, T)."""
    gathered: Array = np.take_along_axis(products, row[None], axis=-1)  # ATT-C2P, ATT-P2C
    return gathered


def _diagonals(products: Array, T: int) -> Array:
    """The numbers [h, i, n − 1 − i + j], not copied: (H, n, T + n − 1) -> (H, n, T)."""
    H, n, _ = products.shape
    h, i, j = products.strides
    return np.ndarray((H, n, T), products.dtype, products, (n - 1) * j, (h, i - j, j))
