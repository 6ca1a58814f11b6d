"""The mistakes in a layer and in the stack of layers. Chapter 5 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.mistakes.mutants.mutant import MODEL, Mutant

ATTENTION = "layer_norm(x + linear(context, p.attention_output), p.attention_norm)"
FEEDFORWARD = "layer_norm(x + linear(inner, p.down), p.feedforward_norm)"
INNER = "gelu(linear(x, p.up))"

MUTANTS = (
    Mutant(
        "attention-without-residual",
        "LAYER-ATTENTION",
        "The attention block does not add the hidden state that came in.",
        MODEL,
        ATTENTION,
        ATTENTION.replace("x + ", ""),
    ),
    Mutant(
        "attention-norm-before-residual",
        "LAYER-ATTENTION",
        "The attention block normalises before it adds the hidden state.",
        MODEL,
        ATTENTION,
        "x + layer_norm(linear(context, p.attention_output), p.attention_norm)",
    ),
    Mutant(
        "attention-output-map-left-out",
        "LAYER-ATTENTION",
        "The context is added without its linear map.",
        MODEL,
        ATTENTION,
        "layer_norm(x + context, p.attention_norm)",
    ),
    Mutant("inner-relu", "LAYER-INNER", "The feed-forward has ReLU.", MODEL, INNER, "np.maximum(linear(x, p.up), 0)"),
    Mutant("inner-linear", "LAYER-INNER", "The feed-forward has no activation.", MODEL, INNER, "linear(x, p.up)"),
    Mutant(
        "feedforward-without-residual",
        "LAYER-FEEDFORWARD",
        "The feed-forward block does not add the output of the attention block.",
        MODEL,
        FEEDFORWARD,
        FEEDFORWARD.replace("x + ", ""),
    ),
    Mutant(
        "feedforward-norm-before-residual",
        "LAYER-FEEDFORWARD",
        "The feed-forward block normalises before it adds the output of the attention block.",
        MODEL,
        FEEDFORWARD,
        "x + layer_norm(linear(inner, p.down), p.feedforward_norm)",
    ),
    Mutant(
        "feedforward-norm-of-the-attention",
        "LAYER-FEEDFORWARD",
        "The feed-forward block is normalised with the attention block's scale and bias.",
        MODEL,
        FEEDFORWARD,
        FEEDFORWARD.replace("feedforward_norm", "attention_norm"),
    ),
    Mutant(
        "last-layer-left-out",
        "LAYER-STACK",
        "The last layer is not applied.",
        MODEL,
        "enumerate(params.layers)",
        "enumerate(params.layers[:-1])",
    ),
    Mutant(
        "first-layer-repeated",
        "LAYER-STACK",
        "All layers have the first one's parameters.",
        MODEL,
        "enumerate(params.layers)",
        "enumerate(params.layers[:1] * len(params.layers))",
    ),
    Mutant(
        "layers-out-of-order",
        "LAYER-STACK",
        "The layers are applied in another order, as a sorting of their names can put them.",
        MODEL,
        "enumerate(params.layers)",
        "enumerate(params.layers[::-1])",
    ),
    Mutant(
        "output-normalised",
        "LAYER-STACK",
        "A layer normalisation follows the last layer.",
        MODEL,
        '    tap("output", x)\n    return x\n\n\ndef embed(',
        '    x = layer_norm(x, params.embeddings_norm)\n    tap("output", x)\n    return x\n\n\ndef embed(',
    ),
)
