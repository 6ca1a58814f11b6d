"""The mistakes about padded tokens. Chapter 7 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

MUTANTS = (
    Mistake(
        "padding-heard",
        "PAD-ABSENT",
        "Padded keys are not masked: valid tokens attend to them.",
        Edit("inputs._packed", "return", "(lambda mask: _)(np.ones_like(mask))"),
        ("text-embeddings-inference, in padded batches",),
    ),
    Mistake(
        "mask-constant",
        "PAD-ABSENT",
        "A padded key has a score of -10000 instead of none, so that it is attended to where valid scores are lower.",
        Edit(
            "model.disentangled_attention",
            "attention.probs",
            "(e := np.exp(scores - (m := np.maximum(scores.max(axis=-1, keepdims=True), -10000)))) / ("
            "e.sum(axis=-1, keepdims=True) + np.exp(-10000 - m))",
        ),
        ("microsoft/DeBERTa#77", "transformers#35332"),
    ),
    Mistake(
        "holes-collapse",
        "PAD-POSITIONS",
        "Distances are taken after the padding is left out, so a hole in the mask counts nothing.",
        Edit("inputs._positions", "positions", "np.arange(valid.sum())"),
        ("FlashDeBERTa padding.py",),
    ),
    Mistake(
        "padded-row-hears-itself",
        "PAD-OUTPUT",
        "A padded token attends to itself, not to nothing.",
        Edit("model.padded", "x", "after_attention(p, x, linear(x, p.value), untapped)"),
        shows="nowhere",
    ),
)
