"""The golden cases: what they hold, that the reference agrees, and that they reject every mistake."""

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from test_spec import CLAUSES

from deberta_ref import trace
from deberta_ref.conformance import noise
from deberta_ref.conformance.corpus import corpus
from deberta_ref.conformance.mutants import mutants
from deberta_ref.taps import record, tap_axes

clause = pytest.mark.clause

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {case.id: case for case in corpus(GOLDEN / "cases")}
SCHEMA = json.loads((GOLDEN / "schema.json").read_text("utf-8"))

# Ids never change: a case may be added, and none may go.
IDS = {
    *("model/one-token", "model/whole", "model/tail-padding", "model/holes", "model/id-0-valid", "model/odd-buckets"),
    *("model/one-head", "model/many-heads", "model/keras-hub-test", "model/sharp-attention", "model/huge-scores"),
    *(
        "model/tiny-variance",
        "model/log-buckets",
        "model/longest",
        "model/bucket-64-of-512",
        "model/demo",
        "long/small",
        "long/published",
    ),
}


def test_no_case_has_gone():
    assert set(CASES) >= IDS


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_follows_the_schema_and_names_what_exists(name):
    case = CASES[name]
    jsonschema.validate(case.manifest, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert case.directory.parts[-2:] == tuple(name.split("/"))
    assert set(case.manifest["clauses"]) <= set(CLAUSES)
    assert set(case.manifest["catches"]) <= set(mutants)
    assert case.params.config.__dict__ == case.manifest["config"]
    assert {w["implementation"] for w in case.manifest["witnesses"]} == {"deberta", "transformers", "keras-hub"}
    assert all(w.get("score", 0) < 2 or "why" in w for w in case.manifest["witnesses"])


@clause("VEC-TAPS", "VEC-FILES")
@pytest.mark.parametrize("name", CASES)
def test_a_case_holds_every_tap_but_those_of_long_pairs(name):
    case = CASES[name]
    T = case.inputs["token_ids"].shape[1]
    axes = tap_axes(case.params.config)
    assert set(case.expected) == {tap for tap in axes if T <= 40 or "TT" not in axes[tap]}
    assert set(case.floors) == set(case.expected) - {"relative_row"}
    assert case.allow_long == (case.params.config.max_sequence_length < T)
    for tap, values in case.expected.items():
        assert values.dtype == (np.int64 if tap == "relative_row" else np.float64)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", CASES)
def test_the_reference_agrees_in_float64_and_is_within_the_noise_in_float32(name):
    case = CASES[name]
    taps = trace(case.params, case.inputs, "float64", allow_long=case.allow_long)
    for tap, expected in case.expected.items():
        # Another BLAS sums in another order: 1e-12 of the largest value, and a product's values reach 100.
        limit = 0 if tap == "relative_row" else 1e-12 * max(1, abs(expected).max())
        assert abs(taps[tap] - expected).max() <= limit, tap
    single = trace(case.params, case.inputs, "float32", allow_long=case.allow_long)
    errors = noise.errors({tap: single[tap] for tap in case.expected}, case.expected, case.params, case.inputs)
    scores = noise.scores(errors, case.floors)
    assert max(scores.values()) < 2, max(scores, key=scores.get)


@clause("NOISE-FLOOR")
@pytest.mark.parametrize("name", ["model/holes", "model/keras-hub-test", "long/small"])
def test_the_floors_are_those_of_the_ensemble(name):
    case = CASES[name]
    floors = noise.floors(case.params, case.inputs, allow_long=case.allow_long)
    for tap, floor in case.floors.items():
        # The sums of another BLAS round otherwise, so its ensemble is another sample: the root mean square over eight
        # members and all numbers moves little; the largest of them, a single number, by a factor of 1.6 on one seen.
        assert floors[tap].rms == pytest.approx(floor.rms, rel=0.3)
        assert floor.max / 3 < floors[tap].max < floor.max * 3


def test_every_mistake_that_shows_in_an_output_is_caught_by_a_case():
    visible = {mutant.id for mutant in mutants.values() if mutant.shows == "output"}
    caught = {name: set(case.manifest["catches"]) for name, case in CASES.items()}
    assert visible == set().union(*caught.values())
    for suite in {case.suite for case in CASES.values()}:
        left = set().union(*(found for name, found in caught.items() if CASES[name].suite != suite))
        print(f"without the suite {suite}, what escapes: {', '.join(sorted(visible - left)) or 'nothing'}")


@pytest.mark.parametrize("name", [m.id for m in mutants.values() if m.shows == "output"])
def test_a_mistake_is_rejected_as_the_manifest_says(name):
    catching = [case for case in CASES.values() if name in case.manifest["catches"]]
    case = min(catching, key=lambda case: case.inputs["token_ids"].size)
    try:
        taps = record(mutants[name].model(), case.params, case.inputs, "float32", allow_long=case.allow_long)
    except (ValueError, IndexError, TypeError):
        return  # it cannot even compute the case
    found = {"output": taps["output"]}
    errors = noise.errors(found, case.expected, case.params, case.inputs)
    assert noise.scores(errors, case.floors)["output"] >= 10


@clause("PAD-OUTPUT")
@pytest.mark.parametrize("name", [m.id for m in mutants.values() if m.shows == "nowhere"])
def test_what_shows_at_padded_positions_alone_is_not_judged(name):
    assert not any(name in case.manifest["catches"] for case in CASES.values())
    case = CASES["model/holes"]
    taps = record(mutants[name].model(), case.params, case.inputs, "float32")
    errors = noise.errors({"output": taps["output"]}, case.expected, case.params, case.inputs)
    assert noise.scores(errors, case.floors)["output"] < 2


def test_the_corpus_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in (GOLDEN / "cases").rglob("*") if path.is_file()) < 12_000_000


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node; .ci/run checks that there is one")
@pytest.mark.parametrize("name", ["model/holes", "long/published"])
def test_javascript_reads_a_case_in_30_lines(name):
    script = GOLDEN / "read.mjs"
    assert len(script.read_text("utf-8").splitlines()) <= 32
    command = ["node", str(script), str(CASES[name].directory)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    shown = {line.split()[0]: line.split()[-3:] for line in lines[1:]}
    assert set(shown) == {*CASES[name].inputs, *CASES[name].expected}
    assert [float(word) for word in shown["output"]] == CASES[name].expected["output"].ravel()[:3].tolist()


def test_no_cases_are_no_corpus(tmp_path):
    with pytest.raises(FileNotFoundError, match="There must be golden cases in"):
        corpus(tmp_path)
