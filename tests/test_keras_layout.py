"""The KerasHub layout: what is written comes back bit for bit, what is wrong is refused, and keras-hub agrees."""

import json
import os
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import models
import numpy as np
import pytest
import sentencepiece
from safetensors.numpy import load_file, save_file

import deberta_ref
from deberta_ref.checkpoints import keras

h5py = pytest.importorskip("h5py")

CONFIG = deberta_ref.Config(60, num_layers=2, num_heads=3, hidden_dim=24, intermediate_dim=40, bucket_size=8)
MANY_LAYERS = deberta_ref.Config(20, num_layers=12, num_heads=2, hidden_dim=8, intermediate_dim=6, bucket_size=4)
ENCODER = "layers/disentangled_attention_encoder"
EMBEDDING = "layers/reversible_embedding/vars/0"


def random_params(config=CONFIG, dtype="float32"):
    return models.random_params(config, np.random.default_rng(7), dtype)


def assert_same(left, right):
    assert left.config == right.config
    for (name, a), b in zip(left.arrays().items(), right.arrays().values(), strict=True):
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name


@pytest.fixture
def preset(tmp_path):
    keras.write(random_params(), tmp_path)
    return tmp_path


def edited(preset):
    return h5py.File(preset / keras.WEIGHTS, "r+")


def refusal(preset, kind=ValueError):
    with pytest.raises(kind) as caught:
        keras.read(preset)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("config", [CONFIG, MANY_LAYERS, deberta_ref.Config(1, 1, 1, 1, 1, 0.0, 1, 2)])
def test_read_gives_back_bit_for_bit_what_write_wrote(tmp_path, config, dtype):
    params = random_params(config, dtype)
    keras.write(params, tmp_path)
    assert_same(keras.read(tmp_path), params)


def test_read_gives_back_mixed_types_and_every_bit_of_nan_infinity_and_minus_zero(tmp_path):
    arrays = {name: array.copy() for name, array in random_params().arrays().items()}
    arrays["layers.1.value.weight"][0, :3] = -0.0, np.inf, np.uint32(0x7FC12345).view(np.float32)
    arrays["token_embedding"] = arrays["token_embedding"].astype(np.float16)
    arrays["relative_norm.bias"] = arrays["relative_norm.bias"].astype(np.float64)
    params = deberta_ref.Params.from_arrays(CONFIG, arrays)
    keras.write(params, tmp_path)
    assert_same(keras.read(tmp_path, allow_nonfinite=True), params)


def test_write_leaves_three_files_and_the_same_bytes_each_time(preset):
    files = {path.name: path.read_bytes() for path in preset.iterdir()}
    assert files.keys() == {"config.json", "metadata.json", "model.weights.h5"}
    keras.write(random_params(), preset)
    assert files == {path.name: path.read_bytes() for path in preset.iterdir()}


def test_matrices_stand_in_the_file_as_keras_multiplies_them(preset):
    params = random_params()
    with h5py.File(preset / keras.WEIGHTS) as file:
        query = file[f"{ENCODER}_1/_self_attention_layer/_query_dense/vars/0"][()]
        down = file[f"{ENCODER}/_feedforward_output_dense/vars/0"][()]
    assert query.shape == (24, 3, 8)  # (D, H, d)
    assert np.array_equal(query[:, 2, 5], params.layers[1].query.weight[2 * 8 + 5])
    assert np.array_equal(down, params.layers[0].down.weight.T)


def test_recognises_the_config_of_a_backbone_and_nothing_else(preset, tmp_path_factory):
    assert keras.recognises(preset)
    other = tmp_path_factory.mktemp("other")
    assert not keras.recognises(other)
    random_params().save(other)
    assert not keras.recognises(other)
    for text in ("", "[]", "null", "[" * 100_000, '{"class_name": "BertBackbone"}'):
        (other / "config.json").write_text(text)
        assert not keras.recognises(other)


