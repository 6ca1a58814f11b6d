"""The mistakes that ports of DeBERTaV3 make, each as the reference with one expression written differently.

Data: what stands in the source, and what the mistake writes there. A mutant serves twice: vectors that do not reject
it are too weak, and a port that fails as it does has probably made the same mistake. A file a chapter of spec/.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deberta_ref.conformance.mistakes.mutants import (
    attention,
    embeddings,
    inputs,
    layers,
    numerics,
    package,
    padding,
    positions,
    taps,
    text,
)
from deberta_ref.conformance.mistakes.mutants.mutant import Mutant

__all__ = ["Mutant", "mutants", "variations"]

mutants: Mapping[str, Mutant] = MappingProxyType(
    {
        mutant.id: mutant
        for group in (inputs, embeddings, positions, attention, layers, numerics, padding, taps, package, text)
        for mutant in group.MUTANTS
    }
)
"""Every mutant by its id, in the order of the specification."""

variations: Mapping[str, Mutant] = MappingProxyType({variation.id: variation for variation in positions.VARIATIONS})
"""What the specification permits besides, by its id. Where a case permits one, either result is right."""
