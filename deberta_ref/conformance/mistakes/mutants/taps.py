"""The mistakes in what a tap shows. Chapter 9 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.mistakes.mutants.mutant import MODEL, Mutant

MUTANTS = (
    Mutant(
        "c2c-tapped-after-the-scale",
        "VEC-TAPS",
        "The tap c2c is shown after the scale.",
        MODEL,
        'tap("attention.c2c", c2c)',
        'tap("attention.c2c", c2c / math.sqrt(3 * query.shape[-1]))',
        shows="taps",
    ),
    Mutant(
        "inner-tapped-before-gelu",
        "VEC-TAPS",
        "The tap feedforward.inner is shown before GELU.",
        MODEL,
        'tap("feedforward.inner", inner)',
        'tap("feedforward.inner", linear(x, p.up))',
        shows="taps",
    ),
    Mutant(
        "embeddings-tapped-before-the-norm",
        "VEC-TAPS",
        "The tap embeddings is shown before the layer normalisation.",
        MODEL,
        'tap("embeddings", x)',
        'tap("embeddings", np.append(params.token_embedding[batch.token_ids], x[-1:], axis=0))',
        shows="taps",
    ),
)
