"""The mistakes about padded tokens. Chapter 7 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.mistakes.mutants.mutant import INPUTS, MODEL, Mutant

PACKED = "_packed(ids.astype(np.intp), mask.astype(np.bool_))"

MUTANTS = (
    Mutant(
        "padding-heard",
        "PAD-ABSENT",
        "Padded keys are not masked: valid tokens hear them.",
        INPUTS,
        PACKED,
        "_packed(ids.astype(np.intp), np.ones_like(mask, np.bool_))",
        ("text-embeddings-inference, in padded batches",),
    ),
    Mutant(
        "mask-constant",
        "PAD-ABSENT",
        "A padded key has a score of -10000 instead of none, so that it is heard where valid scores are lower.",
        MODEL,
        "softmax(scores)",
        "(e := np.exp(scores - (m := np.maximum(scores.max(axis=-1, keepdims=True), -10000)))) / ("
        "e.sum(axis=-1, keepdims=True) + np.exp(-10000 - m))",
        ("microsoft/DeBERTa#77", "transformers#35332"),
    ),
    Mutant(
        "holes-collapse",
        "PAD-POSITIONS",
        "Distances are taken after the padding is left out, so a hole in the mask counts nothing.",
        INPUTS,
        "positions = np.flatnonzero(valid)",
        "positions = np.arange(valid.sum())",
        ("FlashDeBERTa padding.py",),
    ),
    Mutant(
        "padded-row-hears-itself",
        "PAD-OUTPUT",
        "A padded token hears itself, not nobody.",
        MODEL,
        "context = np.zeros_like(query)",
        "context = value.copy()",
        shows="nowhere",
    ),
)
