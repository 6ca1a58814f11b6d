"""Which mistake of the grammar explains a failing port: all are made on one small case, and the nearest are proved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from deberta_ref.conformance.cases.corpus import WHOLE
from deberta_ref.conformance.diagnosis.evidence import CHEAP, NARROW, Clock, Evidence, Explanation, explained
from deberta_ref.conformance.mistakes.generated.candidates import Generated
from deberta_ref.conformance.mistakes.mistake import Mistake
from deberta_ref.precision import Array

NEAR = 300.0
"""A candidate is proved if it comes so near on the probe, in multiples of the rounding error."""

SHARE = 0.003
"""Or if it leaves so little of the error: a mistake can make a model more sensitive to rounding."""

UNCHANGED = 1e-3
"""A candidate that changes no number by more than this, in multiples of the rounding error, is right on the probe."""

PROVED = 40
"""The most candidates that are proved: those that come nearest."""

TOKENS = 5
"""A probe has so many tokens at least: shorter ones tell few mistakes apart."""

FAILED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    NameError,
    SyntaxError,
    TypeError,
    ValueError,
    MemoryError,
)
"""What an edited function may raise."""

_MADE: dict[tuple[str, str], dict[Generated, Array | None]] = {}
"""What each candidate gives for a probe: it does not depend on the port."""


def generated(candidates: Iterable[Generated], order: Sequence[Evidence], out_of_time: Clock) -> list[Explanation]:
    """Those of the candidates that explain all answers, best first."""
    probe = probe_of(order)
    if probe is None:
        return []
    with np.errstate(all="ignore"):  # a port may be wrong by anything
        near = sorted(_near(probe, candidates, out_of_time), key=lambda found: found[0])
    found = [explained(mistake, order, out_of_time) for _, mistake in near[:PROVED]]
    return sorted((e for e in found if e.fits), key=lambda explanation: explanation.score)


def probe_of(order: Sequence[Evidence]) -> Evidence | None:
    """The cheapest failing case that tells mistakes apart; None if there is none."""
    failing = [e for e in order if e.fails and e.finite and e.case.suite in WHOLE and {*e.found} == {*e.case.required}]
    telling = [
        e
        for e in failing
        if e.case.config.hidden_dim >= NARROW
        and e.case.inputs["padding_mask"].shape[1] >= TOKENS
        and e.cost < 4 * CHEAP
    ]
    return min(telling or failing, key=lambda e: e.cost, default=None)


def _near(probe: Evidence, candidates: Iterable[Generated], out_of_time: Clock) -> Iterable[tuple[float, Mistake]]:
    """Those that come near the port's answer to the probe, and how near."""
    made = _MADE.setdefault((probe.case.id, probe.case.precision), {})
    (name,) = probe.case.required
    mask = probe.case.inputs["padding_mask"].astype(bool)
    theirs = probe.found[name][mask]
    error = theirs - probe.case.expected[name][mask]
    if not math.isfinite(float(np.square(error).sum())):
        return
    limit = max(NEAR * probe.case.floors[name].rms, SHARE * float(np.sqrt(np.mean(np.square(error)))))
    idle = {c.changes for c, output in made.items() if output is None and not c.uses and c.layer is None}
    for candidate in candidates:
        if candidate.changes in idle:  # what does nothing everywhere, or cannot compute, is no better in one place
            continue
        if candidate not in made:
            if out_of_time():
                return
            made[candidate] = _given(probe, candidate, mask)
        output = made[candidate]
        if output is None:
            continue
        distance = float(np.sqrt(np.mean(np.square(theirs - output))))
        if math.isfinite(distance) and distance <= limit:
            yield distance, candidate


def _given(probe: Evidence, candidate: Generated, mask: Array) -> Array | None:
    """What the candidate gives at valid positions, float64; None if it gives nothing, or the right answer."""
    (name,) = probe.case.required
    expected = probe.case.expected[name][mask]
    try:
        with np.errstate(all="ignore"):
            output = candidate.model().forward(probe.case.params, probe.case.inputs, "float64")
        found = np.asarray(output, np.float64)[mask]
    except FAILED:
        return None
    if found.shape != expected.shape or not np.isfinite(found).all():
        return None
    right = abs(found - expected).max() <= UNCHANGED * probe.case.floors[name].rms
    return None if right else found
