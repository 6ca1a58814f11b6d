"""From layout to layout, bit for bit, with the tokenizer; and published numbers."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import models
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref import Tokenizer, forward, from_preset, published
from deberta_ref.checkpoints import DEMO, locate
from deberta_ref.checkpoints.convert import convert
from deberta_ref.cli import main

CONFIG = models.SMALL
ROOT = Path(__file__).parents[1]


@pytest.fixture
def source(tmp_path):
    models.random_params(CONFIG, np.random.default_rng(0), "float32").save(tmp_path / "source")
    return tmp_path / "source"


@pytest.mark.parametrize("layouts", [["huggingface"], ["keras"], ["keras", "huggingface", "keras"]])
def test_values_survive_any_chain_of_layouts_bit_for_bit(source, tmp_path, layouts):
    expected = from_preset(source)
    for n, layout in enumerate(layouts):
        convert(source, tmp_path / f"{n}", layout)
        source = tmp_path / f"{n}"
    read = from_preset(source)
    assert read.config == expected.config
    for name, array in expected.arrays().items():
        assert read.arrays()[name].dtype == array.dtype
        assert (read.arrays()[name] == array).all()


@pytest.mark.parametrize("layout", ["huggingface", "keras"])
def test_a_tokenizer_goes_along(tmp_path, layout):
    files = convert(DEMO, tmp_path / "there", layout)
    assert ("assets/tokenizer/vocabulary.spm" if layout == "keras" else "spm.model") in files
    text = "It is a truth universally acknowledged."
    ours, theirs = Tokenizer.from_preset(DEMO)(text), Tokenizer.from_preset(tmp_path / "there")(text)
    assert (ours["token_ids"] == theirs["token_ids"]).all()


def test_nothing_is_written_over_and_nothing_half(source, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="is there already"):
        convert(source, source, "keras")
    for layout in ("onnx", "authors"):
        with pytest.raises(ValueError, match=f"layout must be 'huggingface' or 'keras'; got '{layout}'"):
            convert(source, tmp_path / "new", layout)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("deberta_ref.checkpoints.convert._write_tokenizer", fail)
    with pytest.raises(OSError, match="no space left"):
        convert(source, tmp_path / "new", "huggingface")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_dtype_casts_and_values_that_are_not_finite_go_along(source, tmp_path):
    assert main(["convert", str(source), str(tmp_path / "half"), "--layout", "keras", "--dtype", "float16"]) == 0
    assert from_preset(tmp_path / "half").dtype == np.float16
    arrays = dict(from_preset(source).arrays())
    arrays["embeddings_norm.bias"] = np.full(12, np.nan, np.float32)
    type(from_preset(source)).from_arrays(CONFIG, arrays).save(tmp_path / "nan")
    convert(tmp_path / "nan", tmp_path / "nan2", "huggingface")
    assert np.isnan(from_preset(tmp_path / "nan2", allow_nonfinite=True).embeddings_norm.bias).all()


@pytest.fixture
def publication(tmp_path, monkeypatch):
    """A preset of the demo's sizes, and vectors for it that hold."""
    params, tokenizer = from_preset(DEMO), Tokenizer.from_preset(DEMO)
    y = forward(params, models.inputs_of([[1, 5, 2]]), dtype="float64")
    preset = published.presets["deberta_v3_extra_small_en"]
    monkeypatch.setattr(published, "presets", {"mine": type(preset)(params.config, "a test's", "org/mine")})
    ids = tokenizer("Emma")["token_ids"][0].tolist()
    vector = {"source": "a test", "token_ids": [[1, 5, 2]], "padding_mask": [[1, 1, 1]], "tolerance": 1e-6}
    vector |= {"first_numbers": y.ravel()[:5].tolist()}
    entry = {"outputs": [vector], "tokens": [{"source": "a test", "text": "Emma", "token_ids": ids}]}
    monkeypatch.setattr(published, "FILE", tmp_path / "published.json")

    def write():
        (tmp_path / "published.json").write_text(json.dumps({"note": "", "mine": entry}))

    write()
    return entry, write


@pytest.mark.usefixtures("publication")
def test_a_checkpoint_that_gives_the_published_numbers_is_verified(capsys):
    assert main(["verify-preset", DEMO, "--preset", "mine"]) == 0
    assert capsys.readouterr().out.count("agrees: ") == 2


