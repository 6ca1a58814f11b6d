"""Ports in bfloat16, float16 and TensorFloat-32, judged in their precision: right ones conform, mistakes are named."""

import dataclasses
import json
import subprocess
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deberta_ref import model
from deberta_ref.cli import main
from deberta_ref.conformance.cases import precisions
from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.cases.variants import Edit, combined
from deberta_ref.conformance.diagnosis.directions import findings
from deberta_ref.conformance.judging import judge
from deberta_ref.conformance.mistakes.known import known
from deberta_ref.conformance.mistakes.mistake import CANNOT
from deberta_ref.conformance.ports.protocol import NotOffered, PortError
from deberta_ref.conformance.reports import as_json, html
from deberta_ref.conformance.verdict import clauses
from deberta_ref.precision import PRECISIONS
from deberta_ref.testing import assert_conforms

clause = pytest.mark.clause

CASES = [case for case in corpus() if case.suite == "precision"]
KNOWN = {mistake.id: mistake for mistake in known({"output"})}
HALVES = ("float16", "bfloat16")

each_half = pytest.mark.parametrize("precision", ["float16", pytest.param("bfloat16", marks=pytest.mark.diagnosis)])


def port(module: Any, dtype: str, mistake: Any = None) -> Any:
    """The port that computes so; with a mistake, parameters loaded as that says."""

    def answer(case):
        params = mistake.params(case) if mistake else case.params
        try:
            return {"output": module.forward(params, case.inputs, dtype)}
        except CANNOT as error:
            raise PortError(str(error)) from None

    def layer(*_asked):
        raise NotOffered("no layers")

    return SimpleNamespace(name="port", answer=answer, layer=layer)


def report_on(asked: Any, precision: Any, **others: Any) -> Any:
    cases = [dataclasses.replace(case, precision=precision) for case in CASES]
    return judge.judge(asked, cases, needed=judge.needed_cases(CASES, precision), **others)


@cache
def handed(name: str, precision: Any) -> Any:
    """The report on a port that computes in a half precision, and makes this mistake."""
    return report_on(port(KNOWN[name].model(), precision, KNOWN[name]), precision)


RIGHT = [(precision, n) for precision in PRECISIONS for n, _ in enumerate(precisions.ways(precision))]
SAMPLE = {("float16", 0), ("float16", 7)}
"""What is judged in every run; measuring the directions of a precision takes ten seconds."""


@clause("PREC-WAYS", "PREC-FLOOR", "EVID-STATE")
@pytest.mark.parametrize(
    ("precision", "n"),
    [pytest.param(*right, marks=[] if right in SAMPLE else pytest.mark.diagnosis) for right in RIGHT],
)
def test_a_right_port_conforms_in_its_precision_and_is_accused_of_nothing(precision, n):
    way = list(precisions.ways(precision))[n]
    report = report_on(port(way.model(), way.dtype), precision)
    assert report.conforms, report.reasons
    assert report.precision == precision
    assert max(v.score for v in report.verdicts) < 2
    assert not any(finding.state == "has" for finding in report.evidence)
    assert sum(finding.state == "excluded" for finding in report.evidence) > 100


DIVIDED_KEYS = combined(
    Edit("model.disentangled_attention", "attention.c2c", "matmul(query, scaled(mT(key), 3 * query.shape[-1]))"),
    Edit(
        "model.disentangled_attention",
        "attention.scores",
        "c2c + scaled(c2p, (n := 3 * query.shape[-1])) + scaled(p2c, n)",
    ),
)
"""As transformers computes: the keys are divided before the product."""


@clause("EVID-STATE")
@each_half
def test_a_right_port_that_rounds_in_yet_another_way_is_accused_of_nothing(precision):
    report = report_on(port(DIVIDED_KEYS, precision), precision)
    assert report.conforms, report.reasons


NAMED = [
    "p2c-index-flipped",
    "relative-without-bias",
    "variance-over-d-minus-1",
    "loaded-key-without-bias",
    "padding-heard",
]
"""Mistakes that are named in both half precisions."""


@clause("EVID-STATE", "EVID-CONFORMS")
@each_half
@pytest.mark.parametrize("name", NAMED)
def test_a_mistake_is_named_in_half_precision_from_the_output_alone(name, precision):
    report = handed(name, precision)
    assert not report.conforms
    assert [match.mutant for match in report.diagnosis] == [name]
    assert report.diagnosis[0].score < 2


