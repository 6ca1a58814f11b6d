"""Every mistake that a port could make is rejected by some small case, and every clause has a mistake to reject."""

import ast
import importlib
import itertools
import re
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from types import SimpleNamespace
from typing import Any

import numpy as np
import package_mutants
import pytest
from safetensors.numpy import load_file
from test_spec import CLAUSES

from deberta_ref import Config, Params, config, model
from deberta_ref.conformance.cases import noise, variants
from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes import mutants as listed
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.verdict import Match, Verdict
from deberta_ref.params import Linear, Norm
from deberta_ref.recipe import from_recipe, recipe_ids
from deberta_ref.tracing import record

sys.path.append(str(Path(__file__).parents[1] / "golden"))
from plans import low_scores

clause = pytest.mark.clause

REJECTED = 10
"""A score that no right float32 evaluation reaches; a right one scores below 2."""


@dataclass(frozen=True)
class Case:
    """A model by the recipe, some of its parameters multiplied, and the shape and the mask of its input."""

    config: Config
    B: int
    T: int
    holes: bool = False  # tail padding, a hole, and an example without a valid token
    factors: tuple[tuple[str, float], ...] = ()  # (end of a parameter's name, what it is multiplied by)
    allow_long: bool = False
    low: bool = False  # scores below −12000


CASES = {
    "padded": Case(Config(12, 3, 4, 20, 32, max_sequence_length=32, bucket_size=20), 4, 24, holes=True),
    "512": Case(Config(50, 1, 1, 12, 8, bucket_size=64), 1, 512),
    "odd": Case(Config(50, 2, 2, 8, 12, max_sequence_length=40, bucket_size=9), 1, 40),
    "long": Case(Config(50, 1, 2, 12, 16, max_sequence_length=16, bucket_size=8), 2, 40, allow_long=True),
    "tiny": Case(
        Config(50, 1, 2, 24, 24, max_sequence_length=32, bucket_size=8),
        1,
        24,
        factors=(("token_embedding", 2**-10), ("relative_embedding", 2**-10)),
    ),
    "low": Case(Config(50, 1, 2, 24, 24, max_sequence_length=16, bucket_size=8), 1, 12, low=True),
    "10 of 12": Case(Config(50, 1, 1, 12, 8, max_sequence_length=12, bucket_size=10), 1, 12),
}
"""Few, and each needed: KerasHub's order of operations shows at 512 tokens of (64, 512) and not before, logarithms of
two widths at 12 tokens of (10, 12), epsilon at a tiny variance, a constant for a mask and an unshifted softmax at very
low scores, id 0 and masks in the padded one."""


