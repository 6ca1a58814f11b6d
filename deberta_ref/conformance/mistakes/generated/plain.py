"""A forward pass as ports are written: a rectangle of tokens, a mask, floating-point logarithms, a step a line.

It is right, and gives what ``deberta_ref.model`` gives at valid positions. Mistakes are made in it by changing a line,
so that each step that a port can get wrong stands for itself here. A comment names the clause that a line is of.
"""

from math import sqrt
from typing import Any

import numpy as np

from deberta_ref.conformance.mistakes.loading import bfloat16  # noqa: F401 - for mistakes
from deberta_ref.fast import gelu

EPSILON = 1e-7


def forward(params: Any, inputs: Any, dtype: Any = "float64", *, allow_long: bool = False) -> Any:  # noqa: ARG001
    """The last hidden state, (B, T, D)."""
    config, layers = params.config, params.layers
    token_ids = np.asarray(inputs["token_ids"])  # EMB-LOOKUP
    mask = np.asarray(inputs["padding_mask"])  # PAD-ABSENT
    length = token_ids.shape[1]
    x = embeddings(params, token_ids, mask, dtype)
    relative = relative_embeddings(params, dtype)
    buckets_c2p = c2p_buckets(length, config)  # REL-BUCKET
    buckets_p2c = p2c_buckets(length, config)  # REL-BUCKET
    first = x  # noqa: F841 - for mistakes
    for n in range(config.num_layers):  # LAYER-STACK
        x = encoder_layer(n, layers[n], layers[n], config, x, relative, buckets_c2p, buckets_p2c, mask)  # LAYER-STACK
    return x  # LAYER-STACK


def embeddings(params: Any, token_ids: Any, mask: Any, dtype: Any) -> Any:
    """The embeddings of all tokens: (B, T, D)."""
    x = params.token_embedding[token_ids].astype(dtype)  # EMB-LOOKUP
    x = embeddings_norm(x, params.embeddings_norm.scale, params.embeddings_norm.bias)  # EMB-NORM
    x = x * mask[:, :, None]  # PAD-ABSENT
    return x


def relative_embeddings(params: Any, dtype: Any) -> Any:
    """The relative embeddings: (R, D)."""
    relative = params.relative_embedding.astype(dtype)  # REL-NORM
    relative = relative_norm(relative, params.relative_norm.scale, params.relative_norm.bias)  # REL-NORM
    return relative


def buckets(length: int, config: Any) -> Any:
    """The bucket of the distance from every query to every key: (T, T)."""
    bucket_size = config.bucket_size  # REL-BUCKET
    max_length = config.max_sequence_length  # REL-BUCKET
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]  # REL-DISTANCE
    side = np.sign(distance)  # REL-BUCKET
    middle = bucket_size // 2  # REL-BUCKET
    size = np.where((distance < middle) & (distance > -middle), middle - 1, abs(distance))  # REL-BUCKET
    far = np.log(np.float32(size / middle)) / np.log(np.float32((max_length - 1) / middle))  # REL-BUCKET
    far = np.ceil(far * np.float32(middle - 1)) + middle  # REL-BUCKET
    bucket = np.where(size <= middle, distance, far * side)  # REL-BUCKET
    return bucket.astype(np.int64)  # REL-BUCKET


c2p_buckets = p2c_buckets = buckets


def encoder_layer(
    n: int,  # noqa: ARG001 - which layers a mistake is in
    p: Any,
    shared: Any,
    config: Any,
    x: Any,
    relative: Any,
    buckets_c2p: Any,
    buckets_p2c: Any,
    mask: Any,
) -> Any:
    """One layer, the n-th: (B, T, D) -> (B, T, D)."""
    context = attention(p, shared, config, x, relative, buckets_c2p, buckets_p2c, mask)  # LAYER-ATTENTION
    attended = attention_block(p, x, context)  # LAYER-ATTENTION
    x = feedforward_block(p, attended, attended)  # LAYER-FEEDFORWARD
    return x  # LAYER-STACK


def attention(
    p: Any, shared: Any, config: Any, x: Any, relative: Any, buckets_c2p: Any, buckets_p2c: Any, mask: Any
) -> Any:
    """The contexts of all heads, merged: (B, T, D)."""
    heads = config.num_heads  # ATT-HEADS
    span = config.bucket_size  # REL-ROW
    query = content_split(x @ p.query.weight.T + p.query.bias, heads)  # ATT-PROJECTIONS
    key = content_split(x @ p.key.weight.T + p.key.bias, heads)  # ATT-PROJECTIONS
    value = content_split(x @ p.value.weight.T + p.value.bias, heads)  # ATT-PROJECTIONS
    relative_query = relative_split(relative @ shared.query.weight.T + shared.query.bias, heads)  # ATT-SHARED
    relative_key = relative_split(relative @ shared.key.weight.T + shared.key.bias, heads)  # ATT-SHARED
    c2c = content_to_content(query, key)  # ATT-C2C
    c2p = content_to_position(query, relative_key, buckets_c2p, span)  # ATT-C2P
    p2c = position_to_content(key, relative_query, buckets_p2c, span)  # ATT-P2C
    scores = c2c + c2p + p2c  # ATT-SCALE
    pairs = mask[:, None, None, :] * mask[:, None, :, None]  # PAD-ABSENT
    scores = np.where(pairs != 0, scores, -1e30)  # PAD-ABSENT
    probs = softmax(scores)  # ATT-PROBS
    context = probs @ value  # ATT-CONTEXT
    return merged(context)  # ATT-CONTEXT


