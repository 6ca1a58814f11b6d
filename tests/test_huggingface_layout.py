"""Directories in Hugging Face's and the authors' layouts: what loads, and the refusals that save a day."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import models
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torch_bins import saved, state_dict, tensor

from deberta_ref import Config, forward, from_preset, init, presets
from deberta_ref.checkpoints import architecture, locate, read_config
from deberta_ref.checkpoints.huggingface import tensor_name
from deberta_ref.params import shapes

CONFIG = models.SMALL


@pytest.fixture
def directory(tmp_path):
    models.random_params(CONFIG, np.random.default_rng(0), "float32").save(tmp_path / "model")
    return tmp_path / "model"


def same(directory, params):
    read = from_preset(directory)
    return all((read.arrays()[name] == array).all() for name, array in params.arrays().items())


def change_config(directory, **entries):
    path = directory / "config.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (old | entries).items() if value != "absent"}))


def change_tensors(directory, change):
    """Rewrite model.safetensors with what ``change`` makes of its tensors."""
    tensors = dict(load_file(directory / "model.safetensors"))
    save_file(
        {name: np.ascontiguousarray(array) for name, array in change(tensors).items()}, directory / "model.safetensors"
    )


def test_a_prefix_and_leftovers_are_served_and_what_is_left_out_is_logged(directory, caplog):
    params = from_preset(directory)
    extra = ["classifier.weight", "pooler.dense.bias", "lm_predictions.lm_head.bias", "mask_predictions.dense.weight"]
    extra += ["cls.predictions.bias", "deberta.embeddings.position_embeddings.weight", "qa_outputs.bias"]
    extra += ["deberta.embeddings.word_embeddings._weight", "deberta.embeddings.position_embeddings._weight"]
    change_tensors(directory, lambda t: {f"deberta.{n}": a for n, a in t.items()} | dict.fromkeys(extra, np.ones(3)))
    with caplog.at_level(logging.INFO, "deberta_ref"):
        assert same(directory, params)
    assert all(name.removeprefix("deberta.") in caplog.text for name in extra)


def test_a_wrappers_prefix_is_served_and_so_are_the_heads_under_it(directory):
    params = from_preset(directory)
    head = {"module.classifier.weight": np.ones(3)}
    change_tensors(directory, lambda t: {f"module.deberta.{n}": a for n, a in t.items()} | head)
    assert same(directory, params)


@pytest.mark.parametrize("name", ["embeddings.LayerNorm.weight", "encoder.layer.0.output.dense.bias"])
def test_a_name_without_the_prefix_replaces_nothing(directory, name):
    change_tensors(directory, lambda t: {f"deberta.{n}": a for n, a in t.items()} | {name: t[name] + 1})
    with pytest.raises(ValueError, match=rf"{name}, without the prefix deberta\. is unknown"):
        from_preset(directory)


def test_two_encoders_and_none_are_told_by_name(directory):
    change_tensors(directory, lambda t: {f"{p}.{n}": a for n, a in t.items() for p in ("generator", "discriminator")})
    with pytest.raises(ValueError, match=r"must hold one encoder; it has discriminator\.embeddings.* and generator\."):
        from_preset(directory)
    save_file({"deberta.encoder.rel_embeddings.weight": np.ones((16, 12), np.float32)}, directory / "model.safetensors")
    change_config(directory, num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"embeddings\.word_embeddings\.weight is missing.*encoder\.layer\.0"):
        from_preset(directory)


def test_more_layers_than_tensors_are_refused_at_once(directory):
    change_config(directory, num_hidden_layers=10**12)
    with pytest.raises(ValueError, match=r"config\.json has 1000000000000 layers, the weights 54 tensors"):
        from_preset(directory)


def test_unknown_missing_transposed_and_misshapen_tensors_are_all_named(directory):
    def change(tensors):
        del tensors["encoder.layer.0.attention.self.key_proj.bias"]
        tensors["encoder.layer.1.intermediate.dense.weight"] = tensors["encoder.layer.1.intermediate.dense.weight"].T
        tensors["encoder.rel_embeddings.weight"] = tensors["encoder.rel_embeddings.weight"][:15]
        return tensors | {"encoder.conv.conv.weight": np.ones((2, 2))}

    change_tensors(directory, change)
    with pytest.raises(ValueError, match="do not fit the configuration") as refusal:
        from_preset(directory)
    for part in (
        "encoder.layer.0.attention.self.key_proj.bias is missing, of shape (12,)",
        "encoder.layer.1.intermediate.dense.weight is transposed, with shape (12, 20) instead of (20, 12)",
        "encoder.rel_embeddings.weight has shape (15, 12) instead of (16, 12)",
        "encoder.conv.conv.weight is unknown, of shape (2, 2)",
    ):
        assert part in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "place"),
    [("embeddings.word_embeddings.weight", (39, 11)), ("encoder.layer.2.output.dense.bias", (3,))],
)
def test_a_value_that_is_not_finite_is_located(directory, name, place, value):
    def change(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name][place] = value
        return tensors

    change_tensors(directory, change)
    with pytest.raises(ValueError, match="allow_nonfinite=True") as refusal:
        from_preset(directory)
    assert f"{name} has {value} at {list(place)}" in str(refusal.value)
    read = from_preset(directory, allow_nonfinite=True)
    assert sum(np.sum(~np.isfinite(array)) for array in read.arrays().values()) == 1


def test_a_finite_sum_that_overflows_is_no_fault(directory):
    change_tensors(directory, lambda t: t | {"encoder.LayerNorm.bias": np.full(12, 3e38, np.float32)})
    assert from_preset(directory).relative_norm.bias[0] == np.float32(3e38)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000, -1])
def test_a_truncated_file_says_so(directory, keep):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is no complete safetensors file"):
        from_preset(directory)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"share_att_key": False}, "share_att_key is false and must be true"),
        ({"share_att_key": "absent"}, "share_att_key is missing and must be true"),
        ({"norm_rel_ebd": "absent"}, 'norm_rel_ebd is missing and must be "layer_norm"'),
        ({"norm_rel_ebd": "none"}, 'norm_rel_ebd is "none" and must be "layer_norm"'),
        ({"position_biased_input": True}, "position_biased_input is true and must be false"),
        ({"position_biased_input": "absent"}, "position_biased_input is missing and must be false"),
        ({"type_vocab_size": 2}, "type_vocab_size is 2 and must be 0"),
        ({"conv_kernel_size": 3}, "conv_kernel_size is 3 and must be 0"),
        ({"hidden_act": "gelu_new"}, 'hidden_act is "gelu_new" and must be "gelu"'),
        ({"pos_att_type": "c2p"}, 'pos_att_type is "c2p" and must be "p2c|c2p"'),
        ({"pos_att_type": ["p2c"]}, 'pos_att_type is ["p2c"]'),
        ({"pos_att_type": "absent"}, "pos_att_type is missing"),
        ({"pos_att_type": "c2p|p2c|p2p"}, "pos_att_type is"),
        ({"relative_attention": False}, "relative_attention is false and must be true"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05 and must be 1e-07"),
        ({"embedding_size": 6}, "embedding_size is 6 and must be 12 or absent"),
        ({"attention_head_size": 6}, "attention_head_size is 6 and must be 3 or absent"),
        ({"max_relative_positions": 32}, "max_relative_positions is 32 and must be 16 or absent"),
        ({"position_buckets": "absent"}, "position_buckets is missing"),
        ({"hidden_size": "12"}, "hidden_dim must be an integer"),
        ({"num_attention_heads": 5}, "hidden_dim must be a multiple of num_heads"),
    ],
)
def test_another_architecture_is_refused_with_the_field_and_why_it_matters(directory, entries, words):
    change_config(directory, **entries)
    with pytest.raises((ValueError, TypeError)) as refusal:
        from_preset(directory)
    assert words in str(refusal.value)
    assert "config.json" in str(refusal.value)


def test_every_difference_is_listed_at_once(directory):
    change_config(directory, share_att_key=False, type_vocab_size=2, hidden_act="relu")
    with pytest.raises(ValueError, match=r"type_vocab_size.*share_att_key.*hidden_act"):
        from_preset(directory)


@pytest.mark.parametrize(
    "entries",
    [
        {"pos_att_type": ["c2p", "p2c"]},
        {"pos_att_type": "c2p|p2c"},
        {"max_relative_positions": 16},
        {"attention_head_size": 3, "embedding_size": 12, "padding_idx": 0},
        {"hidden_dropout_prob": "absent", "model_type": "absent"},
        {"conv_kernel_size": 0},
    ],
)
def test_other_ways_to_say_the_same_are_served(directory, entries):
    expected = from_preset(directory).config
    change_config(directory, **entries)
    assert from_preset(directory).config == expected


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\udcff", "[" * 100_000])
def test_a_config_that_is_no_json_object_says_so(directory, text):
    (directory / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"config\.json (is no complete JSON file|must hold a JSON object)"):
        from_preset(directory)


def shard(directory, suffix=".safetensors", write=save_file):
    """Cut model.safetensors into two shards with an index."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    stem = {".safetensors": "model", ".bin": "pytorch_model"}[suffix]
    places = {}
    for n in (1, 2):
        part = {name: array for k, (name, array) in enumerate(sorted(tensors.items())) if k % 2 == n - 1}
        write(part, directory / f"{stem}-0000{n}-of-00002{suffix}")
        places |= dict.fromkeys(part, f"{stem}-0000{n}-of-00002{suffix}")
    index = directory / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("container", ["zip", "pickles"])
