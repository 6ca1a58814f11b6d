"""Random parameters, as KerasHub initialises them: the same seed gives the same bits on every machine.

Only integers and the operations that IEEE 754 rounds correctly (+, −, ×, ÷) are used, and of NumPy's generators only
the raw 64-bit output of PCG64, which NumPy promises never to change.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref.config import Config
from deberta_ref.ownership import own
from deberta_ref.params import Params, shapes
from deberta_ref.precision import STORED, Array, DTypeLike, known_dtype, rounded

STDDEV = 0.02
"""The deviation of the normal distribution, before it is cut: BERT's, and every DeBERTa's, choice."""

CUT = 2.0
"""Where the distribution is cut, in deviations."""

HALF_MASS = float.fromhex("0x1.e8b4307d3627ap-2")
"""Φ(2) − ½: the probability between the middle and the cut."""

CONSTANT = 0.6448912205569307
POLES = (
    (0.2523880471910561, 0.003748430037810492),
    (0.26389366882075327, 0.012951720578035697),
    (0.29397162947596467, 0.03529350478136252),
    (0.37259080345935897, 0.09827069457367942),
    (0.6232899025918477, 0.3244023643778812),
    (2.083811700573062, 1.8619500414998689),
)
"""Φ⁻¹(½ + q) = q · (CONSTANT + Σ residue / (pole − q²)) to a relative 4e-11 for |q| ≤ HALF_MASS: the minimax quotient
of degrees 6 and 6 in q², in partial fractions, whose terms are all positive."""


def init(config: Config, seed: int = 0, dtype: DTypeLike = "float32") -> Params:
    """Random parameters: kernels and embeddings truncated normal, biases zero, scales one.

    The normal distribution has mean 0 and deviation 0.02 and is cut at two deviations.

    Parameters
    ----------
    config : Config
        The sizes.
    seed : int
        At least 0. The same seed gives the same bits on every machine.
    dtype : {'float16', 'float32', 'float64'} or a NumPy type
        What they are kept in. Values are drawn in float64 and rounded once, so float64 parameters round to the float32
        ones.

    Returns
    -------
    Params
        The parameters.

    Raises
    ------
    TypeError
        For a configuration, a seed or a type that is none.
    ValueError
        For a negative seed, or another type.

    Examples
    --------
    >>> from deberta_ref import Config, init, presets
    >>> config = Config(vocabulary_size=40, num_layers=2, num_heads=3, hidden_dim=12, intermediate_dim=24)
    >>> params = init(config, seed=1)
    >>> params.token_embedding.shape, params.dtype
    ((40, 12), dtype('float32'))
    >>> params == init(config, seed=1)
    True
    >>> init(presets["deberta_v3_extra_small_en"])
    Traceback (most recent call last):
    TypeError: config must be a deberta_ref.Config; got Preset: give its .config.
    """
    if not isinstance(config, Config):
        hint = ": give its .config" if isinstance(getattr(config, "config", None), Config) else ""
        raise TypeError(f"config must be a deberta_ref.Config; got {type(config).__name__}{hint}.")
    kept = known_dtype(dtype, STORED)
    stream = np.random.PCG64(_seed(seed))
    arrays = {}
    for name, shape in shapes(config).items():
        if name.endswith(".bias"):
            arrays[name] = np.zeros(shape, kept)
        elif name.endswith(".scale"):
            arrays[name] = np.ones(shape, kept)
        else:
            arrays[name] = np.empty(shape, kept)
            flat = arrays[name].reshape(-1)
            for start in range(0, flat.size, 1 << 16):  # a block stays in the cache
                block = flat[start : start + (1 << 16)]
                block[:] = rounded(truncated_normal(stream.random_raw(block.size)), kept)
    return Params.from_arrays(config, {name: own(array) for name, array in arrays.items()})


def truncated_normal(raw: NDArray[np.uint64]) -> Array:
    """Draws from the normal distribution of deviation STDDEV cut at CUT deviations, one for each 64 random bits."""
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # the middles of 2**53 equal parts of (0, 1)
    q = (2 * uniform - 1) * HALF_MASS
    square = q * q
    factor = np.full_like(q, CONSTANT)
    for pole, residue in POLES:
        factor += residue / (pole - square)
    return np.clip(q * factor, -CUT, CUT) * STDDEV


def _seed(seed: Any) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer of at least 0; got {seed!r}.") from None
    if value < 0:
        raise ValueError(f"seed must be at least 0; got {value}.")
    return value
