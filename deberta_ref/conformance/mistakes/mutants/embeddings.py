"""The mistakes in the embeddings. Chapters 2 and 7 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.mistakes.mutants.mutant import MODEL, Mutant

MUTANTS = (
    Mutant(
        "embeddings-scaled",
        "EMB-LOOKUP",
        "The token embeddings are multiplied by sqrt(D), which only a tiny variance shows.",
        MODEL,
        "params.token_embedding[token_ids].astype(dtype, copy=False)",
        "params.token_embedding[token_ids].astype(dtype) * math.sqrt(params.config.hidden_dim)",
    ),
    Mutant(
        "row-0-zeroed",
        "EMB-LOOKUP",
        "The embedding of id 0, the padding index, is zeros.",
        MODEL,
        "params.token_embedding[token_ids].astype(dtype, copy=False)",
        "params.token_embedding[token_ids].astype(dtype) * (token_ids > 0)[:, None]",
    ),
    Mutant(
        "embeddings-not-normalised",
        "EMB-NORM",
        "The token embeddings are not layer-normalised.",
        MODEL,
        "layer_norm(x, params.embeddings_norm)",
        "x",
    ),
    Mutant(
        "padded-embeddings-not-zeroed",
        "PAD-OUTPUT",
        "The embedding of a padded token is that of id 0, not zeros.",
        MODEL,
        "np.zeros((1, x.shape[1]), dtype)",
        "layer_norm(params.token_embedding[:1].astype(dtype), params.embeddings_norm)",
        ("KerasHub", "an MLX port"),
        "nowhere",
    ),
    Mutant(
        "padded-embeddings-normalised-zeros",
        "PAD-OUTPUT",
        "The mask comes before the layer normalisation, so a padded token's embedding is the normalisation's bias.",
        MODEL,
        "np.zeros((1, x.shape[1]), dtype)",
        "params.embeddings_norm.bias[None].astype(dtype)",
        shows="nowhere",
    ),
)
