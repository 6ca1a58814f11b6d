"""Weights and token ids from integers alone: the same bits in every language. Chapter 10 of spec/.

A vector of a published size cannot ship 434 million parameters, but a page of any language can make them again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deberta_ref.config import Config
from deberta_ref.ownership import own
from deberta_ref.params import Params, shapes
from deberta_ref.precision import Array, Integers

BLOCK = 1 << 16
"""Draws at a time: a block and its temporaries stay in the cache."""

IDS = 1 << 23
"""The stream of token ids; the streams before it are the parameters'."""

FULL = 24
"""The significant bits of float32."""

GAINS = {"query": 20, "key": 20, "value": 12, "attention_output": 2, "up": 27, "down": 3}
"""Twelve times the variance of a linear map's output, for an input of unit variance. The maps that are added to the
hidden state are small, or the tokens of a deep model would all become the same."""


def from_recipe(config: Config, seed: int = 0, bits: int = FULL) -> Params:
    """The recipe's parameters for a configuration: float32, every one exact, in so many significant bits."""
    arrays = {}
    for stream, (name, shape) in enumerate(shapes(config).items()):
        offset = 1 << 22 if name.endswith(".scale") else 0  # REC-VALUES: scales are around 1
        flat = np.empty(math.prod(shape), np.float32)
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK]
            draws = mixed(seed, stream, start, block.size) >> np.uint64(52)  # 12 bits
            odd = 2 * draws.astype(np.int64) - 4095
            block[:] = (odd * factor(name, shape) + offset) * 2.0**-22  # an integer below 2²⁴, so exact   REC-VALUES
        arrays[name] = (flat if bits == FULL else _shortened(flat, bits)).reshape(shape)
    return Params.from_arrays(config, {name: own(array) for name, array in arrays.items()})


def _shortened(values: Array, bits: int) -> Array:
    """The nearest numbers of so many significant bits, ties to even."""
    significand, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(significand, bits)), exponent - bits)  # REC-BITS


def recipe_ids(config: Config, B: int, T: int, seed: int = 0) -> Integers:
    """The recipe's token ids: (B, T), in 0 … V − 1."""
    high = mixed(seed, IDS, 0, B * T) >> np.uint64(32)  # REC-IDS
    ids: Integers = ((high * np.uint64(config.vocabulary_size)) >> np.uint64(32)).astype(np.intp)
    return ids.reshape(B, T)


def factor(name: str, shape: tuple[int, ...]) -> int:
    """What an odd draw is multiplied by: 1024 times the largest deviation of the parameter, rounded down."""
    module, _, leaf = name.rpartition(".")  # REC-FACTORS
    if leaf in {"token_embedding", "relative_embedding"}:
        return 1024
    if leaf == "weight":
        return math.isqrt((GAINS[module.rpartition(".")[2]] << 18) // shape[1])
    return 256 if leaf == "scale" else 64 if "norm" in module else 128


def mixed(seed: int, stream: int, start: int, count: int) -> NDArray[np.uint64]:
    """SplitMix64's outputs for the elements ``start``, … of a stream: ``count`` numbers of 64 bits."""
    counter = np.arange(start + 1, start + 1 + count, dtype=np.uint64) + np.uint64(stream << 40)
    z = counter * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)  # REC-MIXER, modulo 2⁶⁴ as what follows
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