def test_weights_of_either_container_of_torch_load(directory, container):
    tensors = load_file(directory / "model.safetensors")
    expected = {name: array.copy() for name, array in from_preset(directory).arrays().items()}
    (directory / "model.safetensors").unlink()
    write_bin(tensors, directory / "pytorch_model.bin", container)
    assert all((from_preset(directory).arrays()[name] == array).all() for name, array in expected.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_with_an_index_load(directory, suffix):
    params = from_preset(directory)
    expected = {name: array.copy() for name, array in params.arrays().items()}
    shard(directory, suffix, save_file if suffix == ".safetensors" else write_bin)
    read = from_preset(directory)
    assert all((read.arrays()[name] == array).all() for name, array in expected.items())


def test_a_missing_shard_and_one_that_leads_elsewhere_are_refused(directory):
    index = shard(directory)
    (directory / "model-00002-of-00002.safetensors").rename(directory / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"names model-00002-of-00002\.safetensors, which is not beside it"):
        from_preset(directory)
    for place in ("../model.safetensors", "/etc/model.safetensors", "model.bin", 3):
        index.write_text(json.dumps({"weight_map": {"a": place}}))
        with pytest.raises(ValueError, match=r"must (name \.safetensors files beside it|map names of tensors)"):
            from_preset(directory)


def test_a_tensor_in_two_shards_or_another_shard_than_the_index_says_is_refused(directory):
    index = shard(directory)
    first, second = (directory / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    tensors = load_file(second)
    doubled = next(iter(load_file(first)))
    save_file(tensors | {doubled: np.zeros(3, np.float32)}, second)
    with pytest.raises(ValueError, match=f"must agree on what is in that shard; they differ on {doubled}"):
        from_preset(directory)
    places = json.loads(index.read_text())
    places["weight_map"][doubled] = second.name
    index.write_text(json.dumps(places))
    with pytest.raises(ValueError, match=f"differ on {doubled}"):
        from_preset(directory)


def write_bin(tensors, path, container="zip"):
    state = state_dict({name: tensor(array, array.dtype.name, array.shape) for name, array in tensors.items()})
    path.write_bytes(saved(state, container))


def test_the_authors_layout_loads(directory, tmp_path):
    params = from_preset(directory)
    released = tmp_path / "released"
    released.mkdir()
    entries = json.loads((directory / "config.json").read_text()) | {"padding_idx": 0, "attention_head_size": 3}
    del entries["model_type"], entries["pad_token_id"]
    (released / "model_config.json").write_text(json.dumps(entries))
    tensors = load_file(directory / "model.safetensors")
    heads = {"lm_predictions.lm_head.bias": np.ones(40, np.float32)}
    write_bin({f"deberta.{name}": array for name, array in tensors.items()} | heads, released / "pytorch_model.bin")
    assert same(released, params)
    assert read_config(released) == CONFIG


def test_saving_over_another_layout_wins(directory, tmp_path):
    authors = tmp_path / "authors"
    authors.mkdir()
    shutil.copyfile(directory / "config.json", authors / "model_config.json")
    write_bin(load_file(directory / "model.safetensors"), authors / "pytorch_model.bin")
    new = init(CONFIG, seed=5)
    new.save(authors)
    assert same(authors, new)


def test_the_interleaved_projections_of_the_first_version_are_refused_by_name(directory):
    change_tensors(directory, lambda t: t | {"encoder.layer.0.attention.self.in_proj.weight": np.ones((36, 12))})
    with pytest.raises(ValueError, match=r"encoder\.layer\.0\.attention\.self\.in_proj\.weight is unknown"):
        from_preset(directory)


def test_half_precision_is_kept_as_stored_and_computed_in_float32(directory):
    expected = from_preset(directory).astype("float16")
    expected.save(directory)
    read = from_preset(directory)
    assert read.dtype == np.float16
    y = forward(read, models.inputs_of([[1, 2, 3]]))
    assert y.dtype == np.float32
    assert (y == forward(expected.astype("float32"), models.inputs_of([[1, 2, 3]]))).all()
    assert from_preset(directory, dtype="float64").dtype == np.float64


def test_bfloat16_becomes_float32_exactly(directory):
    expected = {name: array.copy() for name, array in from_preset(directory).arrays().items()}
    tensors = load_file(directory / "model.safetensors")
    rounded = {name: (np.ascontiguousarray(a).view(np.uint32) >> 16).astype(np.uint16) for name, a in tensors.items()}
    header, offset, data = {}, 0, b""
    for name, bits in rounded.items():
        header[name] = {"dtype": "BF16", "shape": bits.shape, "data_offsets": [offset, offset + bits.nbytes]}
        offset, data = offset + bits.nbytes, data + bits.tobytes()
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    read = from_preset(directory)
    for name in shapes(CONFIG):
        truncated = expected[name].view(np.uint32) & np.uint32(0xFFFF0000)
        assert (read.arrays()[name].view(np.uint32) == truncated).all()


def test_weights_are_mapped_not_copied(directory):
    base = from_preset(directory).layers[0].up.weight
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, (np.memmap, memoryview)) or hasattr(base, "tell")


def test_a_misaligned_file_gives_aligned_arrays(directory):
    path = directory / "model.safetensors"
    expected = {name: array.copy() for name, array in from_preset(directory).arrays().items()}
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + size].rstrip() + b" "
    header += b" " * (3 - len(header) % 4)
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + size :])
    for name, array in from_preset(directory).arrays().items():
        assert array.flags.aligned
        assert (array == expected[name]).all()


