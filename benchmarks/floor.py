"""The floor: the matrix products of a forward pass and nothing else, with ``@`` in NumPy, in float32.

For B texts of T positions, padding included, since that is what a port without packing multiplies, each layer has

    query, key, value, output                 B·T × D  times  D × D      four
    up                                        B·T × D  times  D × F
    down                                      B·T × F  times  F × D
    relative query, relative key                R × D  times  D × D      two, once for the whole batch
    c2c                                         T × d  times  d × T      for each text and head
    c2p, p2c                                    T × d  times  d × R      two for each text and head
    context                                     T × T  times  T × d      for each text and head

with R = 2 · bucket_size relative rows. The strict floor is what is left when an implementation wastes nothing: without
the two relative projections, which depend on the parameters alone, and with the min(2T − 1, R) relative rows that T
positions can reach in place of all R.

Weights are contiguous as (out, in), and each layer has its own, so that they come from memory as a real model's do;
they are used transposed. Heads are strided views, as when a projection is split into them. Every result is allocated
by ``@``. Nothing is added, exponentiated, gathered or copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_ref import Config

KINDS = ("dense", "strict")


@dataclass(frozen=True)
class Product:
    """A stack of (n, k) matrices times a stack of (k, m) ones, as often as a layer has it."""

    name: str
    stack: tuple[int, ...]
    n: int
    k: int
    m: int
    times: int = 1

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.times * math.prod(self.stack) * self.n * self.k * self.m


def products(config: Config, B: int, T: int, kind: str) -> tuple[Product, ...]:
    """The products of one layer."""
    D, F, R = config.hidden_dim, config.intermediate_dim, config.num_relative
    H, d = config.num_heads, config.head_dim
    reached = min(2 * T - 1, R) if kind == "strict" else R
    relative = () if kind == "strict" else (Product("relative", (), R, D, D, times=2),)
    return (
        Product("projection", (), B * T, D, D, times=4),
        *relative,
        Product("c2c", (B, H), T, d, T),
        Product("c2p p2c", (B, H), T, d, reached, times=2),
        Product("context", (B, H), T, T, d),
        Product("up", (), B * T, D, F),
        Product("down", (), B * T, F, D),
    )


def flops(config: Config, B: int, T: int, kind: str) -> int:
    """Of all layers."""
    return config.num_layers * sum(product.flops for product in products(config, B, T, kind))


def floor(config: Config, B: int, T: int, kind: str) -> Callable[[], Any]:
    """A function that multiplies all of it, once a call, with random operands."""
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(config.num_layers):
        for product in products(config, B, T, kind):
            pairs += [operands(product, random) for _ in range(product.times)]

    def run() -> Any:
        for a, b in pairs:
            found = a @ b  # the one before is freed meanwhile, as in a forward pass
        return found

    return run


def operands(product: Product, random: np.random.Generator) -> tuple[Any, Any]:
    """What is multiplied: the right one transposed, as a weight (out, in) and as keys are; heads strided."""
    n, k, m = product.n, product.k, product.m

    def drawn(*shape: int) -> Any:
        return random.standard_normal(shape, np.float32)

    def heads(length: int, width: int) -> Any:  # (B, T, H, d) -> (B, H, T, d), not copied
        B, H = product.stack
        return drawn(B, length, H, width).swapaxes(1, 2)

    if not product.stack:
        return drawn(n, k), drawn(m, k).T
    if product.name == "context":
        return drawn(*product.stack, n, k), heads(k, m)
    right = heads(m, k)
    if product.name != "c2c":
        right = right[:1]  # relative rows are the same for every text
    return heads(n, k), right.swapaxes(-1, -2)
