"""A plain NumPy forward pass: what one writes from the paper, before a thought is given to speed.

Every position of the rectangle is computed, padded keys are masked with −∞, the rows of every pair are gathered from
(B, H, T, R), and erf is SciPy's, or where there is no SciPy that of Python's math, called once for each number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deberta_ref import Params
from deberta_ref.positions import relative_row

try:
    from scipy.special import erf
except ImportError:
    erf = np.vectorize(math.erf, otypes=[np.float64])


def forward(params: Params, inputs: Any) -> Any:
    """The last hidden state, (B, T, D), in the type of the parameters."""
    ids, valid = np.asarray(inputs["token_ids"]), np.asarray(inputs["padding_mask"]).astype(bool)
    B, T = ids.shape
    x = norm(params.token_embedding[ids], params.embeddings_norm) * valid[..., None]  # (B, T, D)
    relative = norm(params.relative_embedding, params.relative_norm)  # (R, D)
    row = np.broadcast_to(relative_row(T, params.config), (1, 1, T, T))
    masked = np.where(valid, 0, -np.inf).astype(x.dtype)[:, None, None]  # (B, 1, 1, T)
    H = params.config.num_heads

    def heads(y: Any) -> Any:  # (…, T, D) -> (…, H, T, d)
        return y.reshape(*y.shape[:-1], H, -1).swapaxes(-2, -3)

    for p in params.layers:
        query, key, value = (heads(linear(x, w)) for w in (p.query, p.key, p.value))  # (B, H, T, d)
        relative_query, relative_key = (heads(linear(relative, w)) for w in (p.query, p.key))  # (H, R, d)
        c2c = query @ key.swapaxes(-1, -2)  # (B, H, T, T)
        c2p = np.take_along_axis(query @ relative_key.swapaxes(-1, -2), row, -1)
        p2c = np.take_along_axis(key @ relative_query.swapaxes(-1, -2), row.swapaxes(-1, -2), -1).swapaxes(-1, -2)
        scores = (c2c + c2p + p2c) / x.dtype.type(math.sqrt(3 * params.config.head_dim)) + masked
        probs = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probs /= probs.sum(axis=-1, keepdims=True)
        context = (probs @ value).swapaxes(1, 2).reshape(B, T, -1)  # (B, T, D)
        x = norm(x + linear(context, p.attention_output), p.attention_norm)
        x = norm(x + linear(gelu(linear(x, p.up)), p.down), p.feedforward_norm)
    return x


def linear(x: Any, p: Any) -> Any:
    """(…, in) -> (…, out)."""
    return x @ p.weight.T + p.bias


def norm(x: Any, p: Any) -> Any:
    """Layer normalisation over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(1e-7)) * p.scale + p.bias


def gelu(x: Any) -> Any:
    """The product of x and Φ(x), by erf."""
    return (0.5 * x * (1 + erf(x / x.dtype.type(math.sqrt(2))))).astype(x.dtype)
