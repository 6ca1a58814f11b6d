"""Chapter 10: the recipe's bits, in Python and in JavaScript, and what its weights exercise."""

import shutil
import subprocess
from pathlib import Path

import models
import numpy as np
import pytest

from deberta_ref import Config, trace
from deberta_ref.params import shapes
from deberta_ref.recipe import factor, from_recipe, mixed, recipe_ids

clause = pytest.mark.clause

JAVASCRIPT = Path(__file__).parents[1] / "golden" / "recipe.mjs"


def splitmix64(seed, count):
    """The generator as its authors define it: a state that is stepped, one draw at a time."""
    state, draws = seed, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        draws.append(z ^ (z >> 31))
    return draws


@clause("REC-MIXER")
@pytest.mark.parametrize("seed", [0, 1, 1234567, 2**64 - 1])
def test_draws_are_those_of_splitmix64(seed):
    assert mixed(seed, 0, 0, 100).tolist() == splitmix64(seed, 100)
    assert mixed(seed, 0, 40, 60).tolist() == splitmix64(seed, 100)[40:]


@clause("REC-MIXER")
def test_streams_are_far_parts_of_one_sequence():
    state = (5 + (3 << 40) * 0x9E3779B97F4A7C15) % 2**64
    assert mixed(5, 3, 0, 10).tolist() == splitmix64(state, 10)


@clause("REC-VALUES", "REC-FACTORS")
def test_every_value_is_an_exact_multiple_of_its_factor():
    config = Config(30, 2, 2, 12, 20, bucket_size=4)
    for stream, (name, array) in enumerate(from_recipe(config, seed=9).arrays().items()):
        draws = splitmix64((9 + (stream << 40) * 0x9E3779B97F4A7C15) % 2**64, array.size)
        offset = 1 if name.endswith("scale") else 0
        expected = [offset + factor(name, array.shape) * (2 * (u >> 52) - 4095) / 2**22 for u in draws]
        assert array.dtype == np.float32
        assert array.ravel().tolist() == expected


@clause("REC-FACTORS")
@pytest.mark.parametrize("into", [1, 2, 3, 48, 384, 768, 1024, 3072, 4096])
def test_a_weight_is_as_large_as_keeps_its_output_at_the_wanted_variance(into):
    variances = {"query": 5 / 3, "value": 1, "attention_output": 1 / 6, "up": 2.25, "down": 0.25}
    for name, variance in variances.items():
        f = factor(f"layers.0.{name}.weight", (7, into))
        assert f <= 4096  # times an odd draw below 4096: an integer below 2²⁴
        # A uniform value below a has variance a²/3; the factor is rounded down, by less than 1 in f.
        assert into * (f / 1024) ** 2 / 3 == pytest.approx(variance, rel=2 / f + 1e-3)


@clause("REC-IDS")
def test_ids_are_scaled_draws_and_cover_the_vocabulary():
    config = Config(37, 1, 1, 4, 4)
    ids = recipe_ids(config, 4, 500)
    draws = splitmix64(((1 << 63) * 0x9E3779B97F4A7C15) % 2**64, 2000)
    assert ids.ravel().tolist() == [((u >> 32) * 37) >> 32 for u in draws]
    assert set(ids.ravel().tolist()) == set(range(37))


@clause("REC-MIXER", "REC-VALUES", "REC-FACTORS", "REC-IDS")
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node; .ci/run checks that there is one")
@pytest.mark.parametrize(
    ("config", "seed"),
    [(models.SMALL, 0), (models.TINY, 7), (Config(50, 1, 3, 9, 31, max_sequence_length=40, bucket_size=5), 2**63 + 1)],
)
def test_javascript_writes_the_same_bits(config, seed):
    sizes = [config.vocabulary_size, config.num_layers, config.num_heads, config.hidden_dim, config.intermediate_dim]
    arguments = [*sizes, config.bucket_size, 2, 5, seed]
    command = ["node", str(JAVASCRIPT), *map(str, arguments)]
    written = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    arrays = from_recipe(config, seed).arrays()
    ours = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    assert written == ours + recipe_ids(config, 2, 5, seed).astype("<i4").tobytes()
    assert len(JAVASCRIPT.read_text("utf-8").splitlines()) < 60


@pytest.mark.parametrize(
    "config",
    [Config(300, 12, 6, 384, 1536), Config(300, 4, 4, 48, 64, bucket_size=32, max_sequence_length=64)],
    ids=["extra small but its vocabulary", "small"],
)
def test_attention_has_a_spread_of_1_to_2_and_the_feed_forward_works_on_both_sides_of_gelu(config):
    ids = recipe_ids(config, 1, 48)
    taps = trace(from_recipe(config), models.inputs_of(ids))
    for n in range(config.num_layers):
        scores, inner = taps[f"layers.{n}.attention.scores"], taps[f"layers.{n}.feedforward.inner"]
        assert 1 < scores.std(axis=-1).mean() < 2
        for term in ("c2c", "c2p", "p2c"):
            assert taps[f"layers.{n}.attention.{term}"].std() / (3 * config.head_dim) ** 0.5 > 0.4
        assert 0.3 < (inner < 0).mean() < 0.7
        assert abs(taps[f"layers.{n}.output"]).max() < 10
        assert taps[f"layers.{n}.output"].std(axis=1).mean() > 0.4  # tokens stay different


def test_all_published_sizes_have_a_stream_for_every_parameter():
    assert max(len(shapes(Config(10, layers, 1, 1, 1))) for layers in (6, 12, 24)) < 2**23