@clause("EVID-STATE", "EVID-CONFORMS")
def test_a_mistake_far_below_the_rounding_error_is_seen_and_can_be_accepted():
    report = handed("gelu-tanh", "float16")
    assert {v.status for v in report.verdicts} == {"pass"}
    (finding,) = [finding for finding in report.evidence if finding.state == "has"]
    assert finding.mistake == "gelu-tanh"
    assert finding.size < 0.3
    assert report.reasons == ("It has the mistake gelu-tanh.",)
    tanh = port(KNOWN["gelu-tanh"].model(), "float16")
    accepted = report_on(tanh, "float16", accept={"gelu-tanh", "p2c-absent"})
    assert accepted.conforms
    assert "p2c-absent is accepted, but not found: the port does not have it, or it cannot be told." in accepted.common
    assert accepted.accepted == ("gelu-tanh",)


THREE = ("variance-over-d-minus-1", "relative-without-bias", "gelu-sigmoid")


@clause("EVID-STATE", "EVID-CONFORMS")
def test_three_mistakes_at_once_are_all_found_and_all_must_be_accepted():
    both = KNOWN[THREE[0]] + KNOWN[THREE[1]] + KNOWN[THREE[2]]
    asked = port(both.model(), "float16")
    report = report_on(asked, "float16", accept=set(THREE[1:]))
    assert {match.mutant for match in report.diagnosis} == set(THREE)
    assert report.reasons[1:] == (f"It has the mistake {THREE[0]}.",)
    assert set(report.accepted) == set(THREE[1:])
    assert not report_on(asked, "float16", accept=set(THREE)).conforms  # it is over the limit besides


WRONG = {
    "zeros": lambda y: 0 * y,
    "a constant": lambda y: 0 * y + 1e4,
    "noise": lambda y: np.random.default_rng(0).normal(size=y.shape),
    "the negative": lambda y: -y,
    "as large as float32 can be": lambda y: y * 1e38,
    "huge": lambda y: y * 1e300,
    "infinite": lambda y: y * np.inf,
}


@clause("EVID-STATE")
@pytest.mark.parametrize("wrong", WRONG)
def test_of_an_error_that_no_mistake_explains_nothing_is_said(wrong):
    right = lambda case: WRONG[wrong](model.forward(case.params, case.inputs, "float64"))
    asked = SimpleNamespace(
        name="port", answer=lambda case: {"output": right(case)}, layer=port(model, "float16").layer
    )
    report = report_on(asked, "float16")
    assert not report.conforms
    assert report.diagnosis == ()
    assert {(finding.state, finding.sigma) for finding in report.evidence} == {("undecided", 0.0)}
    assert json.dumps(as_json.document(report), allow_nan=False)
    assert html.page(report, {case.id: case for case in in_precision("float16")})


@clause("EVID-CLAUSES")
def test_a_clause_is_held_if_all_of_its_mistakes_are_excluded():
    found = clauses(handed("p2c-index-flipped", "float16").evidence)
    assert found["ATT-P2C"] == "broken"
    assert found["ATT-SCALE"] == "held"
    assert found["NORM-EPSILON"] == "undecided"


@pytest.mark.diagnosis
def test_what_bfloat16_cannot_show_is_said_to_be_undecided():
    states = {finding.mistake: finding.state for finding in handed("p2c-index-flipped", "bfloat16").evidence}
    assert states["epsilon-1e-6"] == "undecided"
    assert states["p2c-index-flipped"] == "has"
    assert states["c2p-index-flipped"] == "excluded"


@pytest.mark.diagnosis
@pytest.mark.parametrize("precision", HALVES)
def test_of_the_mistakes_that_a_half_precision_can_show_nineteen_of_twenty_are_named_first(precision):
    right = findings([(case, {"output": case.expected["output"]}) for case in in_precision(precision)], precision)[0]
    shown = [finding.mistake for finding in right if finding.state == "excluded"]
    named = [name for name in shown if handed(name, precision).diagnosis[:1] and names(name, precision)]
    print(f"{precision}: {len(named)} of {len(shown)} named first; not: {', '.join(sorted(set(shown) - set(named)))}")
    assert len(named) >= 0.95 * len(shown)
    assert {name for name in shown if handed(name, precision).conforms} <= ROUNDINGS


