"""Mistakes on no list: made by the grammar, or solved for, and named from the output alone."""

import numpy as np
import pytest

from deberta_ref import model
from deberta_ref.conformance.cases.corpus import WHOLE, corpus, ordinary
from deberta_ref.conformance.cases.variants import Edit, combined, exchanged
from deberta_ref.conformance.diagnosis.diagnose import diagnose
from deberta_ref.conformance.diagnosis.generated import FAILED
from deberta_ref.conformance.mistakes.generated import plain
from deberta_ref.conformance.mistakes.generated.candidates import everywhere, gated, in_places
from deberta_ref.conformance.mistakes.generated.edits import gates
from deberta_ref.conformance.verdict import LIMIT

CASES = [case for case in corpus() if case.suite in WHOLE and ordinary(case)]
ATTENTION, AFTER = "model.disentangled_attention", "model.after_attention"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_plain_forward_pass_gives_what_the_reference_gives(case):
    with np.errstate(all="ignore"):  # the logarithm of 0 where half a bucket size is 1
        found = plain.forward(case.params, case.inputs, "float64")
    assert max(case.scores({"output": found}).values()) < 1e-3
    with_gates = gated().forward(case.params, case.inputs, "float64")
    valid = case.inputs["padding_mask"] == 1
    assert (with_gates[valid] == found[valid]).all()  # every gate is 1


def answers(module, dtype="float32"):
    return [
        (case, {"output": module.forward(case.params, case.inputs, dtype, allow_long=True).astype(np.float64)})
        for case in CASES
    ]


class OneNorm:
    """The model with another epsilon in its attention norms alone."""

    @staticmethod
    def forward(params, inputs, dtype, *, allow_long):
        norms = [layer.attention_norm for layer in params.layers]

        def layer_norm(x, p):
            if not any(p is norm for norm in norms):
                return model.layer_norm(x, p)
            centred = x - x.mean(axis=-1, keepdims=True)
            variance = np.square(centred).mean(axis=-1, keepdims=True)
            return centred / np.sqrt(variance + np.float32(1e-12)) * p.scale + p.bias

        return exchanged(layer_norm=layer_norm).forward(params, inputs, dtype, allow_long=allow_long)


WRONG = {
    "an epsilon of one norm": (OneNorm, "deviation = np.sqrt(variance + 1e-12)", "NORM-EPSILON"),
    "queries that are negative": (
        combined(Edit("model.encoder_layer", "attention.query", "-_")),
        "query = -content_split(x @ p.query.weight.T + p.query.bias, heads)",
        "ATT-PROJECTIONS",
    ),
    "a residual subtracted": (
        combined(Edit(AFTER, "output", "layer_norm(linear(inner, p.down) - x, p.feedforward_norm)")),
        "feedforward_block(p, attended, -attended)",
        "LAYER-FEEDFORWARD",
    ),
    "a residual multiplied by 1.1": (
        combined(Edit(AFTER, "output", "layer_norm(np.float32(1.1) * x + linear(inner, p.down), p.feedforward_norm)")),
        "by 1.1",
        "LAYER-FEEDFORWARD",
    ),
    "SiLU": (
        exchanged(gelu=lambda x: (x / (1 + np.exp(-x))).astype(x.dtype)),
        "inner = (lambda x: x / (1 + np.exp(-x)))(inner)",
        "GELU-ERF",
    ),
    "a term multiplied by 0.37": (
        combined(Edit(ATTENTION, "attention.c2p", "_ * np.float32(0.37)")),
        "by 0.37",
        "ATT-SCALE",
    ),
    "scores divided once too often": (
        combined(Edit(ATTENTION, "attention.scores", "_ / np.float32((3 * query.shape[-1]) ** 0.5)")),
        "scale = float(query.shape[-1] * terms)",
        "ATT-SCALE",
    ),
}


SAMPLE = {"an epsilon of one norm", "a term multiplied by 0.37"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in SAMPLE else pytest.mark.diagnosis) for n in WRONG])
def test_a_mistake_on_no_list_is_named_by_what_it_computes(name):
    module, said, clause = WRONG[name]
    first = diagnose(answers(module), seconds=60)[0]
    assert first.score <= LIMIT
    assert said in first.sentence
    assert first.clause == clause
    assert first.mutant.startswith(("generated:", "solved:"))


def test_of_a_right_port_nothing_is_named():
    assert diagnose(answers(model)) == []


@pytest.mark.parametrize("factor", [1e160, *(pytest.param(f, marks=pytest.mark.diagnosis) for f in (1e30, -1e300))])
def test_answers_of_any_size_get_no_name(factor):
    huge = [(case, {"output": found["output"] * factor}) for case, found in answers(model)]
    with np.errstate(all="ignore"):  # as whoever judges does
        found = diagnose(huge)
    assert not [match for match in found if match.score <= LIMIT]


def test_every_gate_changes_something():
    case = next(case for case in CASES if case.id == "model/tiny-sums")
    module = gated()
    right = module.forward(case.params, case.inputs, "float64")
    still = []
    for n, gate in enumerate(gates()):
        module.GATES[n] = 2.0
        if (module.forward(case.params, case.inputs, "float64") == right).all():
            still.append(gate.new)
        module.GATES[n] = 1.0
    assert not still


@pytest.mark.diagnosis
def test_the_corpus_rejects_what_the_grammar_makes():
    """Every mistake that changes a number by more than rounding, but for constants that are never large enough."""
    probes = {"model/tiny-sums", "model/high-padding", "model/holes", "model/odd-buckets"}
    order = sorted(CASES, key=lambda case: (case.id not in probes, case.inputs["padding_mask"].size))
    survivors = []
    candidates = (*everywhere(), *in_places())
    for candidate in candidates:
        worst = 0.0
        for case in order:
            worst = max(worst, score(candidate, case))
            if worst > LIMIT:
                break
        if 1e-4 < worst <= LIMIT:
            survivors.append(candidate.id)
    print(f"{len(candidates)} mistakes, of which these survive: {survivors}")
    assert len(candidates) > 8000
    assert all("pairs != 0" in name and "@layer1" in name for name in survivors)  # in all layers but the first alone


def score(candidate, case):
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(candidate.model().forward(case.params, case.inputs, "float64"), np.float64)
        if found.shape != case.expected["output"].shape:
            return np.inf
        return max(case.scores({"output": found}).values())
    except FAILED:
        return np.inf
