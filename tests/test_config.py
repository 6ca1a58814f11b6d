"""IN-CONFIG, and the published sizes."""

import dataclasses

import numpy as np
import pytest

from deberta_ref import Config, presets

clause = pytest.mark.clause

GOOD = {"vocabulary_size": 10, "num_layers": 2, "num_heads": 2, "hidden_dim": 4, "intermediate_dim": 6}


@clause("IN-CONFIG")
def test_defaults_are_those_of_the_published_models():
    config = Config(**GOOD)
    assert (config.dropout, config.max_sequence_length, config.bucket_size) == (0.1, 512, 256)
    assert (config.head_dim, config.num_relative) == (2, 512)


@clause("IN-CONFIG")
@pytest.mark.parametrize("field", [*GOOD, "max_sequence_length", "bucket_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"{field} must be at least \d; got {value}"):
        Config(**GOOD | {field: value})


@clause("IN-CONFIG")
@pytest.mark.parametrize("field", [*GOOD, "max_sequence_length", "bucket_size"])
@pytest.mark.parametrize("value", ["4", 4.0, None, True, [4]])
def test_what_is_no_integer_is_refused_by_name(field, value):
    with pytest.raises(TypeError, match=f"{field} must be an integer"):
        Config(**GOOD | {field: value})


@clause("IN-CONFIG")
def test_heads_that_do_not_divide_and_a_single_bucket_are_refused():
    with pytest.raises(ValueError, match="hidden_dim 4 and num_heads 3"):
        Config(**GOOD | {"num_heads": 3})
    with pytest.raises(ValueError, match="bucket_size must be at least 2; got 1"):
        Config(**GOOD, bucket_size=1)


@clause("IN-CONFIG")
@pytest.mark.parametrize(("value", "error"), [(1, ValueError), (-0.1, ValueError), (float("nan"), ValueError)])
def test_dropout_is_a_probability_below_one(value, error):
    with pytest.raises(error, match=r"dropout must be in \[0, 1\)"):
        Config(**GOOD, dropout=value)
    with pytest.raises(TypeError, match="dropout must be a number"):
        Config(**GOOD, dropout="0.1")


def test_numpy_integers_become_plain_ones_and_the_config_is_frozen():
    config = Config(**{name: np.int64(value) for name, value in GOOD.items()}, dropout=np.float32(0.5))
    assert config == Config(**GOOD, dropout=0.5)
    assert all(type(value) is int for name, value in vars(config).items() if name != "dropout")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_heads = 1


@pytest.mark.parametrize(
    ("name", "num_params"),
    [
        ("deberta_v3_extra_small_en", 70_682_112),
        ("deberta_v3_small_en", 141_304_320),
        ("deberta_v3_base_en", 183_831_552),
        ("deberta_v3_large_en", 434_012_160),
        ("deberta_v3_base_multi", 278_218_752),
    ],
)
def test_published_parameter_counts_follow_from_the_shapes(name, num_params):
    assert presets[name].num_params == num_params


def test_presets_cannot_be_changed():
    assert len(presets) == 5
    with pytest.raises(TypeError):
        presets["mine"] = presets["deberta_v3_base_en"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets["deberta_v3_base_en"].description = ""