def test_layers_are_found_by_their_true_names_however_the_groups_are_numbered(tmp_path):
    params = random_params(MANY_LAYERS)
    keras.write(params, tmp_path)
    with edited(tmp_path) as file:
        for n in range(12):
            file.move(f"{ENCODER}_{n}" if n else ENCODER, f"layers/moved_{n}")
        for n in range(12):
            file.move(f"layers/moved_{n}", f"{ENCODER}_{(5 * n + 3) % 12}")
        file.move("layers/reversible_embedding", "layers/embedding_4")
    assert_same(keras.read(tmp_path), params)


def test_layers_without_a_name_are_found_by_keras_numbering_10_after_9(tmp_path):
    params = random_params(MANY_LAYERS)
    keras.write(params, tmp_path)
    with edited(tmp_path) as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]
    assert_same(keras.read(tmp_path), params)


def test_two_groups_of_one_name_are_refused(preset):
    with edited(preset) as file:
        file[f"{ENCODER}_1/vars"].attrs["name"] = "disentangled_attention_encoder_layer_0"
    text = refusal(preset)
    assert "disentangled_attention_encoder_layer_0/_self_attention_layer/_query_dense/vars/0 is there twice" in text
    assert "disentangled_attention_encoder_layer_1/_feedforward_layer_norm/vars/1 is missing, of shape (24,)" in text


def test_every_missing_unknown_misshapen_and_transposed_array_is_named(preset):
    with edited(preset) as file:
        del file["layers/layer_normalization/vars/1"]
        del file[f"{ENCODER}/_self_attention_layer/_key_dense"]
        file[f"{ENCODER}/_self_attention_layer/_key_dense/vars/2"] = np.zeros(3, np.float32)
        file["layers/extra/vars/0"] = np.zeros(3, np.float32)
        file["optimizer/vars/0"] = np.zeros(3, np.int32)  # of a trained model: left out
        up = file[f"{ENCODER}_1/_feedforward_intermediate_dense/vars"]
        turned = up["0"][()].T
        del up["0"]
        up["0"] = turned
        del file[EMBEDDING]
        file[EMBEDDING] = np.zeros((61, 24), np.float32)
    text = refusal(preset)
    layer = "disentangled_attention_encoder_layer_0/_self_attention_layer"
    assert text.startswith(f"{preset}: these weights do not fit config.json: ")
    for fault in (
        "embeddings_layer_norm/vars/1 is missing, of shape (24,)",
        f"{layer}/_key_dense/vars/0 is missing, of shape (24, 3, 8)",
        f"{layer}/_key_dense/vars/1 is missing, of shape (3, 8)",
        f"{layer}/_key_dense/vars/2 is unknown",
        "layers/extra/vars/0 is unknown",
        "_feedforward_intermediate_dense/vars/0 is transposed, of shape (40, 24) instead of (24, 40)",
        "token_embedding/vars/0 has shape (61, 24) instead of (60, 24)",
    ):
        assert fault in text
    assert text.count(";") == 6


def test_a_file_cut_short_anywhere_is_refused_by_name(preset):
    path = preset / keras.WEIGHTS
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 997), 1, 8, 96, len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert refusal(preset).startswith(f"{path} is no complete HDF5 file: ")


def test_a_file_of_another_kind_is_refused_by_name(preset):
    path = preset / keras.WEIGHTS
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 50)
    assert refusal(preset).startswith(f"{path} is no complete HDF5 file: ")


def test_missing_weights_are_named(preset):
    (preset / keras.WEIGHTS).unlink()
    assert (
        refusal(preset, FileNotFoundError) == f"{preset} must hold model.weights.h5. Fetch or write the preset again."
    )


