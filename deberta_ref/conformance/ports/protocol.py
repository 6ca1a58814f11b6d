"""An implementation as the kit sees it, however it is handed over: it answers cases, or says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from deberta_ref import model
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.tracing import record, record_layer


class PortError(Exception):
    """A port gave no usable answer to a case: what is wrong, what came, what is allowed, and what to do."""


class NotOffered(Exception):  # noqa: N818 - no error: the case is skipped
    """A port does not offer what a case asks for: one sentence, the reason for skipping it."""


class Port(Protocol):
    """An implementation that is judged."""

    @property
    def name(self) -> str:
        """Its name, as the user gave it."""

    def answer(self, case: Case) -> Mapping[str, Any]:
        """The values that it gives for a case, by name, not yet checked.

        Raises PortError if there is no answer, NotOffered if there need not be one.
        """

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of layer ``n`` of the case's model, fed ``inputs``, by the names ``layers.n.…``.

        ``inputs`` are ``x`` (B, T, D), ``relative_embeddings`` (R, D) and ``padding_mask`` (B, T). Raises what
        ``answer`` does.
        """


def reference() -> Port:
    """The reference itself in float32, which answers everything."""
    return _Reference()


class _Reference:
    name = "deberta_ref, float32"

    def answer(self, case: Case) -> Mapping[str, Any]:
        if case.suite == "presets":  # all taps, not the summaries that the case holds
            return record(model, case.params, case.inputs, "float32", allow_long=case.allow_long)
        return case.evaluate(model, "float32")

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return record_layer(model, case.params, n, inputs, "float32", allow_long=case.allow_long)