def test_a_leftover_of_a_type_that_numpy_lacks_is_left_out_and_a_parameter_refused(directory):
    path = directory / "model.safetensors"

    def add(name):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        end = len(raw) - 8 - size
        header[name] = {"dtype": "F8_E4M3", "shape": [12], "data_offsets": [end, end + 12]}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :] + b"\0" * 12)

    kept = path.read_bytes()
    add("classifier.bias")
    assert from_preset(directory).config == CONFIG
    path.write_bytes(kept)
    change_tensors(directory, lambda t: {n: a for n, a in t.items() if n != "encoder.LayerNorm.bias"})
    add("encoder.LayerNorm.bias")
    with pytest.raises(TypeError, match="must be of float16, bfloat16, float32, float64; got ndarray of uint8"):
        from_preset(directory)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="private memory is read from Linux's /proc")
def test_opening_keeps_nothing_in_private_memory(tmp_path):
    init(Config(200_000, 1, 1, 64, 64)).save(tmp_path)  # 51 MB
    script = """
import sys
from pathlib import Path
import deberta_ref
def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
deberta_ref.from_preset("deberta_v3_demo_en")  # imports are done
before = private()
params = deberta_ref.from_preset(sys.argv[1])
print(private() - before)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 8_000  # kB, of 51,000


@pytest.mark.parametrize(
    ("handle", "error", "words"),
    [(None, TypeError, "a str or a path; got None"), (b"x", TypeError, "got b'x'"), ("", FileNotFoundError, "got ''")],
)
def test_what_is_no_handle_is_refused(handle, error, words):
    with pytest.raises(error, match=words):
        from_preset(handle)


@pytest.mark.parametrize("name", presets)
def test_the_name_of_a_preset_leads_to_its_repository(name, monkeypatch, tmp_path):
    repositories = {
        "deberta_v3_extra_small_en": "microsoft/deberta-v3-xsmall",
        "deberta_v3_small_en": "microsoft/deberta-v3-small",
        "deberta_v3_base_en": "microsoft/deberta-v3-base",
        "deberta_v3_large_en": "microsoft/deberta-v3-large",
        "deberta_v3_base_multi": "microsoft/mdeberta-v3-base",
    }
    asked = []
    monkeypatch.setattr("deberta_ref.checkpoints.hub.download", lambda *a, **k: asked.append((a, k)) or tmp_path)
    assert locate(name) == tmp_path
    assert locate(Path(name), weights=False) == tmp_path
    assert [(a[0], k["weights"]) for a, k in asked] == [(f"hf://{repositories[name]}", w) for w in (True, False)]
    assert read_config(Path(name)) == presets[name].config


def test_an_unknown_dtype_is_refused_before_anything_is_opened(monkeypatch):
    monkeypatch.setattr("deberta_ref.checkpoints.locate", lambda *_, **__: pytest.fail("opened something"))
    with pytest.raises(ValueError, match="got 'int8'"):
        from_preset("deberta_v3_base_en", dtype="int8")


@pytest.mark.parametrize("dtype", [None, "float16", "float64"])
def test_random_parameters_of_a_preset_have_the_type_asked_for(directory, dtype):
    assert from_preset(directory, load_weights=False, dtype=dtype).dtype == (dtype or "float32")


def test_sizes_without_weights_come_from_the_config_alone(directory):
    (directory / "model.safetensors").unlink()
    read = from_preset(directory, load_weights=False)
    assert (read.token_embedding == init(CONFIG).token_embedding).all()
    with pytest.raises(FileNotFoundError, match=r"must hold model\.safetensors or pytorch_model\.bin"):
        from_preset(directory)


def test_a_directory_without_a_config_lists_what_a_handle_may_be(directory):
    shutil.move(directory / "config.json", directory / "other.json")
    with pytest.raises(FileNotFoundError, match=r"must hold config\.json or model_config\.json"):
        from_preset(directory)


def test_every_feature_field_has_its_refusal():
    tested = {"share_att_key", "norm_rel_ebd", "position_biased_input", "type_vocab_size", "conv_kernel_size"}
    tested |= {"hidden_act", "pos_att_type", "relative_attention", "layer_norm_eps"}
    assert set(architecture.FEATURES) == tested


def test_names_are_those_of_transformers():
    assert tensor_name("token_embedding") == "embeddings.word_embeddings.weight"
    assert tensor_name("layers.11.feedforward_norm.scale") == "encoder.layer.11.output.LayerNorm.weight"
    assert tensor_name("layers.0.query.bias") == "encoder.layer.0.attention.self.query_proj.bias"
    assert len({tensor_name(name) for name in shapes(CONFIG)}) == len(shapes(CONFIG))
