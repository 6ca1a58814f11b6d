"""The mistakes in attention. Chapter 4 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

ATTENTION = "model.disentangled_attention"
LAYER = "model.encoder_layer"


def absent(term: str) -> Edit:
    """A term that is shown, and left out of the scores."""
    return Edit(ATTENTION, f"attention.{term}", f'np.zeros_like(tap("attention.{term}", _))', whole=True)


FOR_TWO_TERMS = Edit(ATTENTION, "attention.scores", "scaled(c2c + c2p + p2c, 2 * query.shape[-1])")

MUTANTS = (
    Mistake(
        "query-key-swapped",
        "ATT-PROJECTIONS",
        "The query is made with the key's map, and the key with the query's.",
        (
            Edit(LAYER, "attention.query", "split_heads(linear(x, p.key), num_heads)"),
            Edit(LAYER, "attention.key", "split_heads(linear(x, p.query), num_heads)"),
        ),
    ),
    Mistake(
        "weight-not-transposed",
        "ATT-PROJECTIONS",
        "A square weight is not transposed.",
        Edit("ops.linear", "return", "matmul(x, weight if weight.shape[0] == weight.shape[1] else weight.T) + bias"),
    ),
    Mistake(
        "linear-without-bias",
        "ATT-PROJECTIONS",
        "Linear maps have no bias.",
        Edit("ops.linear", "weight, bias", "(_[0], 0)"),
    ),
    Mistake(
        "heads-interleaved",
        "ATT-HEADS",
        "The features are split as (d, H), not (H, d).",
        Edit("ops.split_heads", "return", "x.reshape(len(x), x.shape[1] // num_heads, num_heads).transpose(2, 0, 1)"),
    ),
    Mistake(
        "heads-merged-interleaved",
        "ATT-HEADS",
        "The contexts of the heads are merged as (d, H), not (H, d).",
        Edit("ops.merge_heads", "return", "x.transpose(1, 2, 0).reshape(x.shape[1], len(x) * x.shape[2])"),
    ),
    Mistake(
        "heads-merged-untransposed",
        "ATT-HEADS",
        "The contexts (H, T, d) are reshaped to (T, D) without moving the heads' axis.",
        Edit("ops.merge_heads", "return", "x.reshape(x.shape[1], len(x) * x.shape[2])"),
    ),
    Mistake(
        "relative-without-bias",
        "ATT-SHARED",
        "The relative query and key leave out the bias of the query's and the key's map.",
        (
            Edit(LAYER, "attention.relative_query", "_ - split_heads(p.query.bias[None], num_heads)"),
            Edit(LAYER, "attention.relative_key", "_ - split_heads(p.key.bias[None], num_heads)"),
        ),
    ),
    Mistake(
        "relative-query-key-swapped",
        "ATT-SHARED",
        "The relative query is made with the key's map, and the relative key with the query's.",
        (
            Edit(LAYER, "attention.relative_query", "split_heads(linear(relative, p.key), num_heads)"),
            Edit(LAYER, "attention.relative_key", "split_heads(linear(relative, p.query), num_heads)"),
        ),
    ),
    Mistake(
        "c2c-transposed",
        "ATT-C2C",
        "The c2c term of a pair is that of the opposite pair.",
        Edit(ATTENTION, "attention.c2c", "matmul(key, mT(query))"),
    ),
    Mistake("c2c-absent", "ATT-C2C", "The c2c term is left out.", absent("c2c")),
    Mistake(
        "c2p-index-flipped",
        "ATT-C2P",
        "The c2p term reads the row of the opposite distance.",
        Edit(ATTENTION, "attention.c2p", "(lambda row: _)(row.T)"),
    ),
    Mistake(
        "c2p-reads-relative-query",
        "ATT-C2P",
        "The c2p term multiplies the query with the relative query.",
        Edit(ATTENTION, "attention.c2p", "(lambda relative_key: _)(relative_query)"),
    ),
    Mistake(
        "c2p-absent",
        "ATT-C2P",
        "The c2p term is left out, and the scale is for two terms.",
        (absent("c2p"), FOR_TWO_TERMS),
        ("a vLLM draft",),
    ),
    Mistake(
        "p2c-index-flipped",
        "ATT-P2C",
        "The p2c term reads the row of the opposite distance.",
        Edit(ATTENTION, "attention.p2c", "(lambda row: _)(row.T)"),
        ("nntrainer#3982", "FlashDeBERTa 0.0.1"),
    ),
    Mistake(
        "p2c-not-transposed",
        "ATT-P2C",
        "The p2c term is gathered per key and not transposed.",
        Edit(ATTENTION, "attention.p2c", "mT(_)"),
    ),
    Mistake(
        "p2c-of-the-query",
        "ATT-P2C",
        "The p2c term of a pair multiplies key i, not key j, with the relative query.",
        Edit(ATTENTION, "attention.p2c", "relative_products(key, relative_query, row)"),
    ),
    Mistake(
        "p2c-reads-relative-key",
        "ATT-P2C",
        "The p2c term multiplies the key with the relative key.",
        Edit(ATTENTION, "attention.p2c", "(lambda relative_query: _)(relative_key)"),
    ),
    Mistake(
        "p2c-absent",
        "ATT-P2C",
        "The p2c term is left out, and the scale is for two terms.",
        (absent("p2c"), FOR_TWO_TERMS),
        ("a vLLM draft",),
    ),
    Mistake(
        "scale-without-3",
        "ATT-SCALE",
        "The scores are divided by sqrt(d), not sqrt(3d).",
        Edit(ATTENTION, "attention.scores", "scaled(c2c + c2p + p2c, query.shape[-1])"),
        ("FasterTransformer#707",),
    ),
    Mistake(
        "bias-scale-without-root",
        "ATT-SCALE",
        "c2p and p2c are divided by 3d, not sqrt(3d).",
        Edit(
            ATTENTION,
            "attention.scores",
            "scaled(c2c, 3 * query.shape[-1]) + (c2p + p2c) / (3 * query.shape[-1])",
        ),
        ("rust-bert",),
    ),
    Mistake(
        "scale-of-c2c-alone",
        "ATT-SCALE",
        "c2p and p2c are added after the scale.",
        Edit(ATTENTION, "attention.scores", "scaled(c2c, 3 * query.shape[-1]) + c2p + p2c"),
    ),
    Mistake(
        "scale-of-the-hidden-size",
        "ATT-SCALE",
        "The scale takes the hidden size D for the head size d.",
        Edit(ATTENTION, "attention.scores", "scaled(_, len(query))"),
    ),
    Mistake(
        "softmax-over-queries",
        "ATT-PROBS",
        "The softmax runs over the queries, not the keys.",
        Edit(ATTENTION, "attention.probs", "mT(softmax(mT(scores)))"),
    ),
    Mistake(
        "context-of-transposed-probs",
        "ATT-CONTEXT",
        "The values are weighted by what the keys' tokens attend to.",
        Edit(ATTENTION, "return", "matmul(mT(probs), value)"),
    ),
    Mistake(
        "probs-of-the-next-head",
        "ATT-CONTEXT",
        "The values of a head are weighted by the probabilities of another.",
        Edit(ATTENTION, "return", "matmul(np.roll(probs, 1, axis=0), value)"),
    ),
)
