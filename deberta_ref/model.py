"""The DeBERTaV3 encoder: token ids in, last hidden states out. Read this beside spec/02 to spec/05.

B examples of T positions have N valid tokens; D features, in heads of d; R relative embeddings, each for a distance or
for several; F features inside the feed-forward. x is (N, D): the valid tokens of the batch, one after another. Padded
tokens are left out, so nothing is masked, and no position is added: only attention needs to know which tokens are of
one sequence, and where. ops.py defines the operations; fast/ makes some fast. ``tap(name, value)`` returns the value.
"""

import numpy as np

from deberta_ref.fast import a_few_heads_at_a_time, folded, gelu, layer_norm, linear, relative_products
from deberta_ref.inputs import Batch, Inputs, Sequences, pack
from deberta_ref.ops import matmul, merge_heads, mT, scaled, softmax, split_heads
from deberta_ref.params import Layer, Params
from deberta_ref.positions import relative_row
from deberta_ref.precision import Array, DType, DTypeLike, Integers, rounded
from deberta_ref.taps import Tap, at, untapped, watched


def forward(params: Params, inputs: Inputs, dtype: DTypeLike | None = None, *, allow_long: bool = False) -> Array:
    """The last hidden state of every token.

    Parameters
    ----------
    params : Params
        The parameters, as ``init`` or ``from_preset`` gives them.
    inputs : mapping of str to array_like of int, each (B, T)
        ``token_ids``, and ``padding_mask``: 1 for a valid token, 0 for a padded one.
    dtype : 'float64', 'float32', 'float16', 'bfloat16', 'mixed_float16' or 'mixed_bfloat16', optional
        What is computed in; by default the type of ``params``, but float32 at least.
    allow_long : bool
        Whether T may exceed ``max_sequence_length``.

    Returns
    -------
    array of dtype, (B, T, D)
        Padded positions hold one row that depends on ``params`` alone; the specification leaves them open.

    Raises
    ------
    ValueError, TypeError
        Before anything is computed: what is wrong, what came and what is allowed.

    Examples
    --------
    >>> forward(from_preset("deberta_v3_demo_en"), {"token_ids": [[1, 30, 2]], "padding_mask": [[1, 1, 1]]}).shape
    (1, 3, 48)
    """
    batch = pack(inputs, params, allow_long=allow_long)  # checks and packs: IN-KEYS, IN-IDS, IN-MASK, IN-LENGTH
    params, dtype = params.computed_in(dtype)  # NUM-DTYPE, HALF-POLICY
    output = np.empty((*batch.mask.shape, params.config.hidden_dim), dtype)  # (B, T, D)
    with watched(dtype) as tap:  # an overflow shows as an infinity or a NaN; in float16 there is a warning as well
        for examples, part in batch.parts():  # a few at a time, so that a large batch takes no more memory
            output[examples][part.mask] = encode(params, part, dtype, tap)  # examples is a slice: a view
        if not batch.mask.all():
            output[~batch.mask] = padded(params, dtype)  # PAD-OUTPUT
    return output


def encode(params: Params, batch: Batch, dtype: DType, tap: Tap) -> Array:
    """The embeddings and all layers, over the valid tokens of a batch: (N, D)."""
    x = tap("embeddings", embed(params, batch.token_ids, dtype))  # (N, D)
    table = rounded(params.relative_embedding, dtype)
    relative = tap("relative_embeddings", layer_norm(table, params.relative_norm))  # (R, D)   REL-NORM
    row = tap("relative_row", relative_row(batch.length, params.config))  # (T, T)   REL-ROW: for i − j
    sequences = [(s, row[s.positions][:, s.positions]) for s in batch.sequences]  # PAD-POSITIONS
    for n, p in enumerate(params.layers):  # LAYER-STACK
        x = encoder_layer(p, params.config.num_heads, x, relative, sequences, at(tap, f"layers.{n}."))
    return tap("output", x)


def embed(params: Params, token_ids: Integers, dtype: DType) -> Array:
    """The normalised embeddings of tokens: (N,) -> (N, D)."""
    x = rounded(params.token_embedding[token_ids], dtype)  # (N, D)   EMB-LOOKUP
    return layer_norm(x, params.embeddings_norm)  # EMB-NORM


def encoder_layer(p: Layer, num_heads: int, x: Array, relative: Array, sequences: Sequences, tap: Tap) -> Array:
    """One layer over the valid tokens of a batch: (N, D) -> (N, D)."""
    query = tap("attention.query", split_heads(linear(x, p.query), num_heads))  # (H, N, d)   ATT-PROJECTIONS, ATT-HEADS
    key = tap("attention.key", split_heads(linear(x, p.key), num_heads))
    value = tap("attention.value", split_heads(linear(x, p.value), num_heads))
    relative_query = tap("attention.relative_query", split_heads(linear(relative, p.query), num_heads))  # ATT-SHARED
    relative_key = tap("attention.relative_key", split_heads(linear(relative, p.key), num_heads))  # (H, R, d)
    contexts = np.empty_like(query)  # (H, N, d)
    for s, row in sequences:  # PAD-ABSENT: each sequence by itself
        operands = query[:, s.tokens], key[:, s.tokens], value[:, s.tokens], relative_query, relative_key
        contexts[:, s.tokens] = disentangled_attention(*operands, row, at(tap, sequence=s))
    context = tap("attention.context", merge_heads(contexts))  # (N, D)   ATT-CONTEXT
    return after_attention(p, x, context, tap)


@a_few_heads_at_a_time  # the same result; its temporaries stay in the processor's cache
def disentangled_attention(
    query: Array, key: Array, value: Array, relative_query: Array, relative_key: Array, row: Integers, tap: Tap
) -> Array:
    """Who attends to whom in one sequence of T valid tokens, by content and by distance: (H, T, d) -> (H, T, d)."""
    c2c = tap("attention.c2c", matmul(query, mT(key)))  # (H, T, T)   ATT-C2C: query i · key j
    c2p = tap("attention.c2p", relative_products(query, relative_key, row))  # ATT-C2P: query i · relative_key row[i, j]
    p2c = tap("attention.p2c", mT(relative_products(key, relative_query, row.T)))  # ATT-P2C: key j · the same row[i, j]
    scores = tap("attention.scores", scaled(c2c + c2p + p2c, 3 * query.shape[-1]))  # ATT-SCALE: the sum / sqrt(3d)
    probs = tap("attention.probs", softmax(scores))  # (H, T, T)   ATT-PROBS: over the keys j
    return matmul(probs, value)  # (H, T, d)   ATT-CONTEXT


def after_attention(p: Layer, x: Array, context: Array, tap: Tap) -> Array:
    """LAYER-ATTENTION (add x, then normalise), then the feed-forward block: x and context, (N, D) each -> (N, D)."""
    x = tap("attention.output", layer_norm(x + linear(context, p.attention_output), p.attention_norm))  # (N, D)
    inner = tap("feedforward.inner", gelu(linear(x, p.up)))  # (N, F)   LAYER-INNER, GELU-ERF
    return tap("output", layer_norm(x + linear(inner, p.down), p.feedforward_norm))  # LAYER-FEEDFORWARD


@folded  # cached, as it depends on parameters alone
def padded(params: Params, dtype: DType) -> Array:
    """What a padded position holds, as the authors' code has it: zeros and a context of zeros, through all layers."""
    x, context = np.zeros((2, 1, params.config.hidden_dim), dtype)  # (1, D) each   PAD-OUTPUT
    for p in params.layers:
        x = after_attention(p, x, context, untapped)
    return x
