"""The mistakes that ports of DeBERTaV3 make, each as the reference with an expression or two written differently.

Data: which statement of which function, and what the mistake writes there. A mutant serves twice: vectors that do not
reject it are too weak, and a port that fails as it does has probably made the same mistake. A file a chapter of spec/.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deberta_ref.conformance.mistakes.mistake import Mistake
from deberta_ref.conformance.mistakes.mutants import (
    attention,
    embeddings,
    inputs,
    layers,
    numerics,
    padding,
    positions,
    taps,
    text,
)

__all__ = ["mutants", "variations"]

mutants: Mapping[str, Mistake] = MappingProxyType(
    {
        mutant.id: mutant
        for group in (inputs, embeddings, positions, attention, layers, numerics, padding, taps, text)
        for mutant in group.MUTANTS
    }
)
"""Every mutant by its id, in the order of the specification."""

variations: Mapping[str, Mistake] = MappingProxyType({variation.id: variation for variation in positions.VARIATIONS})
"""What the specification permits besides, by its id. Where a case permits one, either result is right."""