@pytest.mark.diagnosis
@pytest.mark.parametrize("precision", HALVES)
def test_no_mistake_is_found_in_a_thousand_legal_evaluations(precision):
    """Each answers every case in a way of its own: one of those that implementations have, or one at random."""
    cases = in_precision(precision)
    fixed = [(way.model(), way.dtype) for way in precisions.ways(precision) if not way.at_random]
    bits = 10 if precision == "float16" else 7
    for n in range(8):  # others than those from which the spread is measured
        functions = precisions._random_half(bits, np.random.default_rng([1, n]))
        fixed.append((precisions.Way(precision, functions).model(), precision))
    found = [[model.forward(c.params, c.inputs, dtype).astype(np.float64) for model, dtype in fixed] for c in cases]
    random = np.random.default_rng(0)
    accused, left = [], []
    for _ in range(1000):
        chosen = [outputs[random.integers(len(fixed))] for outputs in found]
        listed, made = findings([(c, {"output": y}) for c, y in zip(cases, chosen, strict=True)], precision)
        accused += [match.mutant for match in made]
        left.append(sum(finding.state == "undecided" for finding in listed))
    print(f"{precision}: accused {accused}; of {len(listed)} mistakes {min(left)} to {max(left)} undecided")
    assert not accused
    assert max(left) <= 25


ROUNDINGS = {"softmax-in-half", "products-in-half"}
"""Mistakes in float32 that are roundings like any other in float16."""


def in_precision(precision: Any) -> list[Any]:
    return [dataclasses.replace(case, precision=precision) for case in CASES]


def names(name: str, precision: Any) -> bool:
    return bool(handed(name, precision).diagnosis[0].mutant == name)


def test_check_judges_in_a_precision_and_writes_the_evidence(capsys, tmp_path):
    source = tmp_path / "half.py"
    source.write_text(
        "from deberta_ref import forward, from_preset\n"
        "def load(d):\n"
        "    params = from_preset(d)\n"
        "    return lambda inputs: forward(params, inputs, 'float16')\n"
    )
    path = tmp_path / "report.json"
    assert main(["check", f"{source}:load", "--precision", "float16", "--json", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "times the float16 rounding error of a right implementation" in shown
    assert "known mistakes, in float16" in shown
    assert "conforms: in float16, 3 cases within the limit" in shown
    document = json.loads(path.read_text())
    assert document["precision"] == "float16"
    for case in document["cases"]:
        assert case["reproduce"] == f"deberta-ref check {source}:load --precision float16 --case {case['id']}"
    assert {entry["state"] for entry in document["evidence"]} == {"excluded", "undecided"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--accept", "gelu-tanh"], "--accept is for --precision"),
        (["--precision", "float16", "--accept", "gelu-tan"], "such as gelu-tanh"),
        (["--precision", "float16", "--case", "model/whole"], "--precision float16 takes cases of the suite precision"),
        (["--precision", "float16", "--suite", "model"], "leave out --suite and --full"),
        (["--list", "--precision", "float16"], "--list judges nothing"),
        (["--export", "questions", "--precision", "float16", "--accept", "gelu-tanh"], "leave out --accept"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, arguments, sentence):
    assert main(["check", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_parameters_are_exact_in_every_precision(case):
    for name, array in case.params.arrays().items():
        for dtype in HALVES:
            assert (array.astype(case.params.computed_in(dtype)[1]).astype(np.float32) == array).all(), name
    truth = model.forward(case.params, case.inputs, "float64")
    mask = case.inputs["padding_mask"] == 1
    assert abs(truth - case.expected["output"])[mask].max() < 1e-12


def test_assert_conforms_takes_a_precision():
    case = CASES[-1]
    half = model.forward(case.params, case.inputs, "bfloat16")
    assert_conforms(half, case.id, precision="bfloat16")
    with pytest.raises(AssertionError, match="times the float16 rounding error"):
        assert_conforms(half, case.id, precision="float16")
    with pytest.raises(ValueError, match="of the suite precision to be judged in bfloat16; got model/whole"):
        assert_conforms(half, "model/whole", precision="bfloat16")


def test_pytest_takes_a_precision(tmp_path):
    (tmp_path / "half.py").write_text(
        "from deberta_ref import forward, from_preset\n"
        "load = lambda d: lambda inputs: forward(from_preset(d), inputs, 'bfloat16')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--deberta-ref-port", "half.py:load"]
    for precision, said in (("bfloat16", "3 passed"), ("float16", "3 failed")):
        asked = [*command, "--deberta-ref-precision", precision]
        done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said in done.stdout, done.stdout


def test_in_float32_a_port_of_half_precision_is_told_where_it_is_judged():
    asked = [case for case in corpus() if case.id in {"model/whole", "model/sharp-attention", "model/holes"}]
    command = "deberta-ref check half.py:load"
    report = judge.judge(port(model, "bfloat16"), asked, needed={"model/whole"}, command=command)
    assert not report.conforms
    told = f"It may be right in bfloat16; this judges it there: {command} --precision bfloat16"
    assert told in report.common
