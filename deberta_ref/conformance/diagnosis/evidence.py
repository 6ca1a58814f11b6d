"""An answer of a port as evidence: how well a mistake explains it, in noise multiples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.cases.noise import Size
from deberta_ref.conformance.mistakes.mistake import CANNOT, Mistake, predicted
from deberta_ref.conformance.mistakes.mutants import variations
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.params import Params
from deberta_ref.precision import Array

RIGHT = Mistake()
"""No mistake: the reference itself."""

NOISY = 3000.0
"""Noise multiples from which on no mistake's own noise explains the rest: of the noisiest, products of 11 bits, it is
up to 800 times the reference's."""

MEMBERS = 8
"""Float32 evaluations of a mistake that its own noise is taken from."""


class Evidence:
    """What a port answered to one case, with what can be said of it."""

    def __init__(self, case: Case, found: Mapping[str, Any]) -> None:
        """``found`` maps names to float64 arrays, or integers; those that the case does not hold count nothing."""
        self.case = Case(case.directory, case.manifest)  # its own, so that gigabytes live no longer than it
        held = ("params", "inputs", "expected")
        vars(self.case).update({name: value for name, value in vars(case).items() if name in held})
        self.found = {name: np.asarray(value) for name, value in found.items() if name in case.expected}
        self.finite = all(np.isfinite(value).all() for value in self.found.values())
        self.permitted = [variations[name] for name in case.manifest.get("permits", ())]
        self.scores: dict[str, float] = {}

    @cached_property
    def fails(self) -> bool:
        """Whether a mistake must have been made."""
        return self.score(RIGHT) > LIMIT

    @cached_property
    def cost(self) -> float:
        """About how much there is to compute, in numbers: features of positions, and pairs."""
        if "config" not in self.case.manifest:
            return 0.0
        config, (B, T) = self.case.config, self.case.inputs["padding_mask"].shape
        depth = 1 if self.case.suite == "layer" else config.num_layers
        return float(depth * B * T * (T + config.hidden_dim + config.intermediate_dim))

    def required(self) -> Evidence:
        """The same with nothing but what an answer must hold."""
        return Evidence(self.case, {name: self.found[name] for name in self.case.required if name in self.found})

    def difference(self, values: Mapping[str, Any]) -> Array:
        """What an answer's required value, a tap of tokens, differs by from the right one where it is judged: flat."""
        (name,) = self.case.required
        valid = self.case.inputs["padding_mask"].astype(bool)
        difference: Array = (values[name] - self.case.expected[name])[valid].ravel()
        return difference

    def score(self, mistake: Mistake) -> float:
        """The worst score of a value against what a port with this mistake gives; infinite where it gives nothing.

        Where the specification permits a variation, against the nearer of the two.
        """
        if mistake.id not in self.scores:
            score = self._score(mistake)
            for variation in self.permitted if score > LIMIT else ():
                score = min(score, self._score(mistake + variation))
            self.scores[mistake.id] = score
        return self.scores[mistake.id]

    def _score(self, mistake: Mistake) -> float:
        if mistake is RIGHT:
            return self._multiples(self.found, self.case.expected)
        params = None if self.case.suite == "ops" else mistake.params(self.case)
        try:
            exact = predicted(mistake.model(), self.case, params, "float64", self.found)
            score = self._multiples(self.found, exact)
            if score <= LIMIT or (self.finite and self.case.suite != "ops" and self._hopeless(score, exact)):
                return score
            return min(score, self._beyond_its_own_noise(mistake, params, exact))
        except CANNOT:
            return math.inf

    def _hopeless(self, score: float, exact: Mapping[str, Any]) -> bool:
        """Whether a mistake is too far away for its own noise to matter, or nothing of it is seen in this case."""
        return score > NOISY or self._multiples(self.case.expected, exact) < 1

    def _beyond_its_own_noise(self, mistake: Mistake, params: Params | None, exact: Mapping[str, Any]) -> float:
        """The score in multiples of the mistake's own noise, where that is more than the reference's.

        A mistake can make a model more sensitive, round coarsely, or overflow in float32: then its own evaluations in
        float32 differ from its float64 one by more than the floor says. Where such an evaluation is not a number, the
        port's value must be none either, and the other way round.
        """
        floors = {name: self._floors[name] for name in self.found}
        for n in range(MEMBERS):
            member = predicted(mistake.model(), self.case, moved(params, n), "float32", self.found)
            if n == 0:
                nowhere = {name: ~(np.isfinite(member[name]) | np.isfinite(self.found[name])) for name in member}
                exact = _without(nowhere, exact)
                found = self._errors(_without(nowhere, self.found), exact)
            own = self._errors(_without(nowhere, member), exact)
            if any(math.isinf(size.max) for size in (*found.values(), *own.values())):  # a number where there is none
                return math.inf
            floors = {name: Size(max(f.rms, own[name].rms), max(f.max, own[name].max)) for name, f in floors.items()}
        return max(noise.scores(found, floors).values())

    @cached_property
    def _floors(self) -> Mapping[str, Size]:
        return self.case.floors

    def _multiples(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> float:
        return max(noise.scores(self._errors(found, exact), self._floors).values())

    def _errors(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> dict[str, Size]:
        other = Case(self.case.directory, self.case.manifest)
        vars(other).update(vars(self.case))
        vars(other)["expected"] = exact
        with np.errstate(all="ignore"):
            return other.errors(found)


def _without(places: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with zeros at these places."""
    return {name: np.where(where, 0, values[name]) for name, where in places.items()}


def moved(params: Params | None, member: int) -> Params | None:
    """The parameters moved at random by up to half an ulp of float32; member 0 has them as they are."""
    if params is None or not member:
        return params
    random = np.random.default_rng(member)
    return Params.from_arrays(
        params.config,
        {
            name: (array * (1 + random.uniform(-(2.0**-24), 2.0**-24, array.shape))).astype(np.float32)
            for name, array in params.arrays().items()
        },
    )
