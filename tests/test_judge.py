"""Chapter 13: what is said of a case, and of a port as a whole."""

import numpy as np
import pytest

from deberta_ref import model
from deberta_ref.cli import main
from deberta_ref.cli.check import THOROUGH
from deberta_ref.conformance.cases import corpus
from deberta_ref.conformance.judging import judge
from deberta_ref.conformance.mistakes.mutants import mutants, variations
from deberta_ref.conformance.ports.protocol import NotOffered, PortError, reference
from deberta_ref.conformance.verdict import Verdict

clause = pytest.mark.clause

CASES = {case.id: case for case in corpus.corpus() if not case.large}
MODELS = [case for case in CASES.values() if case.suite == "model"]


class Port:
    """A variant of the reference as a port; ``taps`` are what it gives of what the case requires and holds."""

    def __init__(self, module=model, *, taps=False, layers=False, refuses=(), breaks=()):
        self.name = "variant"
        self.module, self.taps, self.layers, self.refuses, self.breaks = module, taps, layers, refuses, breaks

    def answer(self, case):
        if case.suite in self.refuses:
            raise NotOffered(f"no {case.suite} here")
        if case.id in self.breaks:
            raise PortError("it broke")
        found = case.evaluate(self.module, "float32")
        return found if self.taps else {name: found[name] for name in case.required}

    def layer(self, case, n, inputs):
        if not self.layers:
            raise NotOffered("no layers here")
        return corpus.record_layer(self.module, case.params, n, inputs, "float32", allow_long=case.allow_long)


def report(port, cases=MODELS, **others):
    return judge.judge(port, cases, needed=judge.needed_cases(MODELS), **others)


def test_the_reference_conforms_on_everything_it_is_asked():
    found = judge.judge(reference(), list(CASES.values()), needed=judge.needed_cases(MODELS))
    assert found.conforms
    assert {verdict.status for verdict in found.verdicts} == {"pass"}
    assert max(verdict.score for verdict in found.verdicts) < 2
    assert found.diagnosis == ()


@clause("JUDGE-LIMIT", "JUDGE-CASE", "JUDGE-FIRST")
@pytest.mark.parametrize(
    ("mutant", "first", "last"),
    [
        ("p2c-index-flipped", "layers.0.attention.p2c", "layers.0.attention.c2p"),
        ("gelu-tanh", "layers.0.feedforward.inner", "layers.0.attention.output"),
        ("embeddings-not-normalised", "embeddings", None),
        ("output-normalised", "output", "layers.1.output"),
        ("distance-key-minus-query", "relative_row", "relative_embeddings"),
        ("bias-scale-without-root", "layers.0.attention.scores", "layers.0.attention.p2c"),
    ],
)
def test_the_first_wrong_operation_is_named(mutant, first, last):
    verdict = judge.verdict_on(Port(mutants[mutant].model(), taps=True), CASES["model/whole"])
    assert (verdict.status, verdict.first_tap, verdict.last_tap_within) == ("fail", first, last)
    assert list(verdict.scores) == CASES["model/whole"].order


def test_a_layer_that_is_right_by_itself_is_told_from_one_that_is_not():
    module = mutants["first-layer-repeated"].model()  # which is right in layer 0, and wrong in layer 1

    class Repeated(Port):
        def layer(self, case, n, inputs):
            found = corpus.record_layer(model, case.params, 0, inputs, "float32")
            return {name.replace("layers.0.", f"layers.{n}."): tap for name, tap in found.items()}

    found = report(Repeated(module, layers=True), [CASES["model/whole"]])
    n, score = found.verdicts[0].local
    assert n == 1
    assert score > 1000
    embeddings = Port(mutants["embeddings-not-normalised"].model(), layers=True)
    n, score = report(embeddings, [CASES["model/whole"]]).verdicts[0].local
    assert n == CASES["model/whole"].config.num_layers - 1
    assert score < 2


@clause("JUDGE-CASE")
def test_a_permitted_variation_passes_and_is_named():
    verdict = judge.verdict_on(Port(variations["distance-clamped"].model()), CASES["long/small"])
    assert verdict.status == "pass"
    assert verdict.score < 2
    assert "permits, distance-clamped." in verdict.notes[0]
    wrong = judge.verdict_on(Port(mutants["row-wraps"].model()), CASES["long/small"])
    assert wrong.status == "fail"


@clause("JUDGE-CASE")
def test_a_value_that_is_not_a_number_fails_and_a_missing_one_errs():
    class Broken(Port):
        def answer(self, case):
            output = case.evaluate(model, "float32")["output"]
            output[0, 0, 0] = np.nan
            return {"output": output} if case.id == "model/whole" else {}

    verdict = judge.verdict_on(Broken(), CASES["model/whole"])
    assert (verdict.status, verdict.score) == ("fail", np.inf)
    assert judge.verdict_on(Broken(), CASES["model/holes"]).status == "error"


