"""Weights that are stored in 8 bits or fewer: what a port computes with instead of the weights that are there.

Data, as the mistakes in loading are. The rounding is deterministic, so the values of such a port are predicted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from deberta_ref.config import Config
from deberta_ref.conformance.mistakes.mistake import Arrays, Loaded, Mistake
from deberta_ref.precision import Array

Scheme = Callable[[Array], Array]
"""Rounds the weights of one map or table, float32, (out, in) or (rows, D), as they are stored."""

MAPS = r"layers\..*\.weight"
TOKENS = "token_embedding"
TABLES = r"token_embedding|relative_embedding"


def grouped(size: int | None, weight: Array) -> Array:
    """The weights that share a scale, (groups, numbers): all of them (0), a row each (None), or blocks of a row.

    The last block of a row is filled up with zeros.
    """
    if size == 0:
        return weight.reshape(1, -1)
    if size is None:
        return weight
    missing = -weight.shape[1] % size
    return np.pad(weight, ((0, 0), (0, missing))).reshape(-1, size)


def _back(groups: Array, weight: Array, size: int | None) -> Array:
    """The inverse of ``grouped``."""
    if not size:
        return groups.reshape(weight.shape)
    return groups.reshape(len(weight), -1)[:, : weight.shape[1]]


def symmetric(weight: Array, size: int | None, steps: float, dtype: Any = np.float32) -> Array:
    """Whole multiples of scale = largest / steps, which is kept in ``dtype``."""
    x = grouped(size, weight)
    largest = abs(x).max(axis=1, keepdims=True)
    scale = (largest / np.float32(steps)).astype(dtype).astype(np.float32)
    inverse = 1 / np.where(scale == 0, 1, scale)
    q = np.clip(np.rint(x * inverse), -np.ceil(steps), np.floor(steps))
    return _back((q * scale).astype(np.float32), weight, size)


def affine(weight: Array, size: int | None, bits: int, dtype: Any = np.float32) -> Array:
    """Evenly spaced from the smallest weight to the largest, with 0 among them."""
    x = grouped(size, weight)
    low, high = np.minimum(x.min(axis=1, keepdims=True), 0), np.maximum(x.max(axis=1, keepdims=True), 0)
    steps = 2**bits - 1
    scale = ((high - low) / np.float32(steps)).astype(dtype).astype(np.float32)
    safe = np.where(scale == 0, 1, scale)
    zero = np.rint(-low / safe)
    q = np.clip(np.rint(x / safe) + zero, 0, steps)
    return _back(((q - zero) * scale).astype(np.float32), weight, size)


def from_the_smallest(weight: Array, size: int | None, bits: int) -> Array:
    """Evenly spaced from the smallest weight of a group to the largest, which need not have 0 among them."""
    x = grouped(size, weight)
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    scale = (high - low) / np.float32(2**bits - 1)
    safe = np.where(scale == 0, 1, scale)
    return _back((np.rint((x - low) / safe) * scale + low).astype(np.float32), weight, size)


def signed_largest(weight: Array, size: int | None, bits: int, dtype: Any = np.float32) -> Array:
    """Whole multiples of a scale, of which the lowest (−8 of 4 bits) stands for the largest weight, with its sign."""
    half = 2 ** (bits - 1)
    x = grouped(size, weight)
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    largest = np.where(-low > high, low, high)
    exact = largest / np.float32(-half)
    scale = exact.astype(dtype).astype(np.float32)
    inverse = np.where(exact == 0, 0, 1 / np.where(exact == 0, 1, exact))
    q = np.clip(np.floor(x * inverse + np.float32(half + 0.5)), 0, 2 * half - 1) - half
    return _back((q * scale).astype(np.float32), weight, size)


def float8(
    weight: Array, size: int | None, mantissa: int, lowest: int, largest: float, *, nan_of_zeros: bool = False
) -> Array:
    """Numbers of a float8 type, of weights scaled to its largest number, or of the weights as they are (size −1).

    Of weights that are all zero the scale is 0, and 0 / 0 is not a number where nothing is done about it.
    """
    x = weight if size == -1 else grouped(size, weight)
    scale = np.float32(1) if size == -1 else abs(x).max(axis=1, keepdims=True) / np.float32(largest)
    if not nan_of_zeros:
        scale = np.where(scale == 0, np.float32(1), scale)
    with np.errstate(invalid="ignore"):
        scaled = np.clip(x / scale, -largest, largest)
    exponent = np.maximum(np.frexp(scaled)[1] - 1, lowest)
    rounded = np.ldexp(np.rint(np.ldexp(scaled, mantissa - exponent)), exponent - mantissa)
    found = (np.clip(rounded, -largest, largest) * scale).astype(np.float32)
    return found if size == -1 else _back(found, weight, size)


def stored(scheme: Scheme, pattern: str) -> Loaded:
    """These arrays as the scheme stores them."""
    chosen = re.compile(pattern)

    def change(arrays: Arrays, _config: Config) -> Arrays:
        return {name: scheme(array.astype(np.float32)) for name, array in arrays.items() if chosen.fullmatch(name)}

    return Loaded(change)


def _weights(name: str, said: str, scheme: Scheme) -> Mistake:
    """The weights of all linear maps."""
    return Mistake(f"weights-{name}", "NUM-DTYPE", f"The weights of linear maps are {said}.", stored(scheme, MAPS))


def _matrices(name: str, said: str, scheme: Scheme) -> Mistake:
    """The weights of all linear maps, and both tables of embeddings."""
    pattern = f"{MAPS}|{TABLES}"
    sentence = f"The weights of linear maps and all embeddings are {said}."
    return Mistake(f"matrices-{name}", "NUM-DTYPE", sentence, stored(scheme, pattern))


def _embeddings(name: str, said: str, scheme: Scheme) -> Mistake:
    """The token embeddings alone."""
    return Mistake(f"embeddings-{name}", "EMB-LOOKUP", f"The token embeddings are {said}.", stored(scheme, TOKENS))


E4M3: dict[str, Any] = {"mantissa": 3, "lowest": -6, "largest": 448.0}
E5M2: dict[str, Any] = {"mantissa": 2, "lowest": -14, "largest": 57344.0}

CHANNELS = "with a scale for each output"

QUANTISED = (
    _weights("int8", "int8, of 255 steps", partial(symmetric, size=0, steps=127)),
    _weights("int8-torch", "int8, of 256 steps", partial(symmetric, size=0, steps=127.5)),
    _weights("int8-channels", f"int8 of 255 steps, {CHANNELS}", partial(symmetric, size=None, steps=127)),
    _weights("int8-channels-torch", f"int8 of 256 steps, {CHANNELS}", partial(symmetric, size=None, steps=127.5)),
    _weights("uint8", "uint8", partial(affine, size=0, bits=8)),
    _weights("uint8-channels", f"uint8, {CHANNELS}", partial(affine, size=None, bits=8)),
    *(
        _weights(f"int8-blocks-{size}", f"int8 in blocks of {size}", partial(symmetric, size=size, steps=127))
        for size in (32, 64)
    ),
    *(
        _weights(
            f"int{bits}-signed-blocks-{size}",
            f"int{bits} in blocks of {size}, the largest of each exact",
            partial(signed_largest, size=size, bits=bits),
        )
        for bits in (8, 4)
        for size in (32, 64)
    ),
    *(
        _weights(
            f"affine-{bits}-bits-blocks-{size}",
            f"{bits} bits in blocks of {size}, from the smallest of each to its largest",
            partial(from_the_smallest, size=size, bits=bits),
        )
        for bits in (8, 4)
        for size in (32, 64)
    ),
    _weights("uint4-blocks-32", "uint4 in blocks of 32", partial(affine, size=32, bits=4)),
    _weights("q8-0", "GGUF's Q8_0", partial(symmetric, size=32, steps=127, dtype=np.float16)),
    _weights("q4-0", "GGUF's Q4_0", partial(signed_largest, size=32, bits=4, dtype=np.float16)),
    _matrices("q8-0", "GGUF's Q8_0", partial(symmetric, size=32, steps=127, dtype=np.float16)),
    _matrices("q4-0", "GGUF's Q4_0", partial(signed_largest, size=32, bits=4, dtype=np.float16)),
    _weights("float8-e4m3", "float8 e4m3", partial(float8, size=-1, **E4M3)),
    _weights("float8-e4m3-scaled", "float8 e4m3, with a scale", partial(float8, size=0, **E4M3)),
    _weights("float8-e4m3-channels", f"float8 e4m3, {CHANNELS}", partial(float8, size=None, **E4M3)),
    _weights(
        "float8-e4m3-channels-torchao",
        f"float8 e4m3, {CHANNELS}; an output whose weights are all zero becomes NaN",
        partial(float8, size=None, **E4M3, nan_of_zeros=True),
    ),
    _weights("float8-e5m2", "float8 e5m2", partial(float8, size=-1, **E5M2)),
    _embeddings("int8", "int8", partial(symmetric, size=0, steps=127)),
    _embeddings("int8-rows", "int8, with a scale for each token", partial(symmetric, size=None, steps=127)),
    _embeddings("uint8", "uint8", partial(affine, size=0, bits=8)),
)
"""Weights that are kept in 8 bits or fewer, and used in the precision that all else is in."""
