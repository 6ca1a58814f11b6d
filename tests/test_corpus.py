"""The golden cases: what they hold, that the reference agrees, and that they reject every mistake."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_spec import CLAUSES

from deberta_ref import model, presets
from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.corpus import SUITES, SUMMARISED, WHOLE, corpus
from deberta_ref.conformance.mistakes.mutants import mutants, variations
from deberta_ref.taps import tap_axes

clause = pytest.mark.clause

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {case.id: case for case in corpus(GOLDEN / "cases")}
SCHEMA = json.loads((GOLDEN / "schema.json").read_text("utf-8"))

sys.path.append(str(GOLDEN))
from rejections import JUDGED, in_halves, matrix  # noqa: E402 - beside the corpus, not in a package

# Ids never change: a case may be added, and none may go.
IDS = {
    "model": "one-token whole tail-padding holes id-0-valid odd-buckets one-head many-heads head-size-32 "
    "head-size-64 keras-hub-test sharp-attention huge-scores tiny-variance log-buckets longest bucket-64-of-512 demo "
    "low-scores bucket-of-the-longest large-ids many-texts",
    "long": "small published",
    "presets": "extra-small-en small-en base-en large-en base-multi",
    "precision": "four-layers published-buckets wide",
    "layer": "first last sharp-attention log-buckets",
    "ops": "linear layer-norm layer-norm-tiny-variance layer-norm-large-mean layer-norm-constant-row layer-norm-huge "
    "gelu gelu-near-zero gelu-tail softmax softmax-tail softmax-holes softmax-ties softmax-huge gather-c2p gather-p2c "
    "rows-256-512 rows-64-512 rows-128-512 rows-32-512 rows-512-514 rows-255-512 rows-256-1024 rows-48-2048 rows-8-16 "
    "rows-7-20 rows-9-40 rows-3-17 rows-2-12 rows-100-300 rows-256-5",
    "tokenizer": "blanks cut cut-pairs long normalisation pairs sentences stacked-marks typed-special-tokens unknown",
}

# Those of over 150 million parameters take a gigabyte and half a minute each.
COMPUTED = [pytest.param(name, marks=pytest.mark.large) if CASES[name].large else name for name in CASES]

NUMERICAL = [name for name, case in CASES.items() if case.suite != "tokenizer"]


def test_no_case_has_gone():
    assert set(CASES) >= {f"{suite}/{name}" for suite, names in IDS.items() for name in names.split()}
    assert {case.suite for case in CASES.values()} == set(SUITES)


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_follows_the_schema_and_names_what_exists(name):
    case = CASES[name]
    json.dumps(case.manifest, allow_nan=False)  # Infinity is no JSON: other languages do not read it
    jsonschema.validate(case.manifest, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert case.directory.parts[-2:] == tuple(name.split("/"))
    assert set(case.manifest["clauses"]) <= set(CLAUSES)
    assert set(case.manifest.get("catches", ())) <= set(mutants)
    assert set(case.manifest.get("permits", ())) <= set(variations)
    assert ("catches" in case.manifest) == (not case.large)
    witnesses = case.manifest["witnesses"]
    assert all(w.get("score", 0) < 2 or "why" in w for w in witnesses)
    assert sum("why" not in w for w in witnesses) >= 2
    if "config" in case.manifest:
        assert {w["implementation"] for w in witnesses} == {"deberta", "transformers", "keras-hub"}


@clause("VEC-TAPS", "VEC-FILES")
@pytest.mark.parametrize("name", [name for name in NUMERICAL if "config" in CASES[name].manifest])
def test_a_case_holds_every_tap_but_what_takes_megabytes(name):
    case = CASES[name]
    T = case.inputs["padding_mask"].shape[1]
    axes = tap_axes(case.config)
    kept = {
        tap
        for tap in axes
        if (T <= 40 or "TT" not in axes[tap]) and (case.config.num_relative <= 256 or "HR" not in axes[tap])
    }
    if case.suite == "layer":
        kept = {tap for tap in kept if tap.startswith(f"layers.{case.manifest['layer']}.")}
    if case.suite in SUMMARISED:
        kept = {"output", *(f"layers.{n}.output.summary" for n in range(case.config.num_layers))}
    assert set(load_file(case.directory / "expected.safetensors")) == kept
    assert set(case.expected) == kept | ({"relative_row"} if case.suite in WHOLE else set())
    assert case.allow_long == (case.config.max_sequence_length < T)


@pytest.mark.parametrize("name", NUMERICAL)
def test_what_a_case_holds_has_floors_and_is_finite(name):
    case = CASES[name]
    assert set(case.required) <= set(case.expected)
    for value, expected in case.expected.items():
        assert expected.dtype == (np.float64 if value in case.manifest["floors"] else np.int64)
        assert np.isfinite(expected).all()


@clause("VEC-SUMMARY")
@pytest.mark.parametrize("name", COMPUTED)
def test_the_reference_agrees_in_float64_and_is_within_the_noise_in_float32(name):
    case = CASES[name]
    found = case.evaluate(model, "float64")
    for value, expected in case.expected.items():
        # Another BLAS sums in another order: 1e-12 of the largest number, and a product's reach 100. Scores of −12800
        # cost four digits.
        limit = (
            (1e-10 if name == "model/low-scores" else 1e-12) * max(1, abs(expected).max())
            if expected.dtype.kind == "f"
            else 0
        )
        assert abs(found[value] - expected).max() <= limit, value
    scores = case.scores(case.evaluate(model, "float32"))
    assert scores.keys() == case.expected.keys()
    assert max(scores.values()) < 2, max(scores, key=scores.get)
    case.release()


@clause("NOISE-FLOOR")
@pytest.mark.parametrize("name", ["model/holes", "model/keras-hub-test", "long/small", "layer/last", "ops/gelu"])
def test_the_floors_are_those_of_the_ensemble(name):
    case = CASES[name]
    floors = noise.ensemble(lambda variant: case.evaluate(variant, "float32"), case.errors)
    for value, floor in case.floors.items():
        # The sums of another BLAS round otherwise, so its ensemble is another sample: the root mean square over eight
        # members and all numbers moves little; the largest of them, a single number, by a factor of 1.6 on one seen.
        assert floors[value].rms == pytest.approx(floor.rms, rel=0.3)
        assert floor.max / 3 <= floors[value].max <= floor.max * 3


def test_every_mistake_that_a_case_could_catch_is_caught_and_the_matrix_says_by_which_suite():
    visible = {name for name, mutant in mutants.items() if mutant.shows in JUDGED}
    caught = {name: set(case.manifest.get("catches", ())) for name, case in CASES.items()}
    # More accurate than a port must be; and no text makes [MASK]. Tests of their own reject these.
    aside = {name for name in visible if mutants[name].clause in {"GELU-ACCURACY", "TOK-MASK"}}
    assert visible - set().union(*caught.values()) == aside | {"norm-large-mean-rounded"}
    assert (GOLDEN / "matrix.md").read_text("utf-8").startswith(matrix(list(CASES.values())))


def rejected(name, case):
    """Whether a mutant scores 10 or more, or cannot compute the case."""
    try:
        found = case.evaluate(mutants[name].model(), "float32")
    except (ValueError, IndexError, TypeError):
        return True  # it cannot even compute the case
    return max(case.scores({value: found[value] for value in case.required}).values()) >= 10


@pytest.mark.parametrize("name", [m.id for m in mutants.values() if m.shows == "output"])
def test_a_mistake_is_rejected_as_the_manifests_say(name):
    catching = [case for case in CASES.values() if name in case.manifest.get("catches", ())]
    for suite in {case.suite for case in catching} - {"presets"}:
        size = lambda case: sum(array.size for array in case.inputs.values())
        assert rejected(name, min((case for case in catching if case.suite == suite), key=size))


@clause("PAD-OUTPUT")
@pytest.mark.parametrize("name", [m.id for m in mutants.values() if m.shows == "nowhere"])
def test_what_shows_at_padded_positions_alone_is_not_judged(name):
    assert not any(name in case.manifest.get("catches", ()) for case in CASES.values())
    case = CASES["model/holes"]
    assert case.scores({"output": case.evaluate(mutants[name].model(), "float32")["output"]})["output"] < 2


@clause("REL-LONG")
@pytest.mark.parametrize("name", variations)
def test_a_variation_shows_only_where_a_case_permits_it(name):
    for case in CASES.values():
        if case.suite in {"model", "long", "layer", "ops"}:
            found = case.evaluate(variations[name].model(), "float32")
            score = max(case.scores({value: found[value] for value in case.required}).values())
            assert (score >= 10) == (name in case.manifest["permits"]), case.id
    assert {case.suite for case in CASES.values() if name in case.manifest.get("permits", ())} == {"long", "ops"}


def test_ordinary_cases_ask_what_published_models_and_batches_need():
    ids = CASES["model/large-ids"].inputs
    valid = ids["token_ids"][ids["padding_mask"] == 1]
    assert [(valid >= 1 << bits).sum() for bits in (15, 16, 17)] == [16, 15, 5]  # of 17
    assert CASES["model/large-ids"].config.vocabulary_size == presets["deberta_v3_base_multi"].config.vocabulary_size
    lengths = CASES["model/many-texts"].inputs["padding_mask"].sum(axis=1)
    assert (lengths.size, set(lengths)) == (9, {1, 2, 3, 4, 5, 6})
    assert {preset.config.head_dim for preset in presets.values()} == {CASES["model/head-size-64"].config.head_dim}


def test_the_corpus_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in (GOLDEN / "cases").rglob("*") if path.is_file()) < 20_000_000


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node; .ci/run checks that there is one")
@pytest.mark.parametrize("name", ["model/holes", "long/published", "layer/first", "ops/softmax", "ops/rows-7-20"])
def test_javascript_reads_a_case_in_30_lines(name):
    script = GOLDEN / "read.mjs"
    assert len(script.read_text("utf-8").splitlines()) <= 32
    command = ["node", str(script), str(CASES[name].directory)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    case = CASES[name]
    shown = {line.split()[0]: line.split()[4:] for line in lines[1:]}
    held = load_file(case.directory / "expected.safetensors")
    assert set(shown) == {*case.inputs, *held}
    for value, words in shown.items():
        numbers = (held | case.inputs)[value].ravel()[:3].tolist()
        assert [float(word) for word in words] == numbers


def test_a_case_with_other_values_shares_the_rest_and_leaves_the_case_as_it_was():
    case = CASES["model/one-token"]
    inputs, expected, params = dict(case.inputs), dict(case.expected), case.params
    other = case.with_values(inputs={"token_ids": 1}, expected={"output": 2})
    assert (other.id, other.inputs, other.expected) == (case.id, {"token_ids": 1}, {"output": 2})
    assert other.params is params
    assert case.inputs.keys() == inputs.keys()
    assert case.expected.keys() == expected.keys()
    assert case.with_values(params="others").params == "others"
    assert case.params is params


def test_parameters_that_are_let_go_are_made_anew_and_those_of_a_copy_stay():
    case = CASES["model/one-token"]
    params = case.params
    copy = case.with_values()
    case.release()
    assert copy.params is params
    assert case.params is not params
    assert (case.params.token_embedding == params.token_embedding).all()
    case.with_values().release()
    assert case.params is case.params


def test_no_cases_are_no_corpus(tmp_path):
    with pytest.raises(FileNotFoundError, match="There must be golden cases in"):
        corpus(tmp_path)


@pytest.mark.diagnosis
def test_the_matrix_says_which_mistakes_can_be_told_in_lower_precisions():
    states = lambda text: re.findall(
        r"^\| `([\w-]+)` \| (yes|no)?[^|]*\| (yes|no)?[^|]*\| (yes|no)?", text, re.MULTILINE
    )
    written = (GOLDEN / "matrix.md").read_text("utf-8").partition("## In lower precisions")[2]
    assert states(written) == states(in_halves(list(CASES.values())))
