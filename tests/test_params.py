"""Parameters: names, shapes, types, initialisation, saving."""

import copy
import dataclasses
import hashlib
import json
import pickle
import re
import statistics

import models
import numpy as np
import pytest
from safetensors.numpy import load_file

from deberta_ref import Config, Params, forward, from_preset, init
from deberta_ref.initialisation import HALF_MASS, truncated_normal
from deberta_ref.ownership import is_owned
from deberta_ref.params import shapes

clause = pytest.mark.clause

CONFIG = models.SMALL


def test_every_array_has_a_field_and_counts():
    params = init(CONFIG)
    assert params.layers[2].down.weight.shape == (12, 20)
    assert params.token_embedding.shape == (40, 12)
    assert params.relative_embedding.shape == (16, 12)
    assert params.num_params == sum(array.size for array in params.arrays().values())
    assert {name: array.shape for name, array in params.arrays().items()} == shapes(CONFIG)


def test_parameters_are_read_only_and_those_given_stay_writeable():
    arrays = {name: array.copy() for name, array in init(CONFIG).arrays().items()}
    params = Params.from_arrays(CONFIG, arrays)
    with pytest.raises(ValueError, match="read-only"):
        params.token_embedding[0, 0] = 1
    arrays["token_embedding"][0, 0] = 1
    with pytest.raises(AttributeError):
        params.config = None


def test_missing_unknown_and_misshapen_parameters_are_all_listed():
    arrays = dict(init(CONFIG).arrays())
    del arrays["layers.0.up.bias"]
    arrays["layers.3.up.bias"] = np.zeros(20)
    arrays["layers.1.up.weight"] = arrays["layers.1.up.weight"].T
    with pytest.raises(ValueError, match="do not fit") as refusal:
        Params.from_arrays(CONFIG, arrays)
    for part in (
        "layers.0.up.bias is missing",
        "layers.3.up.bias is unknown",
        "layers.1.up.weight is transposed, with shape (12, 20)",
    ):
        assert part in str(refusal.value)


@pytest.mark.parametrize("dtype", ["int32", "complex64", "object"])
def test_parameters_that_are_no_floating_point_numbers_are_refused(dtype):
    arrays = dict(init(CONFIG).arrays())
    arrays["embeddings_norm.bias"] = np.zeros(12, dtype)
    with pytest.raises(TypeError, match=r"embeddings_norm\.bias must be of float16, bfloat16, float32, float64; got"):
        Params.from_arrays(CONFIG, arrays)


def test_parameters_are_checked_however_they_are_built():
    params = init(CONFIG)
    with pytest.raises(ValueError, match="layers must be 3"):
        dataclasses.replace(params, layers=params.layers[:2])
    with pytest.raises(ValueError, match="token_embedding has shape"):
        dataclasses.replace(params, token_embedding=params.token_embedding[:5])
    with pytest.raises(TypeError, match=r"config must be a deberta_ref\.Config; got dict"):
        Params.from_arrays({}, params.arrays())
    with pytest.raises(TypeError, match="token_embedding must be an array"):
        Params.from_arrays(CONFIG, dict(params.arrays()) | {"token_embedding": [[1.0], [1.0, 2.0]]})


def test_the_type_of_parameters_is_the_widest_of_theirs():
    arrays = dict(init(CONFIG, dtype="float16").arrays())
    assert Params.from_arrays(CONFIG, arrays).dtype == np.float16
    arrays["layers.2.down.bias"] = arrays["layers.2.down.bias"].astype(np.float64)
    assert Params.from_arrays(CONFIG, arrays).dtype == np.float64


def test_initial_values_are_truncated_normal_zero_and_one():
    arrays = init(Config(3000, 1, 2, 64, 256), dtype="float64").arrays()
    for name, array in arrays.items():
        if name.endswith(".bias"):
            assert (array == 0).all()
        elif name.endswith(".scale"):
            assert (array == 1).all()
        else:
            assert abs(array).max() <= 0.04
            # The deviation of a normal distribution cut at two deviations is 0.8796 of the uncut one; 4096 draws or
            # more estimate it to 1.5 %.
            assert array.std() == pytest.approx(0.02 * 0.87962, rel=0.05)
            assert abs(array.mean()) < 4 * 0.02 / array.size**0.5


