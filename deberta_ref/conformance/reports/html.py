"""The report as one self-contained page: what failed, where first, and how the numbers look there."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from deberta_ref.conformance.cases.corpus import SUITES, Case
from deberta_ref.conformance.reports import as_json
from deberta_ref.conformance.reports.pictures import pictures
from deberta_ref.conformance.reports.words import closeness, conclusion, origin, printable
from deberta_ref.conformance.verdict import Report

SCRIPTS = (
    "dom.js", "colours.js", "charts.js", "grid.js", "slices.js", "heatmaps.js", "case.js", "table.js", "evidence.js",
    "page.js",
)  # fmt: skip
"""The parts of the script, in order: each uses those before it."""


def page(report: Report, cases: Mapping[str, Case]) -> str:
    """The page. ``cases`` are those that the report judges, by their ids: they have the reference's numbers."""
    drawn = pictures(report, cases)
    document = as_json.document(report)
    for entry in document["cases"]:
        case = cases.get(entry["id"])
        entry["about"] = _about(case) if case else None
        entry["taps"] = case.order if case else list(entry["scores"])
        entry["picture"] = drawn.get(entry["id"])
    for entry, match in zip(document["diagnosis"], report.diagnosis, strict=True):
        entry |= {"closeness": closeness(match, report.precision), "origin": origin(match)}
    document["suites"] = SUITES
    document["conclusion"] = conclusion(report)
    script = "\n".join(_part(name) for name in SCRIPTS)
    parts = {
        "title": html.escape(printable(f"{report.port} {conclusion(report)}")),
        "style": _part("page.css"),
        "data": _inert(document),
        "script": script.replace("float32 rounding", f"{report.precision} rounding"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part("page.html"))


def _about(case: Case) -> dict[str, Any]:
    """What a case is for, and its sizes."""
    sizes = {}
    if "config" in case.manifest:
        c = case.config
        sizes = {
            "layers": c.num_layers,
            "heads": c.num_heads,
            "hidden": c.hidden_dim,
            "feed-forward": c.intermediate_dim,
            "bucket_size": c.bucket_size,
            "max_sequence_length": c.max_sequence_length,
        }
    mask = case.inputs.get("padding_mask")
    return {
        "exercises": case.manifest.get("exercises", ""),
        "operation": case.manifest.get("operation"),
        "shape": None if mask is None else list(mask.shape),
        "padded": 0 if mask is None else int((mask == 0).sum()),
        "sizes": sizes,
    }


def _inert(document: Mapping[str, Any]) -> str:
    """JSON that cannot end its script element or begin a tag, whatever text is in it."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text("utf-8")
