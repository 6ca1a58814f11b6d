"""The report as JSON: report.schema.json, beside this file, describes every field."""

from __future__ import annotations

import dataclasses
import math
import platform
from typing import Any

import numpy as np

import deberta_ref
from deberta_ref.conformance.verdict import Report, Verdict, clauses

FORMAT = 1
"""Raised when a field changes its meaning or is removed, not when one is added."""


def document(report: Report) -> dict[str, Any]:
    """The report as JSON values. JSON has no infinity: an infinite score is null, with ``infinite`` true beside it."""
    statuses = [verdict.status for verdict in report.verdicts]
    return {
        "format": FORMAT,
        "port": report.port,
        "conforms": report.conforms,
        "precision": report.precision,
        "accepted": list(report.accepted),
        "evidence": [
            {
                "mistake": finding.mistake,
                "clause": finding.clause,
                "sentence": finding.sentence,
                "state": finding.state,
                "sigma": finding.sigma,
                "size": finding.size,
            }
            for finding in report.evidence
        ],
        "clauses": clauses(report.evidence),
        "weights": [dataclasses.asdict(rounding) for rounding in report.roundings],
        "undecided": report.undecided,
        "reasons": list(report.reasons),
        "limit": report.limit,
        "counts": {status: statuses.count(status) for status in ("pass", "fail", "error", "skip", "xfail")},
        "seconds": report.seconds,
        "cases": [_case(verdict) for verdict in report.verdicts],
        "common": list(report.common),
        "diagnosis": [
            {
                "mutant": match.mutant,
                "clause": match.clause,
                **_score(match.score),
                "by_size": match.by_size,
                "left": match.left,
                "sentence": match.sentence,
                "chapter": match.chapter,
                "seen": list(match.seen),
            }
            for match in report.diagnosis
        ],
        "versions": {
            "deberta_ref": deberta_ref.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _case(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": verdict.id,
        "suite": verdict.suite,
        "status": verdict.status,
        **_score(verdict.score),
        "first_tap": verdict.first_tap,
        "last_tap_within": verdict.last_tap_within,
        "first_operation": verdict.first_operation,
        "shown_wrongly": list(verdict.mislabelled_taps),
        "scores": {name: _finite(score) for name, score in verdict.scores.items()},
        "local": None if verdict.local is None else {"layer": verdict.local[0], **_score(verdict.local[1])},
        "notes": list(verdict.remarks),
        "reproduce": verdict.reproduce,
        "seconds": verdict.seconds,
    }


def _score(score: float | None) -> dict[str, Any]:
    """A score, and whether it is null because it is infinite rather than because nothing was compared."""
    return {"score": _finite(score), "infinite": score is not None and not math.isfinite(score)}


def _finite(score: float | None) -> float | None:
    return None if score is None or not math.isfinite(score) else float(score)