@clause("JUDGE-CONFORMS")
def test_a_port_does_not_conform_if_cases_were_not_judged():
    assert not report(Port(), MODELS[:-1]).conforms
    assert report(Port(), MODELS).conforms
    assert not judge.judge(Port(), [], needed=judge.needed_cases(MODELS)).conforms
    refusing = report(Port(refuses={"model"}))
    assert {verdict.status for verdict in refusing.verdicts} == {"skip"}
    assert not refusing.conforms


@clause("JUDGE-CONFORMS")
def test_a_subset_that_passes_is_undecided_and_one_that_fails_does_not_conform():
    part = [CASES["model/whole"], CASES["model/one-token"]]
    assert report(Port(), part).undecided
    assert not report(Port()).undecided  # it conforms
    assert not report(Port(refuses={"model"})).undecided  # nothing was judged
    wrong = Port(mutants["p2c-index-flipped"].model())
    assert not report(wrong, part).undecided
    assert not report(Port(breaks={"model/whole"}), part).undecided
    assert not report(Port(), part, xfail={"model/whole"}).undecided


@clause("JUDGE-CONFORMS")
def test_an_expected_failure_is_forgiven_and_an_unmet_one_is_not():
    breaking = Port(breaks={"model/longest"})
    assert not report(breaking).conforms
    assert report(breaking, xfail={"model/longest"}).conforms
    unmet = report(breaking, xfail={"model/longest", "model/whole"})
    assert unmet.reasons == ("model/whole is expected to fail, and did not.",)
    unasked = report(breaking, xfail={"model/longest", "long/small"})
    assert unasked.reasons == ("long/small is expected to fail, and was not judged.",)


@clause("JUDGE-CONFORMS")
def test_a_port_does_not_conform_if_every_model_is_expected_to_fail():
    breaking = Port(breaks={case.id for case in MODELS})
    found = report(breaking, xfail={case.id for case in MODELS})
    assert not found.conforms
    assert not found.undecided
    assert found.reasons == (f"None of the {len(MODELS)} cases that a verdict needs passes: at least one must.",)
    one = report(breaking, [*MODELS, CASES["ops/gelu"]], xfail={case.id for case in MODELS})
    assert one.reasons == found.reasons  # what passes elsewhere is no model
    assert report(Port(breaks=breaking.breaks - {"model/whole"}), xfail=breaking.breaks - {"model/whole"}).conforms


def test_more_tokens_than_the_longest_may_be_refused():
    found = report(Port(breaks={"long/small", "long/published"}), [*MODELS, CASES["long/small"]])
    assert found.conforms
    assert found.verdicts[-1].status == "skip"


@clause("JUDGE-CONFORMS")
def test_a_port_does_not_conform_if_a_skip_has_no_reason():
    assert judge.reasons([Verdict("long/small", "long", "skip")], set(), ()) == (
        "long/small was skipped without a reason.",
    )


@pytest.mark.parametrize("name", [m.id for m in mutants.values() if m.shows == "output"])
def test_every_mistake_is_rejected_with_nothing_but_its_output(name):
    port = Port(mutants[name].model())

    def status(case):
        try:
            return judge.verdict_on(port, case).status
        except (ValueError, IndexError, TypeError):
            return "error"  # the mutant cannot compute it

    cases = sorted(
        (c for c in CASES.values() if c.suite in {"model", "long"}), key=lambda c: c.inputs["token_ids"].size
    )
    assert any(status(case) in {"fail", "error"} for case in cases)