@cache
def made(name):
    """The case's parameters, inputs, float64 truth and noise floors."""
    case = CASES[name]
    arrays = dict((low_scores if case.low else from_recipe)(case.config).arrays())
    for end, factor in case.factors:
        arrays |= {name: array * np.float32(factor) for name, array in arrays.items() if name.endswith(end)}
    mask = np.ones((case.B, case.T), np.int64)
    if case.holes:
        mask[0, case.T // 2 :] = 0
        mask[1, 5:11] = 0
        mask[3] = 0
    params = Params.from_arrays(case.config, arrays)
    inputs = {"token_ids": recipe_ids(case.config, case.B, case.T), "padding_mask": mask}
    truth = record(model, params, inputs, "float64", allow_long=case.allow_long)
    return params, inputs, truth, noise.floors(params, inputs, allow_long=case.allow_long)


def scores(module, name, *taps):
    """The float32 scores of these taps of a model on a case; empty where the mutant's own check refuses the case."""
    params, inputs, truth, floor = made(name)
    try:
        found = record(module, params, inputs, "float32", allow_long=CASES[name].allow_long)
    except ValueError:
        return {}
    return noise.scores(noise.errors({tap: found[tap] for tap in taps or floor}, truth, params, inputs), floor)


@cache
def row(name):
    """The score of a mutant's last hidden state on every case."""
    module = mutants[name].model()
    return {case: scores(module, case, "output").get("output", 0.0) for case in CASES}


@cache
def exactly(name, case):
    """The last hidden state of a mutant in float64 at valid positions, in multiples of the case's noise; or None."""
    params, inputs, _, floor = made(case)
    try:
        found = record(mutants[name].model(), params, inputs, "float64", allow_long=CASES[case].allow_long)
    except ValueError:
        return None
    return found["output"][inputs["padding_mask"] == 1] / floor["output"].max


def alike(one, other):
    """Whether two mutants give the same hidden states on every case that both serve, but for noise."""
    pairs = ((exactly(one, case), exactly(other, case)) for case in CASES)
    return all(a is None or b is None or abs(a - b).max() < REJECTED for a, b in pairs)


OF_THE_PACKAGE = {mutant.id: mutant for mutant in package_mutants.MUTANTS}


def that_show(place):
    """The ids of the mutants that show there."""
    return [name for name, mutant in mutants.items() if mutant.shows == place]


def test_ids_never_change_their_form_and_clauses_are_known():
    for name, mutant in mutants.items():
        assert name == mutant.id
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert mutant.clause in CLAUSES
        assert mutant.sentence.endswith(".")
        assert isinstance(mutant.seen, tuple)
    assert len({mutant.effect for mutant in mutants.values()}) == len(mutants)


def test_no_mutant_is_listed_twice_and_none_left_out():
    groups = [importlib.import_module(f"{listed.__name__}.{file.name}") for file in iter_modules(listed.__path__)]
    assert sorted(mutant.id for group in groups for mutant in group.MUTANTS) == sorted(mutants)


def test_every_clause_has_a_mutant():
    assert {mutant.clause for mutant in (*mutants.values(), *OF_THE_PACKAGE.values())} == CLAUSES.keys()


def test_every_operation_and_every_request_below_is_of_a_mutant():
    assert list(OPERATIONS) == that_show("operation")
    assert list(REFUSALS) == that_show("refusal")
    assert list(PACKAGE) == list(OF_THE_PACKAGE)


@pytest.mark.parametrize("name", mutants)
def test_the_statement_that_a_mutant_changes_is_found_exactly_once(name):
    mutants[name].model()  # raises if it is not


def test_a_mutant_does_not_depend_on_how_the_source_is_laid_out(monkeypatch):
    laid_out = variants.tree_of
    otherwise = lambda module: ast.parse(ast.unparse(laid_out(module)))  # without comments, in other lines
    monkeypatch.setattr(variants, "tree_of", otherwise)
    for mutant in mutants.values():
        for module in {edit.module for edit in mutant.of(Edit)}:
            variants.edited(otherwise(module), [edit for edit in mutant.of(Edit) if edit.module == module])


@pytest.mark.parametrize("name", CASES)
def test_the_reference_itself_is_rejected_by_no_case(name):
    assert max(scores(model, name).values()) < 2


@pytest.mark.parametrize("name", that_show("output"))
def test_a_mistake_is_rejected_by_the_last_hidden_state_of_a_case(name):
    print(f"{name:36}", *(f"{case} {score:<8.2g}" for case, score in row(name).items()))
    assert max(row(name).values()) >= REJECTED, row(name)


@pytest.mark.parametrize("case", CASES)
def test_without_a_case_some_mistake_would_escape(case):
    others = {name: max(score for other, score in row(name).items() if other != case) for name in that_show("output")}
    escaped = [name for name, score in others.items() if score < REJECTED]
    print(f"without {case}: {', '.join(escaped)}")
    assert escaped


def test_no_two_mistakes_look_the_same():
    assert [pair for pair in itertools.combinations(that_show("output"), 2) if alike(*pair)] == []


@clause("VEC-TAPS")
@pytest.mark.parametrize("name", that_show("taps"))
def test_a_mistake_in_a_tap_leaves_the_output_and_is_rejected_by_that_tap_alone(name):
    found = scores(mutants[name].model(), "padded")
    rejecting = {tap for tap, score in found.items() if score >= REJECTED}
    assert rejecting
    assert all(tap.rpartition(".")[2] in mutants[name].sentence for tap in rejecting)
    assert found["output"] < 2


@clause("PAD-OUTPUT")
@pytest.mark.parametrize("name", that_show("nowhere"))
def test_what_differs_at_padded_positions_alone_is_never_rejected(name):
    params, inputs, truth, _ = made("padded")
    mutant = mutants[name].model()
    found = record(mutant, params, inputs, "float64")["output"]
    assert abs(found - truth["output"])[inputs["padding_mask"] == 0].min(axis=0).max() > 0.01
    assert max(max(scores(mutant, case).values()) for case in CASES) < 2


def near(value, expected):
    return value.shape == np.shape(expected) and bool(np.allclose(value, expected, rtol=1e-5, atol=1e-6))


def normalised(module, *values):
    """A float32 row, layer-normalised."""
    with np.errstate(all="ignore"):
        return module.layer_norm(np.float32([values]), Norm(np.ones(len(values)), np.zeros(len(values))))[0]


def gelu_errs_by_2_ulp_at_most(module):
    x = np.linspace(0.5, 3, 10_001, dtype=np.float32)
    exact = model.gelu(x.astype(np.float64))
    return (abs(module.gelu(x) - exact) <= 2 * np.spacing(exact.astype(np.float32))).all()


OPERATIONS = {
    "norm-squares-unscaled": lambda module: near(normalised(module, 1e30, -1e30, 0), [1.5**0.5, -(1.5**0.5), 0]),
    "norm-large-mean-rounded": lambda module: near(
        normalised(module, *range(2**23, 2**23 + 7)), [i / 2 for i in range(-3, 4)]
    ),
    "gelu-1-plus-erf": lambda module: near(module.gelu(np.array([-10.0])) * 1e23, [-7.619853024]),
    "gelu-interpolated-coarsely": gelu_errs_by_2_ulp_at_most,
}
"""Whether an operation is right, for the mutants that only an operation shows."""


@clause("NORM-RANGE", "GELU-ACCURACY")
@pytest.mark.parametrize("name", that_show("operation"))
def test_a_mistake_that_no_model_shows_is_rejected_by_the_operation(name):
    assert OPERATIONS[name](model)
    assert not OPERATIONS[name](mutants[name].model())


def request(ids: Any, mask: Any, **others: Any):
    """A forward pass of a small model over such inputs."""
    params = from_recipe(Config(10, 1, 2, 4, 4, max_sequence_length=4, bucket_size=4))
    inputs = {"token_ids": ids, "padding_mask": mask, **others}
    return lambda module: module.forward(params, {key: value for key, value in inputs.items() if value is not None})


REFUSALS = {
    "heads-do-not-divide": lambda module: module.Config(10, 1, 3, 4, 6),
    "bucket-size-1": lambda module: module.Config(10, 1, 1, 4, 6, bucket_size=1),
    "forgotten-mask-is-ones": request([[1, 2]], None),
    "unknown-inputs-ignored": request([[1, 2]], [[1, 1]], segment_ids=[[0, 0]]),
    "negative-ids-from-the-end": request([[1, -1]], [[1, 1]]),
    "ids-clipped": request([[1, 10]], [[1, 1]]),
    "mask-values-unchecked": request([[1, 2]], [[1, 2]]),
    "mask-broadcast": request([[1, 2], [3, 4]], [[1, 1]]),
    "long-without-asking": request([[1] * 5], [[1] * 5]),
}
"""A request that must be refused, and that the mutant serves."""


@clause("IN-CONFIG", "IN-KEYS", "IN-IDS", "IN-MASK", "IN-LENGTH")
@pytest.mark.parametrize("name", that_show("refusal"))
def test_a_check_that_is_dropped_serves_what_must_be_refused(name):
    (edit,) = mutants[name].of(Edit)
    of_config = mutants[name].clause == "IN-CONFIG"
    with pytest.raises(ValueError, match=r" must | may "):
        REFUSALS[name](config if of_config else model)
    REFUSALS[name](variants.copied(edit.module, edit) if of_config else mutants[name].model())


def fed(module):
    """The taps of a padded request, by a copy of deberta_ref.taps."""
    params, inputs, _, _ = made("padded")
    return module.record(model, params, inputs)["layers.0.output"][inputs["padding_mask"] == 0]


def written(module):
    """Whether what a copy of the Hugging Face layout writes is what was there."""
    params = from_recipe(Config(9, 1, 1, 3, 4))
    with tempfile.TemporaryDirectory() as directory:
        module.write(params, directory)
        found = load_file(Path(directory) / "model.safetensors")
    return found["encoder.layer.0.intermediate.dense.weight"].tolist() == params.layers[0].up.weight.tolist()


def members(module):
    """How many different results the members of an ensemble give for one sum."""
    x, seen = np.linspace(0, 1, 99, dtype=np.float32)[None], set()
    one = np.float32([1])
    module.ensemble(lambda variant: seen.add(variant.layer_norm(x, Norm(one, one)).tobytes()) or {}, lambda _found: {})
    return len(seen)


def verdict(module, mutant, **others):
    """What a copy of the judge says of a port with this mistake, or with a tap more than there should be."""
    case = next(case for case in corpus() if case.id == "model/whole")
    answer = case.evaluate(mutants[mutant].model() if mutant else model, "float32")
    return module.verdict_on(SimpleNamespace(name="", answer=lambda _case: answer | others), case)


def overflow_is_said(module):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with module.watched(np.dtype("float16")) as tap:
            tap("c2c", np.float16([1, np.inf]))
    return len(seen) == 1


def floor_of(module):
    """The bfloat16 floor of a value, by a copy of the precisions: its error by the type that is computed in."""
    evaluate = lambda _model, dtype: dtype
    errors_of = lambda dtype: {"output": noise.Size(1.0 if dtype == "bfloat16" else 0.5, 1.0)}
    return module.floors("bfloat16", evaluate, errors_of)["output"].rms


def bias_inside(module):
    """1 · 1 + 2^-12 added before or after the product 1 + 2^-11 is rounded to float16: ties decide."""
    p = Linear(np.float16([[1.0, 2.0**-11]]), np.float16([2.0**-11]))
    return module._bias_inside(np.float16([[1.0, 1.0]]), p)[0, 0] == 1 + 2.0**-10


WHOLE = next(case for case in corpus() if case.id == "model/whole")

PACKAGE = {
    "scale-in-half": lambda module: module.scaled(np.float16([3]), 3)[0] == np.float16(3**0.5),
    "sums-in-half": lambda module: (
        module.matmul(np.float16([[2048, 1, 1]]), np.float16([[1], [1], [1]])).tolist() == [[2050]]
    ),
    "whole-softmax-in-half": lambda module: module.softmax(np.float16([0, 1]))[0] == 0.26904296875,
    "norm-in-half": lambda module: (
        module.layer_norm(np.float16([[-300, 300]]), Norm(np.ones(2), np.zeros(2))).tolist() == [[-1, 1]]
    ),
    "pure-as-mixed": lambda module: (
        module.Params.computed_in(from_recipe(Config(9, 1, 1, 3, 4)), "float16")[0].dtype == np.float16
    ),
    "overflow-silent": overflow_is_said,
    "bias-not-inside": bias_inside,
    "floor-of-autocast": lambda module: floor_of(module) == 1.0,
    "shares-half-way-accused": lambda module: (
        module.state(module.Direction(mutants["gelu-tanh"], np.float32([1]), 0.0, 0.01), np.float32([0.5]))[0]
        == "excluded"
    ),
    "mistakes-forgiven": lambda module: module.against([Match("a", "b", 1.0, "c", "d")], ()) != [],
    "clauses-held-in-part": lambda module: (
        module.clauses([module.Finding("a", "GELU-ERF", "…", "has", 9.0, 1.0)]) == {"GELU-ERF": "broken"}
    ),
    "weights-of-the-checkpoint": lambda module: bool(
        module.with_weights(WHOLE, lambda _case: {"encoder.rel_embeddings.weight": np.zeros((16, 24))})[0]
        .expected["relative_embeddings"]
        .std(axis=0)
        .max()
        < 1e-9
    ),
    "bits-cut-off": lambda module: module._shortened(np.float32([1 + 2.0**-7 + 2.0**-8]), 8)[0] == 1 + 2.0**-6,
    "taps-of-padded-tokens-filled": lambda module: not fed(module).any(),
    "summary-without-signs": lambda module: {-1.0, 1.0} == set(module.signs(48).ravel()),
    "weights-written-in-out": written,
    "mixer-shifted-by-32": lambda module: module.mixed(0, 0, 0, 1)[0] == 0xE220A8397B1DCDAF,
    "factor-of-the-outputs": lambda module: (
        module.factor("layers.1.down.weight", (48, 64)) == 110
        and module.from_recipe(Config(9, 1, 1, 3, 4)).layers[0].down.weight[0, 0]
        == from_recipe(Config(9, 1, 1, 3, 4)).layers[0].down.weight[0, 0]
    ),
    "draws-around-a-half": lambda module: (
        module.from_recipe(Config(9, 1, 1, 3, 4)).token_embedding[0, 0] == 0.766845703125
    ),
    "ids-by-the-remainder": lambda module: (
        module.recipe_ids(Config(300, 1, 1, 1, 1), 1, 5).tolist() == [[84, 230, 114, 104, 14]]
    ),
    "ensemble-of-one": lambda module: members(module) == noise.MEMBERS,
    "score-of-the-mean-alone": lambda module: (
        module.scores({"output": noise.Size(1, 50)}, {"output": noise.Size(1, 1)}) == {"output": 50}
    ),
    "limit-a-thousand-times": lambda module: verdict(module, "gelu-tanh").status == "fail",
    "faults-forgiven": lambda module: verdict(module, None, misspelt=1).status == "error",
    "last-wrong-tap-named": lambda module: verdict(module, "p2c-index-flipped").first_tap == "layers.0.attention.p2c",
    "shown-wrongly-by-one-right-value": lambda module: (
        not module.mislabelled(
            next(case for case in corpus() if case.id == "model/holes"),
            {"layers.0.attention.query": 1e6, "layers.0.attention.c2c": 1.0, "layers.0.attention.c2p": 1e6},
        )
    ),
    "skipped-cases-count": lambda module: bool(
        module.reasons(
            [Verdict("model/holes", "model", "skip", notes=("no",)), Verdict("model/whole", "model", "pass")],
            {"model/holes", "model/whole"},
            (),
        )
    ),
}
"""Whether what the package makes besides is right, for the mutants that only it shows."""


@clause("VEC-PADDED", "VEC-SUMMARY", "VEC-FILES", "REC-MIXER", "REC-FACTORS", "REC-VALUES", "REC-IDS")
@clause("HALF-RESULTS", "HALF-PRODUCTS", "HALF-SOFTMAX", "HALF-NORM", "HALF-POLICY", "HALF-OVERFLOW")
@clause("PREC-WAYS", "PREC-FLOOR", "PREC-WEIGHTS", "EVID-STATE", "EVID-CLAUSES", "EVID-CONFORMS", "REC-BITS")
@clause("NOISE-FLOOR", "NOISE-SCORE", "JUDGE-LIMIT", "JUDGE-CASE", "JUDGE-FIRST", "JUDGE-SHOWN", "JUDGE-CONFORMS")
@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_a_mistake_of_the_package_itself_is_rejected(name):
    (edit,) = OF_THE_PACKAGE[name].of(Edit)
    assert PACKAGE[name](importlib.import_module(edit.module))
    assert not PACKAGE[name](variants.copied(edit.module, edit))
