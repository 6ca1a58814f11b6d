"""A port's answers as evidence: how well a mistake explains one answer, and how far it explains all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
"""A score that no mistake's own rounding error explains: with products of 11 bits, which round most, that error is at
most 800 times the reference's."""

OWN_EVALUATIONS = 8
"""Float32 evaluations of a mistake from which its own rounding error is measured."""

CHEAP = 12_000.0
"""Cases up to this cost are compared first; they take two milliseconds."""

EXPENSIVE = 1e6
"""Cases over this cost take seconds, and are compared last."""

NARROW = 8
"""Features below which a case says little: the normalisation of two features is ±1 whatever comes in."""

Clock = Callable[[], bool]
"""Tells whether the time is up."""


class Evidence:
    """A port's answer to one case, and its score against any mistake."""

    def __init__(self, case: Case, found: Mapping[str, Any]) -> None:
        """``found`` maps names to arrays of float64 or integers; those that the case does not hold are ignored."""
        self.case = case.with_values()  # a copy, so that the parameters that it loads go when the evidence goes
        self.found = {name: np.asarray(value) for name, value in found.items() if name in case.expected}
        self.finite = all(np.isfinite(value).all() for value in self.found.values())
        self.permitted = [variations[name] for name in case.manifest.get("permits", ())]
        self.scores: dict[str, float] = {}

    @cached_property
    def fails(self) -> bool:
        """Whether the answer is wrong."""
        return self.score(RIGHT) > LIMIT

    @cached_property
    def cost(self) -> float:
        """Roughly how many numbers the case takes to compute: features of positions, and pairs of positions."""
        if "config" not in self.case.manifest:
            return 0.0
        config, (B, T) = self.case.config, self.case.inputs["padding_mask"].shape
        depth = 1 if self.case.suite == "layer" else config.num_layers
        return float(depth * B * T * (T + config.hidden_dim + config.intermediate_dim))

    def required(self) -> Evidence:
        """The same, with only the values that an answer must hold."""
        return Evidence(self.case, {name: self.found[name] for name in self.case.required if name in self.found})

    def difference(self, values: Mapping[str, Any]) -> Array:
        """The error of the required value, a tap of tokens, at the valid positions: flat."""
        (name,) = self.case.required
        valid = self.case.inputs["padding_mask"].astype(bool)
        difference: Array = (values[name] - self.case.expected[name])[valid].ravel()
        return difference

    def score(self, mistake: Mistake) -> float:
        """The worst score of the answer's values against those of a port with this mistake.

        Infinite if such a port gives no answer. If the specification permits a variation, the better of the two counts.
        """
        if mistake.id not in self.scores:
            score = self._score(mistake)
            for variation in self.permitted if score > LIMIT else ():
                with suppress(ValueError):  # some mistakes contradict a variation
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
        """Whether the mistake is too far away for its own rounding error to matter, or changes nothing in this case."""
        return score > NOISY or self._multiples(self.case.expected, exact) < 1

    def _beyond_its_own_noise(self, mistake: Mistake, params: Params | None, exact: Mapping[str, Any]) -> float:
        """The score relative to the mistake's own rounding error, where that is larger than the reference's.

        A mistake can make a model more sensitive, round coarsely, or overflow in float32. Then its float32 evaluations
        differ from its float64 evaluation by more than the noise floor. Where such an evaluation is not finite, the
        port's value must not be finite either, and the other way round.
        """
        floors = {name: self._floors[name] for name in self.found}
        for n in range(OWN_EVALUATIONS):
            member = predicted(mistake.model(), self.case, moved(params, n), "float32", self.found)
            if n == 0:
                nowhere = {name: ~(np.isfinite(member[name]) | np.isfinite(self.found[name])) for name in member}
                exact = _without(nowhere, exact)
                found = self._errors(_without(nowhere, self.found), exact)
            own = self._errors(_without(nowhere, member), exact)
            if any(math.isinf(size.max) for size in (*found.values(), *own.values())):  # only one of the two is finite
                return math.inf
            floors = {name: Size(max(f.rms, own[name].rms), max(f.max, own[name].max)) for name, f in floors.items()}
        return max(noise.scores(found, floors).values())

    @cached_property
    def _floors(self) -> Mapping[str, Size]:
        return self.case.floors

    def _multiples(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> float:
        return max(noise.scores(self._errors(found, exact), self._floors).values())

    def _errors(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> dict[str, Size]:
        with np.errstate(all="ignore"):
            return self.case.with_values(expected=exact).errors(found)


def _without(places: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with 0 at these places."""
    return {name: np.where(where, 0, values[name]) for name, where in places.items()}


def moved(params: Params | None, member: int) -> Params | None:
    """The parameters, each changed at random by up to half an ulp of float32; member 0 keeps them as they are."""
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


@dataclass(frozen=True, eq=False)
class Explanation:
    """The result of comparing a mistake with the answers, in order."""

    mistake: Mistake
    score: float  # the worst of the answers compared
    left: Evidence | None  # the first answer that it does not explain
    fits: bool  # whether it explains every answer, one at least a wrong one; expensive cases may have been left out
    partly: bool  # whether it explains at least half of every error compared, and contradicts no right answer


def in_order(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The answers in the order that rules out most mistakes soonest.

    Cheap cases come first, wrong answers before right ones, and models of a few features after others.
    """

    def key(e: Evidence) -> tuple[bool, bool, bool, bool, float]:
        narrow = "config" in e.case.manifest and e.case.config.hidden_dim < NARROW
        return e.cost > EXPENSIVE, e.cost > CHEAP, not e.fails, narrow, e.cost

    return sorted(evidence, key=key)


def explained(mistake: Mistake, order: Sequence[Evidence], out_of_time: Clock, at_least: int = 1) -> Explanation:
    """How far a mistake explains the answers.

    Stops at the first answer that it does not explain, after at least ``at_least``, or when the time is up.
    """
    worst, left, some, against, cut_short = 0.0, None, False, False, False
    for n, e in enumerate(order):
        if (left and n >= at_least) or out_of_time():
            cut_short = e.cost <= EXPENSIVE  # later ones are all expensive
            break
        score = e.score(mistake)
        worst = max(worst, score)
        if score > LIMIT:
            left = left or e
            against = against or not (e.fails and score < e.score(RIGHT) / 2)
        elif e.fails:
            some = True
    return Explanation(
        mistake, worst, left, fits=some and not (left or cut_short), partly=left is not None and not against
    )
