"""Chapter 11: legal evaluations, floors and scores; and what right implementations score."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref import Config, Params, trace
from deberta_ref.conformance.cases import noise, variants
from deberta_ref.params import Linear, Norm
from deberta_ref.recipe import from_recipe, recipe_ids
from deberta_ref.tracing import record

clause = pytest.mark.clause

CASES = {
    "4 layers, D 48": (Config(200, 4, 4, 48, 96, max_sequence_length=64, bucket_size=32), 1),
    "6 layers, D 384": (Config(300, 6, 6, 384, 768), 1),
    "one head": (Config(99, 2, 1, 12, 24, max_sequence_length=32, bucket_size=8), 1),
    "sharp attention": (Config(200, 3, 2, 54, 96, max_sequence_length=64, bucket_size=16), 3),
}


def case(name):
    """Parameters by the recipe, queries and keys as sharp as the case wants, and inputs with padding and a hole."""
    config, sharpness = CASES[name]
    arrays = {
        parameter: array * np.float32(sharpness if parameter.endswith(("query.weight", "key.weight")) else 1)
        for parameter, array in from_recipe(config).arrays().items()
    }
    T = min(60, config.max_sequence_length)
    mask = np.ones((3, T), np.int64)
    mask[1, T // 2 :] = 0
    mask[2, 3:7] = 0
    return Params.from_arrays(config, arrays), {"token_ids": recipe_ids(config, 3, T), "padding_mask": mask}


@clause("NOISE-LEGAL", "NOISE-SCORE")
@pytest.mark.parametrize("name", CASES)
def test_the_references_float32_scores_below_2_on_every_tap(name):
    params, inputs = case(name)
    truth, floor = trace(params, inputs, "float64"), noise.floors(params, inputs)
    scores = noise.scores(noise.errors(trace(params, inputs, "float32"), truth, params, inputs), floor)
    assert scores.keys() == truth.keys()
    assert scores.pop("relative_row") == 0
    assert max(scores.values()) < 2
    assert min(scores.values()) > 0.1  # a floor far above the noise would let mistakes through


@clause("NOISE-LEGAL")
@pytest.mark.parametrize("name", ["matmul", "linear", "layer_norm", "softmax", "gelu"])
def test_a_legal_operation_stays_within_a_few_ulp_of_the_exact_one(name):
    random = np.random.default_rng(0)
    x = random.normal(size=(5, 40)).astype(np.float32)
    weight, bias = random.normal(size=(7, 40)).astype(np.float32), random.normal(size=7).astype(np.float32)
    arguments = {
        "matmul": (x, weight.T),
        "linear": (x, Linear(weight, bias)),
        "layer_norm": (x, Norm(weight[0], weight[1])),
        "softmax": (x,),
        "gelu": (x,),
    }[name]
    exact = getattr(variants.exchanged(), name)
    wide = exact(*(np.asarray(a, np.float64) if isinstance(a, np.ndarray) else a for a in arguments))
    members = [getattr(noise.evaluation(np.random.default_rng(seed)), name)(*arguments) for seed in range(20)]
    assert all(member.dtype == np.float32 for member in members)
    assert len({member.tobytes() for member in members}) == 20
    # 40 products of up to 10 are summed, 40 roundings at worst; all else is a few roundings of values below 10.
    assert max(abs(member - wide).max() for member in members) < 50 * 10 * 2.0**-24


@clause("NOISE-FLOOR")
def test_floors_follow_from_the_seed_and_grow_with_sharpness():
    params, inputs = case("one head")
    one, again, other = (noise.floors(params, inputs, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert one["output"].rms == pytest.approx(other["output"].rms, rel=0.5)
    sharp = noise.floors(*case("sharp attention"))["output"]
    assert sharp.max > 3 * noise.floors(*case("4 layers, D 48"))["output"].max


@clause("NOISE-FLOOR")
def test_every_valid_number_counts_and_no_padded_one():
    params, inputs = case("one head")
    truth = trace(params, inputs)
    mask = inputs["padding_mask"].astype(bool)
    found = {name: tap.copy() for name, tap in truth.items()}
    found["output"][~mask] = np.nan
    probs = found["layers.0.attention.probs"]
    probs.swapaxes(0, 1)[:, ~(mask[:, :, None] & mask[:, None, :])] = np.inf
    assert all(size == noise.Size(0.0, 0.0) for size in noise.errors(found, truth, params, inputs).values())
    for name, place in (
        ("output", (2, 31, 11)),
        ("layers.1.attention.probs", (1, 0, 15, 15)),
        ("relative_embeddings", 0),
    ):
        found = {tap: value.copy() for tap, value in truth.items()}
        found[name][place] += 1
        assert noise.errors(found, truth, params, inputs)[name].max == pytest.approx(1)


@clause("NOISE-SCORE")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_scores_infinity(value):
    params, inputs = case("one head")
    truth, floor = trace(params, inputs), noise.floors(params, inputs)
    found = truth["output"].copy()
    found[0, 0, 0] = value
    assert noise.scores(noise.errors({"output": found}, truth, params, inputs), floor) == {"output": np.inf}


def test_a_variant_changes_nothing_but_itself():
    params, inputs = case("one head")
    before = trace(params, inputs)["output"]
    variant = variants.combined(variants.Edit("model.disentangled_attention", "attention.scores", "_ * 3**0.5"))
    assert abs(record(variant, params, inputs)["output"] - before).max() > 0.01
    assert (trace(params, inputs)["output"] == before).all()
    assert (record(variants.exchanged(), params, inputs)["output"] == before).all()


def test_a_function_that_the_model_does_not_have_is_not_exchanged():
    with pytest.raises(ValueError, match=r"deberta_ref\.model has no gelo"):
        variants.exchanged(gelo=None)


@pytest.mark.ports
@pytest.mark.parametrize("port", ["huggingface", "authors", "kerashub"])
def test_right_implementations_score_below_2_in_float32(port, tmp_path):
    made = {}
    for name in CASES:
        params, inputs = made[name] = case(name)
        params.save(tmp_path / name)
        save_file(inputs, tmp_path / name / "inputs.safetensors")
    run = Path(__file__).parents[1] / "ports" / "tools" / "run.py"
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], str(run), port, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    for name, (params, inputs) in made.items():
        output = load_file(tmp_path / name / f"{port}.safetensors")["output"]
        truth, floor = trace(params, inputs, "float64"), noise.floors(params, inputs)
        score = noise.scores(noise.errors({"output": output}, truth, params, inputs), floor)["output"]
        print(f"{port}, {name}: {score:.1f}, float32 errs by up to {floor['output'].max:.1e}")
        assert 0.1 < score < 2
