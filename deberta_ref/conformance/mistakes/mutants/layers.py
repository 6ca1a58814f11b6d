"""The mistakes in a layer and in the stack of layers. Chapter 5 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

REST = "model.after_attention"

MUTANTS = (
    Mistake(
        "attention-without-residual",
        "LAYER-ATTENTION",
        "The attention block does not add the hidden state that came in.",
        Edit(REST, "attention.output", "(lambda x: _)(0)"),
    ),
    Mistake(
        "attention-norm-before-residual",
        "LAYER-ATTENTION",
        "The attention block normalises before it adds the hidden state.",
        Edit(REST, "attention.output", "x + layer_norm(linear(context, p.attention_output), p.attention_norm)"),
    ),
    Mistake(
        "attention-output-map-left-out",
        "LAYER-ATTENTION",
        "The context is added without its linear map.",
        Edit(REST, "attention.output", "layer_norm(x + context, p.attention_norm)"),
    ),
    Mistake(
        "inner-relu",
        "LAYER-INNER",
        "The feed-forward has ReLU.",
        Edit(REST, "feedforward.inner", "np.maximum(linear(x, p.up), 0)"),
    ),
    Mistake(
        "inner-linear",
        "LAYER-INNER",
        "The feed-forward has no activation.",
        Edit(REST, "feedforward.inner", "linear(x, p.up)"),
    ),
    Mistake(
        "feedforward-without-residual",
        "LAYER-FEEDFORWARD",
        "The feed-forward block does not add the output of the attention block.",
        Edit(REST, "output", "(lambda x: _)(0)"),
    ),
    Mistake(
        "feedforward-norm-before-residual",
        "LAYER-FEEDFORWARD",
        "The feed-forward block normalises before it adds the output of the attention block.",
        Edit(REST, "output", "x + layer_norm(linear(inner, p.down), p.feedforward_norm)"),
    ),
    Mistake(
        "feedforward-norm-of-the-attention",
        "LAYER-FEEDFORWARD",
        "The feed-forward block is normalised with the attention block's scale and bias.",
        Edit(REST, "output", "layer_norm(x + linear(inner, p.down), p.attention_norm)"),
    ),
    Mistake(
        "last-layer-left-out",
        "LAYER-STACK",
        "The last layer is not applied.",
        Edit("model.encode", "for n, p", "list(_)[:-1]"),
    ),
    Mistake(
        "first-layer-repeated",
        "LAYER-STACK",
        "All layers have the first one's parameters.",
        Edit("model.encode", "for n, p", "enumerate(params.layers[:1] * len(params.layers))"),
    ),
    Mistake(
        "layers-out-of-order",
        "LAYER-STACK",
        "The layers are applied in another order, as a sorting of their names can put them.",
        Edit("model.encode", "for n, p", "enumerate(params.layers[::-1])"),
    ),
    Mistake(
        "output-normalised",
        "LAYER-STACK",
        "A layer normalisation follows the last layer.",
        Edit("model.encode", "output", "layer_norm(_, params.embeddings_norm)"),
    ),
)
