"""What benchmarks/ counts, compares and prints. No test asserts a time."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import models
import numpy as np
import pytest

from deberta_ref import Config, forward
from deberta_ref.conformance.cases import noise

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import floor  # noqa: E402 - benchmarks/ is no package
import implementations  # noqa: E402
import memory  # noqa: E402
import plain  # noqa: E402
import rounds  # noqa: E402
import table  # noqa: E402
import workloads  # noqa: E402

CONFIG = Config(
    40, num_layers=2, num_heads=3, hidden_dim=12, intermediate_dim=20, max_sequence_length=16, bucket_size=8
)


class Counted(np.ndarray):
    """An array that adds up what is multiplied with it, and all that is computed from it does as well."""

    flops = 0

    def __array_ufunc__(self, function, method, *operands, out=None, **options):
        operands = [np.asarray(operand) for operand in operands]
        if out is not None:
            options["out"] = tuple(np.asarray(array) for array in out)
        found = np.asarray(getattr(function, method)(*operands, **options))
        if function is np.matmul:
            Counted.flops += 2 * found.size * operands[0].shape[-1]
        return found.view(Counted)


@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 7), (3, 5), (2, 16)])
def test_the_dense_floor_counts_what_a_plain_forward_multiplies(monkeypatch, B, T):
    monkeypatch.setattr(Counted, "flops", 0)
    params = models.random_params(CONFIG, np.random.default_rng(0), "float32")
    tracked = {name: getattr(params, name).view(Counted) for name in ("token_embedding", "relative_embedding")}
    plain.forward(dataclasses.replace(params, **tracked), models.inputs_of(np.zeros((B, T), int)))
    assert floor.flops(CONFIG, B, T, "dense") == Counted.flops


def test_the_strict_floor_leaves_out_what_depends_on_parameters_alone_and_rows_out_of_reach():
    dense, strict = (floor.flops(CONFIG, 2, 3, kind) for kind in ("dense", "strict"))
    projections = 2 * 2 * (16 * 12 * 12)  # relative query and key: R = 16 rows, D = 12
    rows = 2 * 2 * (2 * 3) * (3 * 4) * (16 - 5)  # c2p and p2c of 2 texts with 3 heads: T = 3, d = 4, 5 rows in reach
    assert dense - strict == CONFIG.num_layers * (projections + rows)


@pytest.mark.parametrize("kind", floor.KINDS)
def test_the_floor_multiplies_what_it_counts(kind, monkeypatch):
    multiplied = []
    operands = floor.operands

    def tracked(product, random):
        a, b = operands(product, random)
        assert a.dtype == b.dtype == np.float32
        multiplied.append(2 * (a @ b).size * a.shape[-1])
        return a, b

    monkeypatch.setattr(floor, "operands", tracked)
    floor.floor(CONFIG, 2, 3, kind)()
    assert sum(multiplied) == floor.flops(CONFIG, 2, 3, kind)


@pytest.mark.parametrize("seed", range(6))
def test_the_plain_forward_is_right(seed):
    random = np.random.default_rng([15, seed])
    config = models.random_config(random)
    params = models.random_params(config, random)
    inputs = models.random_inputs(config, random)
    inputs = {name: array[:3] for name, array in inputs.items()}  # a softmax over no key at all has no value here
    inputs["padding_mask"][:, 0] = 1
    truth = forward(params, inputs)
    valid = inputs["padding_mask"] == 1
    assert truth.dtype == np.float64
    assert abs(plain.forward(params, inputs) - truth)[valid].max() < 1e-12  # rounding, as for the ports in float64
    single = params.astype("float32")
    found = plain.forward(single, inputs)
    assert found.dtype == np.float32
    scores = noise.scores(
        noise.errors({"output": found}, {"output": forward(single, inputs, dtype="float64")}, single, inputs),
        noise.floors(single, inputs),
    )
    assert scores["output"] < 4  # JUDGE-LIMIT


def test_a_wrong_output_is_told_from_the_noise_of_float32():
    expected = np.zeros((2, 3), np.float32)
    assert rounds.deviation(expected + np.float32(2e-6), expected) < rounds.LIMIT
    assert rounds.deviation(expected + np.float32(2e-5), expected) > rounds.LIMIT
    assert rounds.deviation(expected * np.nan, expected) == np.inf


def test_a_padded_batch_is_as_wide_as_its_longest_text():
    padded = next(workload for workload in workloads.WORKLOADS if workload.id == "base-8-padded")
    inputs = workloads.inputs_of(padded)
    assert inputs["token_ids"].shape == padded.shape == (8, 512)
    assert inputs["padding_mask"].sum(axis=1).tolist() == list(padded.lengths)
    assert (padded.lengths[0], padded.lengths[-1]) == (128, 512)


def test_a_ratio_is_paired_with_the_floor_of_its_round():
    row = table.Row("id", "label", (1.0, 10.0, 2.0), {"ours": (2.0, 20.0, 5.0)}, {"theirs": "failed"}, {})
    assert table.ratios(row, "ours").median == 2
    lines = table.markdown(
        [row], "floor", {"ours": "Ours", "theirs": "Theirs", "others": "O"}, {"others": "not installed"}
    )
    assert lines.splitlines()[0] == "| workload | floor | Ours | Theirs | O |"
    assert lines.splitlines()[2] == "| label | 1 = 2e+03 ms | 2.00 (2.00–2.25) | failed | not installed |"


def test_the_readme_has_a_place_for_the_table():
    text = table.README.read_text("utf-8")
    written = table.written(text, "the table\n")
    assert f"{table.BEGIN}the table\n{table.END}" in written
    assert table.written(written, text[text.index(table.BEGIN) + len(table.BEGIN) : text.index(table.END)]) == text


def test_one_command_prints_every_column_and_writes_every_time(tmp_path):
    file = tmp_path / "times.json"
    options = ["--workload", "tiny", "--only", "--plain", "--rounds", "2", "--threads", "1", "--json", str(file)]
    ran = subprocess.run(
        [sys.executable, str(BENCHMARKS / "forward.py"), *options], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    head, _, row = ran.stdout.splitlines()[:3]
    assert head == "| workload | floor (dense) | deberta_ref | a plain NumPy forward |"
    assert row.startswith("| tiny, 2 texts of 3 and 5 | 1 = ")
    assert "1 of " in ran.stdout.splitlines()[-1]
    report = json.loads(file.read_text("utf-8"))
    (entry,) = report["workloads"]
    assert {name: len(seconds) for name, seconds in entry["seconds"].items()} == {"deberta_ref": 2, "plain": 2}
    assert len(entry["floor"]) == 2
    assert entry["floor_flops"] == floor.flops(workloads.TINY.config, 2, 5, "dense")


def test_an_implementation_is_installed_when_all_that_it_needs_is():
    loaded = lambda *packages: implementations.Implementation("id", "label", None, packages).installed
    assert loaded()
    assert loaded("numpy", "deberta-ref")
    assert not loaded("numpy", "not-a-package")


def test_a_request_that_cannot_be_is_refused():
    command = [sys.executable, str(BENCHMARKS / "forward.py"), "--threads", "100000"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "--threads must be from 1 to" in ran.stderr


def test_memory_is_what_a_forward_pass_needs_beyond_its_output():
    config = dataclasses.asdict(workloads.TINY.config)
    measured = memory.point(config=config, B=2, T=5, dtype="float64", calls=2)
    assert measured.keys() == {"seconds", "bytes"}
