"""An answer to a case, checked once: names, types, shapes, finite numbers. What passes can be compared."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.summary import SUMMARY, SUMS
from deberta_ref.conformance.ports.tensors import Tensor, as_tensor
from deberta_ref.taps import tap_axes

FLOATS = ("float16", "bfloat16", "float32", "float64")
HALVES = ("float16", "bfloat16")

WHERE = {"BTD": " at valid positions", "BTF": " at valid positions", "BHTd": " at valid positions"}
WHERE |= {"BT4": " at valid positions", "BHTT": " where both tokens are valid"}


@dataclass(frozen=True)
class Answer:
    """What a port gave for a case: the values that can be compared, and sentences on the others."""

    values: dict[str, Any]  # float64 or int64, by the names that the case holds; 0 where nothing is judged
    faults: tuple[str, ...]  # why the answer, or a part of it, is unusable
    notes: tuple[str, ...]  # what else the port's author should know


@dataclass(frozen=True)
class _Wanted:
    """What a value must be."""

    axes: str  # one letter an axis; empty if the axes have no letters
    shape: tuple[int, ...]
    integers: bool

    def __str__(self) -> str:
        return f"({', '.join(self.axes)}) = {self.shape}" if self.axes else f"{self.shape}"


def checked(
    case: Case, raw: Mapping[str, Any], *, required: Collection[str] | None = None, layer: int | None = None
) -> Answer:
    """What can be compared of ``raw``, arrays by name, and what is wrong with the rest: nothing is dropped silently.

    ``required`` are the names that must be there, by default those of the case. With ``layer``, ``raw`` is an answer to
    that layer alone. Values that are not finite are a fault where they are judged; elsewhere they become 0.
    """
    layer = case.manifest.get("layer") if layer is None else layer
    wanted = _wanted(case, layer)
    if required is None:
        required = case.required if layer is None else (f"layers.{layer}.output",)
    faults = [
        f"{name} is missing: an answer to {case.id} must hold it; it holds {_listed(raw)}."
        for name in required
        if name not in raw
    ]
    values: dict[str, Any] = {}
    types: Counter[str] = Counter()
    aside = 0
    for name in sorted(raw, key=lambda name: list(wanted).index(name) if name in wanted else len(wanted)):
        if name not in wanted:
            faults += _unknown(case, name, raw[name], wanted)
            continue
        try:
            tensor = as_tensor(raw[name])
        except TypeError as error:
            faults.append(f"{name} must be an array, {wanted[name]}; {error}")
            continue
        types[tensor.dtype] += 1
        fault = _misfit(case, name, tensor, wanted[name])
        if not fault:
            value, fault = _finite(case, name, tensor.values, wanted[name])
            if name in case.expected or name + SUMMARY in case.expected:
                values[name] = value
            else:
                aside += not fault
        faults += [fault] if fault else []
    notes = [
        f"{types[half]} of {len(raw)} tensors came in {half}, but are judged as float32: return float32 instead."
        for half in HALVES
        if types[half] and case.precision == "float32"
    ]
    if aside:
        notes.append(
            f"{aside} more taps have the right shape and are finite, but this case has no values to compare them with."
        )
    return Answer(_compared(case, values), tuple(faults), tuple(notes))


def _wanted(case: Case, layer: int | None) -> dict[str, _Wanted]:
    """Every name that an answer may hold, in the order of the computation."""
    if "config" not in case.manifest:
        axes = "BT" if case.suite == "tokenizer" else ""
        return {name: _Wanted(axes, x.shape, x.dtype.kind in "iu") for name, x in case.expected.items()}
    config, (B, T) = case.config, case.inputs["padding_mask"].shape
    sizes = {"B": B, "T": T, "D": config.hidden_dim, "H": config.num_heads, "d": config.head_dim, "4": SUMS}
    sizes |= {"R": config.num_relative, "F": config.intermediate_dim}
    known = {}
    for name, axes in tap_axes(config).items():
        known[name] = axes
        if name + SUMMARY in case.expected:
            known[name + SUMMARY] = "BT4"
    return {
        name: _Wanted(axes, tuple(sizes[axis] for axis in axes), name == "relative_row")
        for name, axes in known.items()
        if layer is None or name.startswith(f"layers.{layer}.")
    }


def _unknown(case: Case, name: Any, value: Any, wanted: Mapping[str, _Wanted]) -> list[str]:
    """What to say of an unknown name; nothing if it is an input that was handed back (VEC-FILES)."""
    if name in case.inputs and case.suite != "tokenizer":
        asked = case.inputs[name]
        try:
            same = asked.dtype.kind not in "biu" or np.array_equal(as_tensor(value).values, asked)
        except TypeError:
            same = False
        return (
            []
            if same
            else [f"{name} must be what was asked in {case.id}, if it is there; this answers something else."]
        )
    if name == "last_hidden_state" and "output" in wanted:
        return [f"{name} is unknown; it is called output here: rename it output."]
    nearest = difflib.get_close_matches(str(name), wanted, 1, 0.5)
    hint = f"{nearest[0]} is the nearest that is known" if nearest else f"known are {_listed(wanted)}"
    return [f"{name!s} is unknown; {hint}: rename it, or leave it out."]


def _misfit(case: Case, name: str, tensor: Tensor, wanted: _Wanted) -> str:
    """What is wrong with the type or the shape of a value; empty if nothing is."""
    kinds = "biu" if name == "padding_mask" else "iu"
    if wanted.integers and tensor.values.dtype.kind not in kinds:
        return f"{name} must be integers, {wanted}; got {tensor.dtype}."
    if not wanted.integers and tensor.dtype not in FLOATS:
        return f"{name} must be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}; got {tensor.dtype}: cast it to float32."
    found = tensor.values.shape
    if case.suite == "tokenizer" and len(found) == 2 and found[0] == wanted.shape[0]:
        return ""  # another T is another tokenization: wrong, but comparable
    if found == wanted.shape:
        return ""
    same_size = tensor.values.size == np.prod(wanted.shape)
    hint = ", which has as many numbers: reshape it, or exchange its axes" if same_size else ""
    return f"{name} must be {wanted}; got {found}{hint}."


def _finite(case: Case, name: str, values: NDArray[Any], wanted: _Wanted) -> tuple[NDArray[Any], str]:
    """The values as float64 or int64, 0 where nothing is judged; and a sentence if one that is judged is not finite."""
    if wanted.integers:
        return values.astype(np.int64), ""
    judged = np.zeros(wanted.shape, np.bool_)
    if "config" in case.manifest:
        axes = tap_axes(case.config)[name.removesuffix(SUMMARY)]
        judged[noise.valid(axes, case.inputs["padding_mask"].astype(bool))] = True
    else:
        judged[...] = case.inputs.get("mask", True)
    with np.errstate(all="ignore"):  # a signalling NaN
        found = np.where(judged, values.astype(np.float64), 0.0)
    bad = np.argwhere(~np.isfinite(found))
    if not len(bad):
        return found, ""
    place = tuple(int(i) for i in bad[0])
    at = f"[{', '.join(map(str, place))}]"
    return found, (
        f"{name} must be finite{WHERE.get(wanted.axes, '')}; {len(bad)} of {int(judged.sum())} numbers there are NaN "
        f"or infinite, the first, {found[place]}, at {at}."
    )


def _compared(case: Case, values: dict[str, Any]) -> dict[str, Any]:
    """The values that the case holds, in its order."""
    with np.errstate(all="ignore"):  # sums of infinities
        viewed = values | case.view(values) if "config" in case.manifest else values
    return {name: viewed[name] for name in case.order if name in viewed}


def _listed(names: Collection[Any]) -> str:
    """The first few names, and how many more there are."""
    first = [str(name) for name in names][:5]
    return (", ".join(first) or "nothing") + (f" and {len(names) - 5} more" if len(names) > 5 else "")
