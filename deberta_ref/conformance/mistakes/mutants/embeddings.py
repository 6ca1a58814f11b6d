"""The mistakes in the embeddings. Chapters 2 and 7 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

MUTANTS = (
    Mistake(
        "embeddings-scaled",
        "EMB-LOOKUP",
        "The token embeddings are multiplied by sqrt(D), which only a tiny variance shows.",
        Edit("model.embed", "x", "_ * params.config.hidden_dim**0.5"),
    ),
    Mistake(
        "row-0-zeroed",
        "EMB-LOOKUP",
        "The embedding of id 0, the padding index, is zeros.",
        Edit("model.embed", "x", "_ * (token_ids > 0)[:, None]"),
    ),
    Mistake(
        "embeddings-not-normalised",
        "EMB-NORM",
        "The token embeddings are not layer-normalised.",
        Edit("model.embed", "return", "x"),
    ),
    Mistake(
        "padded-embeddings-not-zeroed",
        "PAD-OUTPUT",
        "The embedding of a padded token is that of id 0, not zeros.",
        Edit("model.padded", "x, context", "(embed(params, np.zeros(1, np.intp), dtype), _[1])"),
        ("KerasHub", "an MLX port"),
        "nowhere",
    ),
    Mistake(
        "padded-embeddings-normalised-zeros",
        "PAD-OUTPUT",
        "The mask comes before the layer normalisation, so a padded token's embedding is the normalisation's bias.",
        Edit("model.padded", "x, context", "(params.embeddings_norm.bias[None].astype(dtype), _[1])"),
        shows="nowhere",
    ),
)
