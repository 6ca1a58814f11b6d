"""Whether a port gives the same answer to the same question: random errors cannot be diagnosed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.judging.answers import checked
from deberta_ref.conformance.ports.protocol import NotOffered, Port, PortError
from deberta_ref.conformance.verdict import LIMIT, Verdict

REPEATABLE_SECONDS = 20.0
"""An answer that took longer is not asked for a second time."""


def not_deterministic(port: Port, case: Case, verdict: Verdict) -> str:
    """A sentence if a second answer to ``case`` differs from the first, which the verdict holds; empty if not."""
    if verdict.seconds > REPEATABLE_SECONDS:
        return ""
    try:
        again = checked(case, port.answer(case)).values
    except (NotOffered, PortError):
        return ""
    before = {name: x for name, x in verdict.found.items() if name in again and not _same(x, again[name])}
    other = case.with_values(expected=before)
    with np.errstate(all="ignore"):  # a port may be wrong by anything
        score = max(other.scores({name: again[name] for name in before}).values(), default=0.0)
    if score <= LIMIT:
        return ""
    by = (
        f"by {score:.3g} times the float32 rounding error"
        if math.isfinite(score)
        else "in integers, or in what is not finite"
    )
    return (
        f"Two answers to the same question ({case.id}) differ {by}: the port is not deterministic, as with dropout "
        f"left on."
    )


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
