"""The DeBERTaV3 encoder: token ids in, last hidden states out. Read this beside spec/02 to spec/05.

forward -> encode -> embed, then encoder_layer -> disentangled_attention for each layer.

Shapes: B examples of T positions, N valid tokens among them, D features, H heads of d features, R relative embeddings,
F features inside the feed-forward. A padded token does not exist: x is (N, D), the valid tokens of the batch one after
another, and only attention needs to know which tokens are of one sequence. One last row of x stands for all padded
tokens: its embedding is zeros and it hears nobody, so it is the same wherever it stands.

``tap(name, value)`` hands an intermediate value to whoever listens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from deberta_ref.config import Config
from deberta_ref.fast.relative_products import relative_products
from deberta_ref.inputs import Batch, pack
from deberta_ref.ops import few_at_a_time, gelu, layer_norm, linear, matmul, merge_heads, mT, softmax, split_heads
from deberta_ref.params import Layer, Params
from deberta_ref.positions import relative_row
from deberta_ref.precision import Array, DType, Integers, compute_dtype

Tap = Callable[[str, Any], None]


def forward(params: Params, inputs: Any, dtype: Any = None, *, allow_long: bool = False) -> Array:
    """The last hidden state of every token: (B, T, D).

    ``inputs`` maps ``token_ids`` and ``padding_mask`` to integers of shape (B, T): ids below ``vocabulary_size``, and
    1 for a valid token, 0 for a padded one. ``dtype``, 'float32' or 'float64', is what is computed in and returned; by
    default the type of ``params``, but float32 at least. With ``allow_long``, T may exceed ``max_sequence_length``.
    Padded positions hold one row that depends on ``params`` alone; the specification leaves them open (PAD-OUTPUT).

    Raises ValueError, or TypeError where a type is wrong, before anything is computed.
    """
    batch = pack(inputs, params, allow_long=allow_long)  # IN-KEYS, IN-IDS, IN-MASK, IN-LENGTH
    output = np.empty((*batch.mask.shape, params.config.hidden_dim), compute_dtype(dtype, params.dtype))  # (B, T, D)
    with np.errstate(all="ignore"):  # an overflow that matters shows as an infinity or a NaN
        for examples, part in batch.parts():
            output[examples] = encode(params, part, output.dtype, lambda _name, _value: None)[part.index]  # PAD-OUTPUT
    return output


def encode(params: Params, batch: Batch, dtype: DType, tap: Tap) -> Array:
    """All layers over the packed tokens of a batch: (N + 1, D)."""
    x = embed(params, batch.token_ids, dtype)  # (N + 1, D)
    tap("embeddings", x)
    relative = params.relative_embedding.astype(dtype, copy=False)
    relative = layer_norm(relative, params.relative_norm)  # (R, D)   REL-NORM
    tap("relative_embeddings", relative)
    row = relative_row(batch.length, params.config)  # (T, T)   REL-ROW
    tap("relative_row", row)
    sequences = [(s.tokens, row[s.positions][:, s.positions]) for s in batch.sequences]  # PAD-POSITIONS
    for n, layer in enumerate(params.layers):  # LAYER-STACK
        x = encoder_layer(layer, params.config, x, relative, sequences, lambda t, v: tap(f"layers.{n}.{t}", v))  # noqa: B023
    tap("output", x)
    return x


def embed(params: Params, token_ids: Integers, dtype: DType) -> Array:
    """The normalised embeddings of the valid tokens, and zeros for the padded ones: (N,) -> (N + 1, D)."""
    x = params.token_embedding[token_ids].astype(dtype, copy=False)  # (N, D)   EMB-LOOKUP
    x = layer_norm(x, params.embeddings_norm)  # (N, D)   EMB-NORM
    return np.concatenate([x, np.zeros((1, x.shape[1]), dtype)])  # (N + 1, D)   PAD-OUTPUT


def encoder_layer(
    p: Layer, config: Config, x: Array, relative: Array, sequences: Iterable[tuple[slice, Integers]], tap: Tap
) -> Array:
    """One layer over the packed tokens of a batch: (N + 1, D) -> (N + 1, D)."""
    query, key, value = (split_heads(linear(x, w), config.num_heads) for w in (p.query, p.key, p.value))
    tap("attention.query", query)  # (H, N + 1, d)   ATT-PROJECTIONS, ATT-HEADS
    tap("attention.key", key)
    tap("attention.value", value)
    relative_query, relative_key = (split_heads(linear(relative, w), config.num_heads) for w in (p.query, p.key))
    tap("attention.relative_query", relative_query)  # (H, R, d)   ATT-SHARED
    tap("attention.relative_key", relative_key)

    context = np.zeros_like(query)  # (H, N + 1, d), in memory (N + 1, D)   PAD-OUTPUT: a padded token hears nobody
    for tokens, row in sequences:  # PAD-ABSENT: and nobody hears it
        for h in few_at_a_time(config.num_heads, row.size):
            operands = query[h, tokens], key[h, tokens], value[h, tokens], relative_query[h], relative_key[h]
            context[h, tokens] = disentangled_attention(*operands, row, tap)
    context = merge_heads(context)  # (N + 1, D)
    tap("attention.context", context)

    x = layer_norm(x + linear(context, p.attention_output), p.attention_norm)  # (N + 1, D)   LAYER-ATTENTION
    tap("attention.output", x)
    inner = gelu(linear(x, p.up))  # (N + 1, F)   LAYER-INNER, GELU-ERF
    tap("feedforward.inner", inner)
    x = layer_norm(x + linear(inner, p.down), p.feedforward_norm)  # (N + 1, D)   LAYER-FEEDFORWARD
    tap("output", x)
    return x


def disentangled_attention(
    query: Array, key: Array, value: Array, relative_query: Array, relative_key: Array, row: Integers, tap: Tap
) -> Array:
    """Who hears whom in one sequence, by content and by distance: (H, T, d) -> (H, T, d)."""
    c2c = matmul(query, mT(key))  # (H, T, T)   ATT-C2C: query i · key j
    tap("attention.c2c", c2c)
    c2p = relative_products(query, relative_key, row)  # ATT-C2P: query i · relative_key row(i, j)
    tap("attention.c2p", c2p)
    p2c = mT(relative_products(key, relative_query, row.T))  # ATT-P2C: key j · relative_query row(i, j)
    tap("attention.p2c", p2c)
    scores = (c2c + c2p + p2c) / math.sqrt(3 * query.shape[-1])  # ATT-SCALE: one scale for three terms
    tap("attention.scores", scores)
    probs = softmax(scores)  # (H, T, T)   ATT-PROBS: over the keys j
    tap("attention.probs", probs)
    return matmul(probs, value)  # (H, T, d)   ATT-CONTEXT