def test_draws_are_quantiles_of_the_cut_normal_distribution():
    raw = np.linspace(0, 2**64 - 2**12, 1001).astype(np.uint64)
    normal = statistics.NormalDist()
    uniform = ((raw >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53
    expected = [0.02 * normal.inv_cdf(0.5 + (2 * u - 1) * HALF_MASS) for u in uniform]
    assert np.allclose(truncated_normal(raw), expected, rtol=1e-9, atol=1e-15)
    assert pytest.approx(normal.cdf(2) - 0.5, rel=1e-15) == HALF_MASS


def test_the_same_seed_gives_the_same_bits_everywhere():
    digest = hashlib.sha256()
    for array in init(CONFIG, seed=7).arrays().values():
        digest.update(array.astype("<f4").tobytes())
    assert digest.hexdigest() == "61883ca7c9ed8d59bdefdf81bdd51eab85bd5b7b1705a449971ab28af4eca42c"


def test_seeds_differ_and_float64_rounds_to_float32():
    one, other = init(CONFIG, seed=1), init(CONFIG, seed=2)
    assert (one.token_embedding != other.token_embedding).any()
    wide = init(CONFIG, seed=1, dtype="float64")
    for name, array in one.arrays().items():
        assert array.dtype == np.float32
        assert (wide.arrays()[name].astype(np.float32) == array).all()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"seed": -1}, ValueError, "seed must be at least 0; got -1"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"dtype": "mixed_float16"}, ValueError, "'bfloat16' or 'float32' or 'float64'; got 'mixed_float16'"),
        ({"dtype": "int8"}, ValueError, "got 'int8'"),
        ({"dtype": 3}, TypeError, "got 3"),
    ],
)
def test_unusable_arguments_of_init_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        init(CONFIG, **arguments)
    with pytest.raises(TypeError, match=r"must be a deberta_ref\.Config"):
        init({"num_layers": 1})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_saved_parameters_come_back_bit_for_bit(tmp_path, dtype):
    params = models.random_params(CONFIG, np.random.default_rng(0), dtype)
    params.save(tmp_path / "new" / "model")
    read = from_preset(str(tmp_path / "new" / "model"))
    assert read.config == CONFIG
    assert read.dtype == dtype
    for name, array in params.arrays().items():
        assert (read.arrays()[name] == array).all()


@clause("VEC-FILES")
def test_a_saved_directory_has_the_hugging_face_layout(tmp_path):
    init(CONFIG).save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "architectures": ["DebertaV2Model"],
        "attention_probs_dropout_prob": 0.1,
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 12,
        "initializer_range": 0.02,
        "intermediate_size": 20,
        "layer_norm_eps": 1e-7,
        "max_position_embeddings": 16,
        "max_relative_positions": -1,
        "model_type": "deberta-v2",
        "norm_rel_ebd": "layer_norm",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "pad_token_id": 0,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "position_buckets": 8,
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
        "vocab_size": 40,
    }
    found = {name: array.shape for name, array in load_file(tmp_path / "model.safetensors").items()}
    linear = {
        "attention.self.query_proj": (12, 12),
        "attention.self.key_proj": (12, 12),
        "attention.self.value_proj": (12, 12),
        "attention.output.dense": (12, 12),
        "intermediate.dense": (20, 12),
        "output.dense": (12, 20),
    }
    expected = {"embeddings.word_embeddings.weight": (40, 12), "encoder.rel_embeddings.weight": (16, 12)}
    for name in ("embeddings.LayerNorm", "encoder.LayerNorm"):
        expected |= {f"{name}.weight": (12,), f"{name}.bias": (12,)}
    for n in range(3):
        for name, shape in linear.items():
            expected |= {f"encoder.layer.{n}.{name}.weight": shape, f"encoder.layer.{n}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            expected |= {f"encoder.layer.{n}.{name}.weight": (12,), f"encoder.layer.{n}.{name}.bias": (12,)}
    assert found == expected


def test_saving_again_replaces_the_files_and_leaves_no_others(tmp_path):
    init(CONFIG, seed=1).save(tmp_path)
    opened = from_preset(str(tmp_path))
    before = opened.token_embedding.copy()
    init(CONFIG, seed=2).save(tmp_path)
    assert (opened.token_embedding == before).all()  # still mapped from the file that was replaced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_astype_casts_every_parameter():
    params = init(CONFIG).astype("float16")
    assert {array.dtype for array in params.arrays().values()} == {np.dtype("float16")}
    with pytest.raises(ValueError, match="got 'int32'"):
        params.astype("int32")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_parameters_that_have_the_type_are_given_back_themselves(dtype):
    params = init(CONFIG, dtype=dtype)
    assert params.astype(dtype) is params
    assert params.computed_in(dtype)[0] is params
    one = with_arrays(params, embeddings_norm__bias=np.zeros(12, "float64" if dtype != "float64" else "float32"))
    assert one.astype(dtype) is not one
    assert one.astype(dtype) == params


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (1e5, "float16", "±65504, the range of float16; got 100000: use bfloat16 or float32 or float64."),
        (-1e30, "float16", "±65504, the range of float16; got 1e+30: use bfloat16 or float32 or float64."),
        (3.4e38, "bfloat16", "±3.38953e+38, the range of bfloat16; got 3.4e+38: use float32 or float64."),
        (1e39, "float32", "±3.40282e+38, the range of float32; got 1e+39: use float64."),
        (1e300, "float16", "±65504, the range of float16; got 1e+300: use float64."),
    ],
)
def test_numbers_too_large_for_a_type_are_refused_with_its_range_and_the_types_that_hold_them(value, dtype, words):
    large = with_arrays(init(CONFIG), embeddings_norm__bias=np.append(np.zeros(11), value))
    with pytest.raises(ValueError, match=f"^embeddings_norm.bias must be within {re.escape(words)}$"):
        large.astype(dtype)