@pytest.mark.parametrize("kind", ["outputs", "tokens"])
def test_one_that_does_not_is_told_apart(publication, capsys, kind):
    entry, write = publication
    numbers = entry[kind][0]["first_numbers" if kind == "outputs" else "token_ids"]
    numbers[1] += 1
    write()
    assert main(["verify-preset", DEMO, "--preset", "mine", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [comparison["agrees"] for comparison in shown] == [kind != "outputs", kind != "tokens"]


def test_a_checkpoint_of_other_sizes_or_without_published_numbers_is_refused(source, capsys):
    assert main(["verify-preset", str(source), "--preset", "deberta_v3_extra_small_en"]) == 2
    assert "must have the sizes of deberta_v3_extra_small_en" in capsys.readouterr().err
    assert main(["verify-preset", str(source)]) == 2
    assert "name the preset that the checkpoint is a copy of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "handle",
    [
        "deberta_v3_extra_small_en",
        "hf://microsoft/deberta-v3-xsmall",
        "hf://microsoft/deberta-v3-xsmall@main",
        "kaggle://keras/deberta_v3/keras/deberta_v3_extra_small_en",
        "kaggle://keras/deberta_v3/keras/deberta_v3_extra_small_en/3",
    ],
)
def test_a_handle_says_which_preset_it_is(handle):
    assert published._preset_of(handle) == "deberta_v3_extra_small_en"
    assert published._preset_of("hf://microsoft/deberta-v3-xsmall-mnli") is None


def test_the_demo_is_the_one_that_its_card_describes():
    digests = {
        "model.safetensors": "a8b390059d16d5a932e7e22d8ae071bda19fa7370d64d58d98ceeb328e8bb42c",
        "spm.model": "42024512906973f893cb66ce5b57a6e54dc58907ddf42853e382e4211632e835",
    }
    for name, digest in digests.items():
        assert hashlib.sha256((locate(DEMO) / name).read_bytes()).hexdigest() == digest
    inputs = Tokenizer.from_preset(DEMO)("Emma was not yet twenty-one.")
    assert inputs["token_ids"].tolist() == [[1, 147, 14, 20, 328, 39, 1829, 66, 929, 5, 2]]
    y = forward(from_preset(DEMO), inputs, dtype="float64")
    assert np.allclose(
        y[0, 0, :3], [-0.05167970481302847, 0.36729883665153246, -0.5435984781062377], rtol=0, atol=1e-12
    )


def test_the_published_vectors_are_complete():
    for name, entry in published.published().items():
        assert name in published.presets
        for vector in entry["outputs"]:
            assert np.shape(vector["token_ids"]) == np.shape(vector["padding_mask"])
            assert vector["tolerance"] > 0
            assert vector["first_numbers"]
        assert all(vector["source"] for vector in entry["outputs"] + entry["tokens"])


OPEN = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
import keras_hub, numpy as np, transformers
from safetensors.numpy import load_file
root = sys.argv[1]
backbone = keras_hub.models.DebertaV3Backbone.from_preset(root + "/preset")
np.save(root + "/keras.npy", np.asarray(backbone(load_file(root + "/model/inputs.safetensors"), training=False)))
theirs = keras_hub.models.DebertaV3Tokenizer.from_preset(root + "/preset")("Emma")
assert list(theirs) == transformers.AutoTokenizer.from_pretrained(root + "/model")("Emma")["input_ids"][1:-1]
"""


def ports_run(*arguments):
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.ports
def test_the_real_libraries_open_what_convert_writes_and_compute_the_same(tmp_path):
    inputs = Tokenizer.from_preset(DEMO)(["It is a truth universally acknowledged.", ("Emma", "Mr. Knightley")])
    expected = forward(from_preset(DEMO), inputs, dtype="float64")
    valid = inputs["padding_mask"].astype(bool)
    convert(DEMO, tmp_path / "preset", "keras")
    convert(tmp_path / "preset", tmp_path / "model", "huggingface")
    save_file(inputs, tmp_path / "model" / "inputs.safetensors")

    ports_run(ROOT / "ports" / "tools" / "run.py", "huggingface", tmp_path, "--dtype", "float64")
    found = load_file(tmp_path / "model" / "huggingface.safetensors")["output"]
    assert abs(found - expected)[valid].max() <= 1e-12  # both in float64, and sqrt(3 · 12) is exact

    ports_run("-c", OPEN, tmp_path)
    # float32 noise of three layers on values with a spread of 1: 1e-6 of the spread on other models.
    assert abs(np.load(tmp_path / "keras.npy") - expected)[valid].max() <= 2e-5
