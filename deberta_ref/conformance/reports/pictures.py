"""What the page draws of a failing case: its first wrong tap beside the reference's, small enough to be embedded.

The reference and the error are kept, not the port's own numbers: in float32 their difference would be lost.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.noise import Size
from deberta_ref.conformance.cases.summary import SUMMARY
from deberta_ref.conformance.verdict import LIMIT, Report, Verdict
from deberta_ref.precision import Array
from deberta_ref.taps import tap_axes

NUMBERS = 180_000
"""Pairs of numbers, a reference and an error, in all pictures of a page: 1.9 MB as base64."""

STRIP = 64
"""Numbers in a row of a picture of one axis."""

SHORTEST, DECADE = -3, 4
"""The histogram begins at a thousandth of the floor, and has four bins a decade."""

LONGEST = 12
"""The histogram ends at 10¹² floors; what lies beyond is counted in the last bin."""

AXES = {"B": "example", "H": "head", "T": "token", "R": "row", "D": "feature", "F": "feature", "d": "feature"}
"""What a letter of chapter 0 is called beside a picture."""


def pictures(report: Report, cases: Mapping[str, Case]) -> dict[str, dict[str, Any]]:
    """A picture, as JSON values, for each case that did not pass and whose first wrong tap is known; by its id."""
    pairs = {v.id: pair for v in report.verdicts if (pair := _pair(v, cases.get(v.id))) is not None}
    allowed = shares({name: error.size + _padding(error) for name, (_, error) in pairs.items()}, NUMBERS)
    taps = {v.id: v.first_tap for v in report.verdicts}
    return {
        name: {"tap": taps[name], **picture(*pair, axes(cases[name], str(taps[name])), floor, allowed[name])}
        for name, pair in pairs.items()
        for floor in [cases[name].floors[str(taps[name])]]
    }


def picture(reference: Array, error: Array, names: tuple[str, ...], floor: Size, allowed: int) -> dict[str, Any]:
    """One tap: slices of rows and columns, at most ``allowed`` numbers of them, and how large the errors are.

    ``reference`` is NaN where nothing is judged, ``names`` are those of the axes. A cell of the picture is one number,
    or, where there is no room for all, the worst of a block of them.
    """
    shape = error.shape
    judged = error[np.isfinite(reference)]
    multiples = _multiples(judged, floor.max)
    if error.ndim < 2:
        reference, error = (
            np.append(x.ravel(), np.full(_padding(error), fill)).reshape(-1, STRIP)
            for x, fill in ((reference, np.nan), (error, 0.0))
        )
    rows, columns = error.shape[-2:]
    reference, error = (x.reshape(-1, rows, columns) for x in (reference, error))
    size = np.where(np.isnan(reference), -1.0, _multiples(error, floor.max))  # padded positions never are the worst
    worst = size.max(axis=(1, 2)).clip(0)
    kept = np.sort(np.argsort(-worst, kind="stable")[: max(1, allowed // min(rows * columns, max(allowed, 1)))])
    block = _block(rows, columns, max(1, allowed // len(kept)))
    reference, error = _reduced(reference[kept], error[kept], size[kept], block)
    return {
        "axes": list(names),
        "shape": list(shape),
        "block": list(block),
        "strip": len(shape) < 2,
        "size": list(error.shape[1:]),
        "slices": kept.tolist(),
        "worst": [_finite(score) for score in worst],
        "reference": _base64(reference),
        "error": _base64(error),
        "floor": floor.max,
        "judged": judged.size,
        "differ": int((judged != 0).sum()),
        "over": int((multiples > LIMIT).sum()),
        "notNumbers": int((~np.isfinite(judged)).sum()),
        "rmsScore": _finite(_score(judged, floor.rms, np.mean)),
        "maxScore": _finite(_score(judged, floor.max, np.max)),
        "histogram": histogram(multiples) if floor.max else None,
    }


def histogram(multiples: Array) -> dict[str, Any]:
    """Errors counted by their size in floors: four bins a decade, the first for all below, the last for all above."""
    finite = multiples[np.isfinite(multiples)]
    logs = np.log10(np.maximum(finite, 10.0**SHORTEST))
    last = math.ceil(min(max(logs.max(initial=1.0), 1.0), LONGEST))
    bins = np.clip(((logs - SHORTEST) * DECADE).astype(int), 0, (last - SHORTEST) * DECADE - 1)
    counts = np.bincount(bins, minlength=(last - SHORTEST) * DECADE)
    return {"first": SHORTEST, "perDecade": DECADE, "counts": counts.tolist()}


def axes(case: Case, tap: str) -> tuple[str, ...]:
    """What the axes of a tap are called: of a pair of tokens the first is the query, the second the key."""
    if "config" in case.manifest:
        letters = tap_axes(case.config)[tap.removesuffix(SUMMARY)]
        names = [AXES[letter] for letter in letters]
        if letters.endswith("TT"):
            names[-2:] = ["query", "key"]
        return (*names[:-1], "sum") if tap.endswith(SUMMARY) else tuple(names)
    rank = int(case.expected[tap].ndim)
    return ("slice",) * (rank - 2) + ("row", "column")[-rank:]


def shares(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How ``total`` is shared out: each gets what it asks for, or an equal part of what the smaller ones leave."""
    allowed = {}
    for done, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        allowed[name] = min(sizes[name], total // (len(sizes) - done))
        total -= allowed[name]
    return allowed


def _pair(verdict: Verdict, case: Case | None) -> tuple[Array, Array] | None:
    """The reference, NaN where it is not judged, and the port's error; None if there is nothing to compare."""
    tap = verdict.first_tap
    if case is None or tap is None or verdict.status == "pass":
        return None
    found = verdict.found if tap in verdict.found else case.view(verdict.found) if verdict.found else {}
    if tap not in found or tap not in case.expected:
        return None
    port, expected = np.asarray(found[tap], np.float64), np.asarray(case.expected[tap], np.float64)
    if port.shape != expected.shape or not port.size:
        return None
    judged = np.zeros(port.shape, bool)
    judged[_valid(case, tap)] = True
    with np.errstate(all="ignore"):
        return np.where(judged, expected, np.nan), np.where(judged, port - expected, 0.0)


def _padding(error: Array) -> int:
    """How many numbers a picture of one axis lacks to fill its last row."""
    return -error.size % STRIP if error.ndim < 2 else 0


def _valid(case: Case, tap: str) -> Any:
    """An index of the tap's judged numbers, the same as in ``Case.errors``."""
    if "config" in case.manifest:
        mask = np.asarray(case.inputs["padding_mask"]).astype(bool)
        return noise.valid(tap_axes(case.config)[tap.removesuffix(SUMMARY)], mask)
    return case.inputs["mask"].astype(bool) if "mask" in case.inputs else ...


def _multiples(error: Array, floor: float) -> Array:
    """The sizes of errors in floors; infinite if not a number or too large, or if there is one where the floor is 0."""
    size = np.where(np.isfinite(error), abs(error), np.inf)
    with np.errstate(over="ignore"):
        return size / floor if floor else np.where(size > 0, np.inf, 0.0)


def _score(error: Array, floor: float, measure: Any) -> float:
    """The root of the mean, or of the maximum, of the squares, in floors: one of the two that a score is made of."""
    with np.errstate(over="ignore"):
        return float(_multiples(np.sqrt(np.atleast_1d(measure(np.square(error)))), floor)[0]) if error.size else 0.0


def _block(rows: int, columns: int, allowed: int) -> tuple[int, int]:
    """The smallest block, in powers of two, such that at most ``allowed`` blocks cover the rows and columns."""
    r = c = 1
    while -(-rows // r) * -(-columns // c) > allowed:
        if rows / r >= columns / c:
            r *= 2
        else:
            c *= 2
    return r, c


def _reduced(reference: Array, error: Array, size: Array, block: tuple[int, int]) -> Iterator[Array]:
    """From every block the numbers with the largest error: (S, rows, columns) -> (S, ⌈rows / r⌉, ⌈columns / c⌉)."""
    padding = [(0, 0), *((0, -n % b) for n, b in zip(size.shape[1:], block, strict=True))]

    def blocks(x: Array, fill: float) -> Array:
        S, rows, columns = (padded := np.pad(x, padding, constant_values=fill)).shape
        split = padded.reshape(S, rows // block[0], block[0], columns // block[1], block[1]).swapaxes(2, 3)
        return split.reshape(*split.shape[:3], -1)

    worst = blocks(size, -1.0).argmax(axis=-1)[..., None]
    return (np.take_along_axis(blocks(x, f), worst, -1)[..., 0] for x, f in ((reference, np.nan), (error, 0.0)))


def _base64(numbers: Array) -> str:
    with np.errstate(over="ignore"):
        return base64.b64encode(np.ascontiguousarray(numbers, "<f4").tobytes()).decode()


def _finite(number: float) -> float | None:
    """JSON has no infinities: they are null."""
    return float(number) if math.isfinite(number) else None