def test_a_policy_is_no_type_of_parameters_and_the_refusal_says_which_is():
    for refuse in (init(CONFIG).astype, lambda name: from_preset("deberta_v3_demo_en", dtype=name)):
        with pytest.raises(ValueError, match=r"got 'mixed_bfloat16', a policy .* kept in float32: take 'float32' here"):
            refuse("mixed_bfloat16")


def with_arrays(params, **arrays):
    return Params.from_arrays(
        params.config, params.arrays() | {name.replace("__", "."): a for name, a in arrays.items()}
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_parameters_equal_a_copy_of_theirs_and_no_others(dtype):
    params = init(CONFIG, dtype=dtype)
    assert params == params  # noqa: PLR0124 - equality is ours
    assert params == init(CONFIG, dtype=dtype)
    assert hash(params) == hash(init(CONFIG, dtype=dtype))
    assert params == with_arrays(params, layers__0__up__weight=np.asfortranarray(params.layers[0].up.weight))
    assert params != init(CONFIG, seed=1, dtype=dtype)
    assert params != dataclasses.replace(params, config=dataclasses.replace(CONFIG, dropout=0.5))
    assert params != params.arrays()
    kind = np.dtype("float32" if dtype == "float64" else "float64")
    assert params != params.astype(kind)
    assert params != with_arrays(params, embeddings_norm__scale=params.embeddings_norm.scale.astype(kind))


def test_parameters_are_compared_bit_for_bit():
    params = init(CONFIG)
    nan, zero = np.full(12, np.nan, np.float32), np.zeros(12, np.float32)
    assert with_arrays(params, embeddings_norm__bias=nan) == with_arrays(params, embeddings_norm__bias=nan.copy())
    assert with_arrays(params, embeddings_norm__bias=zero) != with_arrays(params, embeddings_norm__bias=-zero)


TWINS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle-{n}": lambda params, n=n: pickle.loads(pickle.dumps(params, n)) for n in (2, 4, 5)},  # noqa: S301 - its own
}


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("source", ["init", "mapped", "transposed"])
def test_a_copy_of_parameters_is_equal_and_read_only(twin, source, tmp_path):
    params = init(CONFIG)
    if source == "mapped":
        params.save(tmp_path)
        params = from_preset(tmp_path)
    elif source == "transposed":
        params = with_arrays(params, layers__0__up__weight=np.asfortranarray(params.layers[0].up.weight))
    made = TWINS[twin](params)
    assert made == params
    assert hash(made) == hash(params)
    assert made.dtype == params.dtype
    for array in made.arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
        if twin != "copy":  # whose arrays are the same, of whoever made them
            assert is_owned(array)
    inputs = models.random_inputs(CONFIG, np.random.default_rng(0), T=9)
    assert (forward(made, inputs) == forward(params, inputs)).all()


def test_a_deep_copy_does_not_follow_the_arrays_that_parameters_were_made_of():
    arrays = {name: array.copy() for name, array in init(CONFIG).arrays().items()}
    params = Params.from_arrays(CONFIG, arrays)
    twin = copy.deepcopy(params)
    arrays["token_embedding"][0, 0] = 7
    assert params.token_embedding[0, 0] == 7
    assert twin.token_embedding[0, 0] != 7
    arrays["token_embedding"].flags.writeable = True  # and stay their owner's


def test_pickled_outside_of_the_stream_parameters_still_own_their_numbers():
    buffers = []
    content = pickle.dumps(init(CONFIG), 5, buffer_callback=buffers.append)
    theirs = [bytearray(buffer.raw()) for buffer in buffers]
    params = pickle.loads(content, buffers=theirs)  # noqa: S301 - its own
    for memory in theirs:
        memory[:] = bytes(len(memory))
    assert params == init(CONFIG)