# Mistakes that no mutant has: what is held against a port is the numbers, not a list.
UNKNOWN = {
    "a softmax at a temperature of 1.001": {"softmax": lambda x: model.softmax(x / np.float32(1.001))},
    "GELU with erf to five digits": {"gelu": lambda x: model.gelu(x) + np.float32(1e-4) * np.sin(x)},
    "a layer normalisation with a clipped variance": {
        "layer_norm": lambda x, p: model.layer_norm(x, p) * np.float32(1.0001)
    },
    "one relative row off beyond distance 5": {
        "relative_products": lambda x, relative, row: model.relative_products(
            x, relative, np.where(row > 13, row - 1, row)
        )
    },
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_mistake_that_is_not_on_the_list_is_rejected_as_well(name):
    port = Port(judge.noise.exchanged(**UNKNOWN[name]))
    assert any(judge.verdict_on(port, case).status == "fail" for case in MODELS)


class NarrowIds(Port):
    """A port that casts the token ids to a type; ``fit`` makes ids again of what is none."""

    def __init__(self, dtype, fit=None):
        super().__init__()
        self.dtype, self.fit = dtype, fit

    def answer(self, case):
        V = case.config.vocabulary_size
        with np.errstate(invalid="ignore", over="ignore"):  # float16 makes infinity of ids from 65520 on
            narrow = case.inputs["token_ids"].astype(self.dtype)
            ids = (narrow.astype(np.float64).clip(-V, V - 1) % V if self.fit else narrow).astype(np.int64)
        try:
            return super().answer(case.with_values(inputs={**case.inputs, "token_ids": ids}))
        except ValueError as error:
            raise PortError(str(error)) from error


class Zeros(Port):
    """A port that returns zeros from the text ``first`` on, in models of a head size in ``sizes``."""

    def __init__(self, first=0, sizes=range(1000)):
        super().__init__()
        self.first, self.sizes = first, sizes

    def answer(self, case):
        output = super().answer(case)["output"]
        if case.config.head_dim in self.sizes:
            output[self.first :] = 0
        return {"output": output}


# What one ordinary case alone asks for: without it these ports would conform.
SELDOM = {
    "ids in int16": (NarrowIds(np.int16), "large-ids"),
    "ids in int16, negative ones from the end": (NarrowIds(np.int16, fit=True), "large-ids"),
    "ids in uint16": (NarrowIds(np.uint16), "large-ids"),
    "ids in float16": (NarrowIds(np.float16), "large-ids"),
    "ids in float16, infinite ones clipped": (NarrowIds(np.float16, fit=True), "large-ids"),
    "zeros from the fourth text on": (Zeros(first=3), "many-texts"),
    "zeros where the head size is 64": (Zeros(sizes={64}), "head-size-64"),
}


@clause("JUDGE-CONFORMS", "IN-IDS")
@pytest.mark.parametrize("name", SELDOM)
def test_a_mistake_in_what_only_one_case_asks_for_is_rejected(name):
    port, needed = SELDOM[name]
    found = report(port)
    assert not found.conforms
    assert [verdict.id for verdict in found.verdicts if not verdict.passes] == [f"model/{needed}"]


class Random(Port):
    """A port with random errors: ``change`` of an output and a generator."""

    def __init__(self, change, **others):
        super().__init__(**others)
        self.change, self.random = change, np.random.default_rng(0)

    def answer(self, case):
        return {name: self.change(x, self.random) for name, x in super().answer(case).items()}


def dropped_out(x, random):
    return x * (random.random(x.shape) > 0.1) / np.float32(0.9)


@pytest.mark.parametrize("change", [dropped_out, lambda x, random: random.normal(size=x.shape)])
def test_a_port_with_random_errors_is_said_not_to_be_deterministic_and_has_no_diagnosis(change):
    found = report(Random(change), [CASES["model/one-token"], CASES["model/whole"]])
    first, *_ = found.common
    assert first.startswith("Two answers to the same question (model/one-token) differ by ")
    assert first.endswith(" times the float32 rounding error: the port is not deterministic, as with dropout left on.")
    assert found.diagnosis == ()


def test_a_port_whose_answers_differ_only_by_rounding_has_a_diagnosis():
    def jittered(x, random):
        return x * (1 + random.uniform(-(2.0**-24), 2.0**-24, x.shape))

    found = report(Random(jittered, module=mutants["p2c-index-flipped"].model()), [CASES["model/whole"]])
    assert found.diagnosis[0].mutant == "p2c-index-flipped"
    assert not any("deterministic" in sentence for sentence in found.common)


def test_nan_in_both_answers_counts_as_equal():
    class Nowhere(Port):
        def answer(self, case):
            return {"output": np.full(case.expected["output"].shape, np.nan)}

    assert not any("deterministic" in sentence for sentence in report(Nowhere(), [CASES["model/whole"]]).common)


def test_a_slow_answer_is_not_asked_for_again(monkeypatch):
    monkeypatch.setattr("deberta_ref.conformance.judging.determinism.REPEATABLE_SECONDS", -1)
    found = report(Random(dropped_out), [CASES["model/whole"]])
    assert not any("deterministic" in sentence for sentence in found.common)


def test_thorough_gives_the_diagnosis_more_time(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(judge, "diagnose", lambda _answers, *, seconds: asked.append(seconds) or [])
    (tmp_path / "wrong.py").write_text(
        "load = lambda d: lambda inputs: 0.0 * inputs['token_ids'][..., None] + [0.0] * 24"
    )
    for more in ([], ["--thorough"]):
        assert main(["check", f"{tmp_path / 'wrong.py'}:load", "--case", "model/whole", *more]) == 1
    assert asked == [judge.SECONDS, THOROUGH]
