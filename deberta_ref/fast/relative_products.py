"""Products of tokens with the relative embeddings of their distances, as views: clauses ATT-C2P and ATT-P2C of spec/.

By definition every token is multiplied with all R relative rows, and every pair (i, j) picks one of the products. But
in a sequence without holes the row depends on j − i alone. So a block of tokens is multiplied with the row of every
distance that it has to any other, in order. Row i of the result is then row i of that product, shifted by i: a strided
view, so nothing is gathered. By definition: ``ops.relative_products``.
"""

from __future__ import annotations

import numpy as np

from deberta_ref.ops import gather_rows, matmul, mT
from deberta_ref.precision import Array, Integers

TOKENS_AT_A_TIME = 128
"""With so many the products number (T + 127) · 128, not (2T − 1) · T, and stay in the cache."""


def relative_products(x: Array, relative: Array, row: Integers) -> Array:
    """For every pair (i, j) the product of token i and its relative row: (H, T, d), (H, R, d), (T, T) -> (H, T, T).

    The result is laid out in memory as ``row`` is, so that it and its transpose are each read in order.
    """
    if row.strides[0] != -row.strides[1]:  # with holes
        return gather_rows(matmul(x, mT(relative)), row)  # ATT-C2P, ATT-P2C
    T = len(row)
    relative = relative[:, np.concatenate([row[:0:-1, 0], row[0]])]  # (H, 2T − 1, d): of j − i = 1 − T, …, T − 1
    products = np.empty((len(x), T, T), x.dtype)
    if row.strides[0] < 0:  # a transpose
        products = products.swapaxes(1, 2)
    for start in range(0, T, TOKENS_AT_A_TIME):
        stop = min(start + TOKENS_AT_A_TIME, T)
        reached = relative[:, T - stop : 2 * T - 1 - start]  # (H, T + n − 1, d): from 1 − stop to T − 1 − start
        products[:, start:stop] = _diagonals(matmul(x[:, start:stop], mT(reached)), T)
    return products


def _diagonals(products: Array, T: int) -> Array:
    """The numbers [h, i, n − 1 − i + j], not copied: (H, n, T + n − 1) -> (H, n, T)."""
    H, n, _ = products.shape
    h, i, j = products.strides
    return np.ndarray((H, n, T), products.dtype, products, (n - 1) * j, (h, i - j, j))