def content_to_content(query: Any, key: Any) -> Any:
    """The first term of the scores: (B, H, T, T)."""
    terms = 3  # ATT-SCALE
    scale = sqrt(query.shape[-1] * terms)  # ATT-SCALE
    c2c = query @ transposed(key)  # ATT-C2C
    c2c = c2c / scale  # ATT-SCALE
    return c2c


def content_to_position(query: Any, relative_key: Any, bucket: Any, span: int) -> Any:
    """The second term of the scores: (B, H, T, T)."""
    terms = 3  # ATT-SCALE
    scale = sqrt(query.shape[-1] * terms)  # ATT-SCALE
    c2p = query @ transposed(relative_key)  # ATT-C2P
    row = np.clip(bucket + span, 0, span * 2 - 1)  # REL-ROW
    c2p = gathered(c2p, row)  # ATT-C2P
    c2p = c2p / scale  # ATT-SCALE
    return c2p


def position_to_content(key: Any, relative_query: Any, bucket: Any, span: int) -> Any:
    """The third term of the scores: (B, H, T, T)."""
    terms = 3  # ATT-SCALE
    scale = sqrt(key.shape[-1] * terms)  # ATT-SCALE
    p2c = key @ transposed(relative_query)  # ATT-P2C
    row = np.clip(-bucket + span, 0, span * 2 - 1)  # REL-ROW
    p2c = gathered(p2c, row)  # ATT-P2C
    p2c = transposed(p2c)  # ATT-P2C
    p2c = p2c / scale  # ATT-SCALE
    return p2c


def attention_block(p: Any, x: Any, context: Any) -> Any:
    """The attention's output map, the residual and the norm: (B, T, D)."""
    y = context @ p.attention_output.weight.T + p.attention_output.bias  # LAYER-ATTENTION
    y = y + x  # LAYER-ATTENTION
    y = attention_norm(y, p.attention_norm.scale, p.attention_norm.bias)  # LAYER-ATTENTION
    return y


def feedforward_block(p: Any, x: Any, residual: Any) -> Any:
    """The feed-forward block, the residual and the norm: (B, T, D)."""
    inner = x @ p.up.weight.T + p.up.bias  # LAYER-INNER
    inner = gelu(inner)  # GELU-ERF
    y = inner @ p.down.weight.T + p.down.bias  # LAYER-FEEDFORWARD
    y = y + residual  # LAYER-FEEDFORWARD
    y = feedforward_norm(y, p.feedforward_norm.scale, p.feedforward_norm.bias)  # LAYER-FEEDFORWARD
    return y


def layer_norm(x: Any, scale: Any, bias: Any) -> Any:
    """Layer normalisation over the features."""
    mean = x.mean(axis=-1, keepdims=True)  # NORM-DEFINITION
    centred = x - mean  # NORM-DEFINITION
    variance = (centred * centred).mean(axis=-1, keepdims=True)  # NORM-DEFINITION
    deviation = np.sqrt(variance + EPSILON)  # NORM-EPSILON
    normalised = centred / deviation  # NORM-DEFINITION
    normalised = normalised * scale  # NORM-DEFINITION
    normalised = normalised + bias  # NORM-DEFINITION
    return normalised


embeddings_norm = relative_norm = attention_norm = feedforward_norm = layer_norm


def softmax(scores: Any) -> Any:
    """The softmax over the keys."""
    scores = scores - scores.max(axis=-1, keepdims=True)  # NUM-SOFTMAX
    probs = np.exp(scores)  # ATT-PROBS
    probs = probs / probs.sum(axis=-1, keepdims=True)  # ATT-PROBS
    return probs


def split(x: Any, heads: int) -> Any:
    """(…, T, D) -> (…, H, T, d)."""
    x = x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)  # ATT-HEADS
    return x.swapaxes(-2, -3)


content_split = relative_split = split


def merged(context: Any) -> Any:
    """(B, H, T, d) -> (B, T, D)."""
    context = context.swapaxes(1, 2)  # ATT-HEADS
    return context.reshape(*context.shape[:2], context.shape[2] * context.shape[3])


def float16(x: Any) -> Any:
    """The nearest numbers of float16, in the type that they have; for mistakes."""
    return np.asarray(x).astype(np.float16).astype(np.asarray(x).dtype)


def transposed(x: Any) -> Any:
    """(…, n, m) -> (…, m, n)."""
    return x.swapaxes(-1, -2)


def gathered(products: Any, row: Any) -> Any:
    """Of the products of every token with all relative rows, (…, T, R), those with row[i, j]: (…, T, T)."""
    products = products[..., : row.shape[-1], :]  # ATT-C2P
    row = np.broadcast_to(row, (*products.shape[:-1], row.shape[-1]))
    return np.take_along_axis(products, row, axis=-1)
