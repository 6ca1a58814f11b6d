"""The mistakes in what a tap shows. Chapter 9 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

MUTANTS = (
    Mistake(
        "c2c-tapped-after-the-scale",
        "VEC-TAPS",
        "The tap c2c is shown after the scale.",
        Edit(
            "model.disentangled_attention",
            "attention.c2c",
            '(_, tap("attention.c2c", scaled(_, 3 * query.shape[-1])))[0]',
            whole=True,
        ),
        shows="taps",
    ),
    Mistake(
        "inner-tapped-before-gelu",
        "VEC-TAPS",
        "The tap feedforward.inner is shown before GELU.",
        Edit(
            "model.after_attention",
            "feedforward.inner",
            '(_, tap("feedforward.inner", linear(x, p.up)))[0]',
            whole=True,
        ),
        shows="taps",
    ),
    Mistake(
        "embeddings-tapped-before-the-norm",
        "VEC-TAPS",
        "The tap embeddings is shown before the layer normalisation.",
        Edit(
            "model.encode",
            "embeddings",
            '(_, tap("embeddings", params.token_embedding[batch.token_ids]))[0]',
            whole=True,
        ),
        shows="taps",
    ),
)
