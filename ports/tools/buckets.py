"""Where floating logarithms put a distance into another bucket than the integers of REL-BUCKET: the table of spec/03.

    python ports/tools/buckets.py

Needs PyTorch and deberta-ref. Every order of operations is written as its implementation has it, on the logarithms of
PyTorch and, for the authors' first formula, of NumPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from deberta_ref.positions import _magnitudes

BUCKET_SIZES = [*range(4, 66), 80, 96, 100, 101, 126, 127, 128, 129, 150, 160, 192, 200, 201, 254, 255, 256, 257, 300]
BUCKET_SIZES += [320, 384, 400, 448, 500, 510, 511, 512]
LENGTHS = [16, 17, 32, 33, 48, 64, 65, 100, 127, 128, 129, 130, 200, 255, 256, 257, 300, 384, 400, 500, 511, 512, 513]
LENGTHS += [600, 768, 1000, 1023, 1024, 1025, 1280, 1500, 1536, 2047, 2048]


def authors_first(distance: Any, m: int, M: int) -> Any:
    """The package of 2021: NumPy in float64, quotient of logarithms, then the product."""
    return np.ceil(np.log(distance / m) / np.log((M - 1) / m) * (m - 1))


def authors_newest(distance: Any, m: int, M: int) -> Any:
    """microsoft/DeBERTa today: a float32 logarithm over Python's."""
    return torch.ceil(torch.log(torch.tensor(distance) / m) / math.log((M - 1) / m) * (m - 1)).numpy()


def transformers(distance: Any, m: int, M: int) -> Any:
    """The quotient of two float32 logarithms, then the product."""
    quotient = torch.log(torch.tensor(distance) / m) / torch.log(torch.tensor((M - 1) / m))
    return torch.ceil(quotient * (m - 1)).numpy()


def kerashub(distance: Any, m: int, M: int, dtype: torch.dtype = torch.float32) -> Any:
    """The product first, then the quotient, in float32."""
    m_float, last = torch.tensor(float(m), dtype=dtype), torch.tensor(float(M - 1), dtype=dtype)
    product = torch.log(torch.tensor(distance).to(dtype) / m_float) * float(m - 1)
    return torch.ceil(product / torch.log(last / m_float)).numpy()


def kerashub_wider(distance: Any, m: int, M: int) -> Any:
    """KerasHub's order in float64."""
    return kerashub(distance, m, M, torch.float64)


def main() -> None:
    """Print a row for each order of operations."""
    orders = (authors_first, transformers, authors_newest, kerashub, kerashub_wider)
    found: dict[Any, list[tuple[int, int, int]]] = {order: [] for order in orders}
    pairs = [(size, M) for size in BUCKET_SIZES for M in LENGTHS if size // 2 < M - 1]
    for size, M in pairs:
        m = size // 2
        distance = np.arange(m + 1, M)
        exact = np.array(_magnitudes(M, size, M)[m + 1 :]) - m
        for order in orders:
            found[order] += [(size, M, int(d)) for d in distance[order(distance, m, M) != exact]]
    print(f"{len(pairs)} pairs of bucket_size and max_sequence_length")
    for order, wrong in found.items():
        differing = {place[:2] for place in wrong}
        at_the_end = {place[:2] for place in wrong if place[2] == place[1] - 1}
        inside = [place for place in wrong if place[2] != place[1] - 1]
        print(f"{order.__name__}: {len(differing)} pairs differ, {len(at_the_end)} of them at the longest distance")
        print(f"  elsewhere (bucket_size, max_sequence_length, distance): {inside}")
        print(f"  at 512: {[place for place in wrong if place[1] == 512]}")


if __name__ == "__main__":
    main()
