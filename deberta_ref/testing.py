"""For your own tests: compare what an implementation computes with a golden case."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.corpus import Case, corpus
from deberta_ref.conformance.judging.answers import checked
from deberta_ref.conformance.reports.words import unit
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.precision import Precision

__all__ = ["assert_conforms", "golden_case"]


@cache
def _cases() -> dict[str, Case]:
    return {case.id: case for case in corpus()}


def golden_case(name: str) -> Case:
    """The golden case of that id: its ``params``, ``inputs``, ``expected`` values and their rounding ``floors``.

    Raises ValueError if there is none.
    """
    if name not in _cases():
        raise ValueError(
            f"case must be one of the golden cases, such as model/whole; got {name!r}: see golden/README.md."
        )
    return _cases()[name]


def assert_conforms(actual: Any, case: Case | str, tap: str = "output", precision: Precision = "float32") -> None:
    """Fail unless ``actual`` is what the case expects of ``tap``, to within a few rounding errors of ``precision``.

    ``actual`` is an array of the tap's shape, in float16, bfloat16, float32 or float64; ``case`` a golden case or its
    id; for another precision than float32 one of the suite precision. Padded positions are ignored. Raises
    AssertionError with one sentence, ValueError if the case does not hold the tap, TypeError if ``case`` is neither a
    case nor an id.
    """
    __tracebackhide__ = True
    case = golden_case(case) if isinstance(case, str) else case
    if not isinstance(case, Case):
        raise TypeError(
            f"case must be a golden case, or its id, such as model/whole; got {type(case).__name__}: golden_case(id) "
            f"gives one."
        )
    if precision != "float32" and "precisions" not in case.manifest:
        raise ValueError(f"case must be of the suite precision to be judged in {precision}; got {case.id}.")
    if precision != case.precision:
        case = dataclasses.replace(case, precision=precision)
    if tap not in case.expected:
        raise ValueError(f"tap must be one that {case.id} holds, {', '.join(case.order)}; got {tap!r}.")
    answer = checked(case, {tap: actual}, required=(tap,))
    if answer.faults:
        raise AssertionError(f"{case.id}: {' '.join(answer.faults)}")
    score = case.scores(answer.values)[tap]
    if not score <= LIMIT and answer.values[tap].dtype.kind in "iu":
        found, right = answer.values[tap], case.expected[tap]
        differ = f"; {np.count_nonzero(found != right)} of {right.size} differ" if found.shape == right.shape else ""
        raise AssertionError(f"{case.id}: {tap} must be equal to what is expected, as integers are{differ}.")
    if not score <= LIMIT:
        size = case.errors(answer.values)[tap]
        raise AssertionError(
            f"{case.id}: {tap} errs by up to {size.max:.2g}, and by {size.rms:.2g} in the root mean square: "
            f"{score:.3g} {unit(precision)}; {LIMIT:g} times are allowed."
        )