def test_a_link_is_refused_and_not_followed(preset, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.h5"
    with h5py.File(elsewhere, "w") as other:
        other["0"] = np.ones((60, 24), np.float32)
    links = {
        "SoftLink": h5py.SoftLink("/layers/relative_embedding/vars/0"),
        "ExternalLink": h5py.ExternalLink(str(elsewhere), "0"),
    }
    for kind, link in links.items():
        with edited(preset) as file:
            del file[EMBEDDING]
            file[EMBEDDING] = link
        assert f"{EMBEDDING} must be a group or an array under its only name; got {kind}, " in refusal(preset)


@pytest.mark.parametrize("target", ["/", "/layers", "/layers/layer_normalization/vars/0"])
def test_a_second_name_is_refused_so_that_no_walk_is_endless(preset, target):
    with edited(preset) as file:
        file["layers/again"] = file[target]
    assert "must be a group or an array under its only name; got a second name, " in refusal(preset)


def test_a_named_type_is_refused(preset):
    with edited(preset) as file:
        file["layers/type"] = np.dtype("f4")
    assert "layers/type must be a group or an array under its only name; got Datatype, " in refusal(preset)


def test_numbers_in_chunks_or_in_other_files_are_refused(preset, tmp_path_factory):
    raw = tmp_path_factory.mktemp("elsewhere") / "raw"
    raw.write_bytes(bytes(60 * 24 * 4))
    source = h5py.VirtualSource(str(raw), "0", (60, 24), np.float32)
    layout = h5py.VirtualLayout((60, 24), np.float32)
    layout[:] = source
    for make in (
        lambda group: group.create_dataset("0", (60, 24), "f4", external=[(str(raw), 0, 60 * 24 * 4)]),
        lambda group: group.create_virtual_dataset("0", layout),
        lambda group: group.create_dataset("0", (60, 24), "f4", chunks=(1, 24)),
        lambda group: group.create_dataset("0", (1 << 40, 24), "f4", chunks=(1, 24), compression="gzip"),
    ):
        with edited(preset) as file:
            del file[EMBEDDING]
            make(file["layers/reversible_embedding/vars"])
        assert f"{EMBEDDING} must lie in the file in one piece" in refusal(preset)


def test_a_shape_larger_than_what_is_stored_is_refused_before_it_is_allocated(preset):
    with edited(preset) as file:
        del file[EMBEDDING]
        file.create_dataset(EMBEDDING, (1 << 40, 24), "f4")  # never written, so that nothing is stored
    assert f"{EMBEDDING} declares {24 * 4 << 40} bytes, and the file has 0" in refusal(preset)


def test_a_shape_and_a_size_that_both_lie_are_refused_before_they_are_allocated(preset):
    path = preset / keras.WEIGHTS
    sizes, lies = struct.pack("<QQ", 60, 24), struct.pack("<QQ", 60 << 30, 24)
    stored, lie = struct.pack("<Q", 60 * 24 * 4), struct.pack("<Q", 60 * 24 * 4 << 30)
    content = path.read_bytes()
    assert sizes in content
    assert stored in content
    path.write_bytes(content.replace(sizes, lies).replace(stored, lie))
    assert f"declares {60 * 24 * 4 << 30} bytes" in refusal(preset) or "no complete HDF5 file" in refusal(preset)


def test_types_that_are_no_floating_point_numbers_are_refused(preset):
    for values in (np.zeros((60, 24), np.int8), np.zeros((60, 24), np.complex64), np.zeros((60, 24), "V2")):
        with edited(preset) as file:
            del file[EMBEDDING]
            file[EMBEDDING] = values
        assert f"{EMBEDDING} must be of float16, bfloat16, float32, float64; got " in refusal(preset)
    with edited(preset) as file:
        del file[EMBEDDING]
        file.create_dataset(EMBEDDING, (60, 24), h5py.special_dtype(vlen=str))[0, 0] = "text"
    assert "got object" in refusal(preset)


def test_bfloat16_as_keras_writes_it_is_widened_exactly(preset):
    values = random_params().token_embedding
    upper = (values.view(np.uint32) >> 16).astype("<u2")  # a bfloat16 is the upper half of a float32
    with edited(preset) as file:
        del file[EMBEDDING]
        file.create_dataset(EMBEDDING, data=upper.view("V2")).attrs["dtype"] = "bfloat16"
    found = keras.read(preset).token_embedding
    assert found.dtype == np.float32
    assert np.array_equal(found.view(np.uint32), upper.astype(np.uint32) << 16)


def test_numbers_of_the_other_byte_order_are_read_right(preset):
    values = random_params().token_embedding
    with edited(preset) as file:
        del file[EMBEDDING]
        file[EMBEDDING] = values.astype(">f4")
    assert_same(keras.read(preset), random_params())


def test_a_config_without_the_sizes_names_them(preset):
    path = preset / "config.json"
    entries = json.loads(path.read_text())
    del entries["config"]["bucket_size"], entries["config"]["num_heads"]
    path.write_text(json.dumps(entries))
    assert refusal(preset).endswith("under 'config'; num_heads, bucket_size is missing.")
    for text in ("[]", '{"config": 3}'):
        path.write_text(text)
        assert f"{path} must have vocabulary_size, num_layers" in refusal(preset)
    for text in ('{"config": {', "[" * 100_000):
        path.write_text(text)
        assert f"{path} is no complete JSON file" in refusal(preset)


def test_a_number_of_layers_beyond_belief_is_refused_at_once(preset):
    path = preset / "config.json"
    entries = json.loads(path.read_text())
    entries["config"]["num_layers"] = 10**15
    path.write_text(json.dumps(entries))
    assert f"config.json has {10**15} layers, the weights 38 arrays" in refusal(preset)


def split(preset, bounds):
    """Cut model.weights.h5 into shards as keras does: each array in one, a layer's name only where the layer begins."""
    whole = preset / keras.WEIGHTS
    places = {}
    with h5py.File(whole) as file:
        arrays = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        named = set()
        for n, (start, end) in enumerate(bounds):
            with h5py.File(preset / f"model_{n:05}.weights.h5", "w") as shard:
                for name in arrays[start:end]:
                    layer = "/".join(name.split("/")[:2])
                    if layer not in named:
                        shard.require_group(f"{layer}/vars").attrs["name"] = file[f"{layer}/vars"].attrs["name"]
                        named.add(layer)
                    shard[name] = file[name][()]
                    places.setdefault(f"/{name[:-2]}", []).append(f"model_{n:05}.weights.h5")
    whole.unlink()
    (preset / keras.INDEX).write_text(json.dumps({"weight_map": {k: v if v[1:] else v[0] for k, v in places.items()}}))


def test_shards_are_read_together_wherever_they_are_cut(tmp_path):
    params = random_params()
    for cut in (1, 8, 17, 36):
        keras.write(params, tmp_path)
        split(tmp_path, [(0, cut), (cut, None)])
        assert_same(keras.read(tmp_path), params)


def test_an_array_in_two_shards_is_refused(preset):
    split(preset, [(0, 20), (19, None)])
    assert refusal(preset).count("is there twice") == 1


def test_a_missing_shard_is_named(preset):
    split(preset, [(0, 20), (20, None)])
    (preset / "model_00001.weights.h5").unlink()
    assert f"{preset} must hold model_00001.weights.h5." in refusal(preset, FileNotFoundError)


@pytest.mark.parametrize(
    "name", ["../model_00000.weights.h5", "/etc/passwd", "..", "", 7, None, {}, "model_0.weights.h5/"]
)
def test_an_index_that_leads_out_of_the_directory_is_refused(preset, name):
    split(preset, [(0, 20), (20, None)])
    (preset / keras.INDEX).write_text(json.dumps({"weight_map": {"/layers": ["model_00000.weights.h5", name]}}))
    assert f"{preset / keras.INDEX} must name files such as model_00000.weights.h5" in refusal(preset)


@pytest.mark.parametrize("text", ["{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": [[]]}}'])
def test_an_index_of_another_kind_is_refused(preset, text):
    split(preset, [(0, None)])
    (preset / keras.INDEX).write_text(text)
    assert f"{preset / keras.INDEX} must name files such as model_00000.weights.h5" in refusal(preset)


def test_without_h5py_one_sentence_says_what_to_install(preset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"through h5py: pip install 'deberta-ref\[keras\]'\.$"):
        keras.read(preset)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'deberta-ref\[keras\]'"):
        keras.write(random_params(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_tokenizer_stands_where_keras_hub_looks_for_it(preset):
    keras.write_tokenizer(b"a model", preset)
    assert (preset / "assets/tokenizer/vocabulary.spm").read_bytes() == b"a model"
    assert json.loads((preset / "tokenizer.json").read_text())["registered_name"] == "keras_hub>DebertaV3Tokenizer"


# What follows runs the real keras-hub, in the interpreter that DEBERTA_REF_PORTS_PYTHON names: pytest -m ports.

NOISE = 1e-5
"""Of the spread of the output. Every result in float32 is rounded by up to 6e-8 of itself, and two to twelve layers of
that leave about 1e-6; a wrong layer, head or transpose differs by the spread itself. KerasHub's softmax computes in
float32 even where all else is float64, so that nothing finer can be asked of it there."""

PRELUDE = f"""
import json, os, sys
os.environ.setdefault("KERAS_BACKEND", "jax")
import numpy as np
import keras, keras_hub
from keras_hub.models import DebertaV3Backbone
folder = sys.argv[1]
inputs = dict(np.load(folder + "/inputs.npz"))
sizes = dict(vocabulary_size={CONFIG.vocabulary_size}, num_heads={CONFIG.num_heads}, hidden_dim={CONFIG.hidden_dim},
             intermediate_dim={CONFIG.intermediate_dim}, bucket_size={CONFIG.bucket_size})
def backbone(num_layers=2, dtype="float32"):
    model = DebertaV3Backbone(**sizes, num_layers=num_layers, dtype=dtype)
    random = np.random.default_rng(num_layers)
    for weight in model.weights:
        weight.assign(0.3 * random.normal(size=weight.shape) + (weight.name == "gamma"))
    return model
def compute(name, model):
    np.save(folder + "/" + name + ".npy", np.asarray(keras.ops.convert_to_numpy(model(inputs))))
"""

WRITES = """
def save(name, model, **options):
    model.save_to_preset(folder + "/" + name, **options)
    compute(name, DebertaV3Backbone.from_preset(folder + "/" + name))
save("float32", backbone(12))
save("sharded", backbone(12), max_shard_size=30e3 / 2**30)
for dtype in ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16"):
    save(dtype, backbone(dtype=dtype))
save("classifier", keras_hub.models.DebertaV3TextClassifier(backbone=backbone(), num_classes=3))
save("masked_lm", keras_hub.models.DebertaV3MaskedLM(backbone=backbone()))
import jax
jax.config.update("jax_enable_x64", True)
model = backbone(dtype="float64")
model.save_to_preset(folder + "/float64")
compute("float64", model)
"""

OPENS = """
import jax
for name in ("float16", "float32", "float64", "twelve"):
    compute(name, DebertaV3Backbone.from_preset(folder + "/" + name))
    dtype = "float32" if name == "twelve" else name
    jax.config.update("jax_enable_x64", dtype == "float64")
    DebertaV3Backbone.from_preset(folder + "/" + name, dtype=dtype).save_to_preset(folder + "/" + name + "/again")
    jax.config.update("jax_enable_x64", False)
keras_hub.models.TextClassifier.from_preset(folder + "/float32", num_classes=2)
tokenizer = keras_hub.models.DebertaV3Tokenizer.from_preset(folder + "/float32")
ids = [np.asarray(tokenizer(text)).tolist() for text in json.load(open(folder + "/texts.json"))]
json.dump([ids, tokenizer.vocabulary_size()], open(folder + "/ids.json", "w"))
"""

INPUTS = models.random_inputs(CONFIG, np.random.default_rng(8), T=48)


def run(*arguments):
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


def keras_hub(folder, script):
    np.savez(folder / "inputs.npz", **INPUTS)
    run("-c", PRELUDE + script, folder)


def deviation(params, found):
    """The largest deviation from float64 on valid tokens, relative to the spread of the output."""
    expected = deberta_ref.forward(params, INPUTS, dtype="float64")
    valid = INPUTS["padding_mask"].astype(bool)
    largest = abs(found - expected)[valid].max() / expected[valid].std()
    print(f"{params.dtype}: {largest:.1e} of the spread")
    return largest


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    keras_hub(folder, WRITES)
    return folder


@pytest.mark.ports
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float32", "float32"),
        ("sharded", "float32"),
        ("float16", "float16"),
        ("bfloat16", "float32"),
        ("mixed_float16", "float32"),
        ("mixed_bfloat16", "float32"),
        ("classifier", "float32"),
        ("masked_lm", "float32"),
        ("float64", "float64"),
    ],
)
def test_what_keras_hub_writes_loads_and_computes_the_same(written, name, dtype):
    assert keras.recognises(written / name)
    params = keras.read(written / name)
    assert params.dtype == dtype
    assert deviation(params, np.load(written / f"{name}.npy")) < NOISE


@pytest.mark.ports
def test_keras_hub_shards_hold_what_its_one_file_holds(written):
    assert (written / "sharded" / "model_00003.weights.h5").exists()
    assert not (written / "sharded" / keras.WEIGHTS).exists()
    assert_same(keras.read(written / "sharded"), keras.read(written / "float32"))


@pytest.mark.ports
def test_what_is_written_here_is_what_keras_hub_writes(written, tmp_path):
    keras.write(keras.read(written / "float32"), tmp_path)
    theirs, ours = (contents(folder) for folder in (written / "float32", tmp_path))
    assert theirs["metadata.json"].pop("date_saved")
    assert len(ours["names"]) == 3 + 12
    assert ours.pop("names").items() <= theirs.pop("names").items()  # they name dropouts and inputs as well
    assert ours == theirs


def contents(folder):
    """The two JSON files, every array by its path, and the name of every layer by its group."""
    found = {name: json.loads((folder / name).read_text()) for name in ("config.json", "metadata.json")}
    with h5py.File(folder / keras.WEIGHTS) as file:
        found["names"] = {name: group["vars"].attrs["name"] for name, group in file["layers"].items()}

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = item.dtype, item.shape, item[()].tobytes()

        file.visititems(visit)
    return found


@pytest.mark.ports
def test_keras_hub_opens_what_is_written_here_and_computes_the_same(tmp_path):
    params = {dtype: random_params(dtype=dtype) for dtype in ("float16", "float32", "float64")}
    params["twelve"] = random_params(deberta_ref.Config(60, 12, 3, 24, 40, bucket_size=8))
    for name, kept in params.items():
        keras.write(kept, tmp_path / name)
    texts = ["the quick brown fox", "a lazy dog; ﬁne", ""]
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"]),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    keras.write_tokenizer(model.getvalue(), tmp_path / "float32")
    (tmp_path / "texts.json").write_text(json.dumps(texts))

    keras_hub(tmp_path, OPENS)
    for name, kept in params.items():
        assert_same(keras.read(tmp_path / name / "again"), kept)
        assert deviation(kept.astype("float32"), np.load(tmp_path / f"{name}.npy")) < NOISE  # as keras-hub opens them
    ids, size = json.loads((tmp_path / "ids.json").read_text())
    assert ids == [processor.encode(text) for text in texts]
    assert size == processor.get_piece_size() + 1  # [MASK]


@pytest.mark.ports
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_adapter_computes_the_same_from_the_hugging_face_layout(tmp_path, dtype):
    case = tmp_path / "case"
    params = random_params(dtype=dtype)
    params.save(case)
    save_file(INPUTS, case / "inputs.safetensors")
    run(Path(__file__).parents[1] / "ports" / "tools" / "run.py", "kerashub", tmp_path, "--dtype", dtype)
    found = load_file(case / "kerashub.safetensors")["output"]
    assert found.dtype == dtype
    assert deviation(params, found) < NOISE
