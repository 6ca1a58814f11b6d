"""The mistakes about padded tokens. Chapter 7 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.mutants.mutant import INPUTS, MODEL, Mutant

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
        "context = np.zeros_like(x)",
        "context = merge_heads(value)",
        shows="nowhere",
    ),
)
