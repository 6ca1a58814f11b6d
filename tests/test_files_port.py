"""Questions on the disk and answers from it: what is exported, what is read, and what is refused."""

import json
import shutil

import pytest
from kit import CASES, HOLES, golden_layer, refusal, score, unusable
from safetensors.numpy import load_file, save_file

from deberta_ref import from_preset, model, trace
from deberta_ref.conformance.ports.files import files_port
from deberta_ref.conformance.ports.protocol import NotOffered
from deberta_ref.conformance.ports.questions import export

CHOSEN = ("model/holes", "model/sharp-attention", "long/small", "layer/last", "ops/gelu", "tokenizer/pairs")


@pytest.fixture
def answers(tmp_path):
    for name in ("model/holes", "model/whole", "tokenizer/blanks"):
        path = tmp_path / "answers" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(CASES[name].evaluate(model, "float32"), path)
    return tmp_path / "answers"


def test_files_are_answers(answers):
    port = files_port(answers)
    assert port.name == str(answers)
    assert score(port, HOLES) < 2
    assert score(port, CASES["tokenizer/blanks"]) == 0


def test_a_suite_without_a_file_is_not_offered_and_a_missing_file_is_an_error(answers):
    port = files_port(str(answers))
    with pytest.raises(NotOffered, match="has no answer to any case of the suite ops"):
        port.answer(CASES["ops/gelu"])
    with pytest.raises(NotOffered, match="Files hold no answer to layer 1 of model/holes alone"):
        port.layer(HOLES, 1, golden_layer(1))
    (answers / "model" / "holes.safetensors").unlink()
    assert refusal(files_port(answers)) == (
        f"{answers} must hold model/holes.safetensors, or nothing of its suite; it does not."
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("model/hols", " to model/holes"),
        ("whole", " to model/whole"),
        ("models/whole", " to model/whole"),
        ("model/whole/output", " to model/whole"),
        ("x", ""),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_an_answer_to_no_case_is_refused_with_the_nearest(answers, name, near, alone):
    if alone:
        shutil.rmtree(answers)
    path = answers / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"output": HOLES.expected["output"]}, path)
    said = unusable(files_port, answers)
    assert said.startswith(
        f"{answers} must hold answers to golden cases, as DIR/<suite>/<case>.safetensors; {name}.safetensors answers "
        f"no golden case: rename it{near}"
    )
    assert said.endswith(", or remove it.")
    save_file({"output": HOLES.expected["output"]}, answers / "zz.safetensors")
    assert "and 1 more answer no golden case: rename it" in unusable(files_port, answers)


def test_answers_to_cases_that_are_not_asked_are_taken(answers):
    (answers / "presets").mkdir()
    save_file({"output": HOLES.expected["output"]}, answers / "presets" / "base-en.safetensors")
    assert score(files_port(answers), HOLES) < 2


def test_a_file_that_is_cut_short_is_an_error_with_its_path(answers):
    path = answers / "model" / "holes.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(files_port(answers)).startswith(
        f"The answer to model/holes cannot be read. {path} must be a whole safetensors file; "
    )


def test_a_directory_without_answers_is_refused(tmp_path):
    assert "it holds none: deberta-ref check --export DIR writes" in unusable(files_port, tmp_path)
    assert "it holds none" in unusable(files_port, tmp_path / "nowhere")


@pytest.fixture
def exported(tmp_path):
    export([CASES[name] for name in CHOSEN], tmp_path / "questions")
    return tmp_path / "questions"


def test_every_case_has_a_checkpoint_inputs_and_a_manifest(exported):
    for name in CHOSEN:
        inputs = "inputs.json" if name.startswith("tokenizer") else "inputs.safetensors"
        assert {path.name for path in (exported / name).iterdir()} == {"checkpoint", inputs, "manifest.json"}
        assert json.loads((exported / name / "manifest.json").read_text("utf-8")) == CASES[name].manifest
        assert from_preset(exported / name / "checkpoint").num_params
    assert (exported / "tokenizer/pairs/checkpoint/spm.model").is_file()
    assert json.loads((exported / "tokenizer/pairs/inputs.json").read_text("utf-8")) == (
        CASES["tokenizer/pairs"].inputs
    )
    assert not list(exported.rglob("expected*"))


def test_the_protocol_says_which_taps_there_are_and_what_judges_the_answers(exported):
    page = (exported / "README.md").read_text("utf-8")
    assert "deberta-ref check --outputs OUT" in page
    for tap in ("embeddings", "relative_row", "layers.n.attention.c2c", "layers.n.feedforward.inner", "output"):
        assert f"`{tap}`" in page


def test_answers_to_what_was_exported_are_judged_beside_it(exported):
    for path in exported.glob("model/*/inputs.safetensors"):
        taps = trace(from_preset(path.parent / "checkpoint"), load_file(path))
        save_file(taps, path.parent.with_suffix(".safetensors"))
    port = files_port(exported)
    assert score(port, HOLES) < 2
    assert score(port, CASES["model/sharp-attention"]) < 2


def test_a_directory_with_something_in_it_is_refused(exported):
    before = sorted(exported.rglob("*"))
    assert unusable(export, [HOLES], exported) == (
        f"{exported} must be a new or an empty directory; there is something in it: name another."
    )
    assert "must be a new or an empty directory" in unusable(export, [HOLES], exported / "README.md")
    assert sorted(exported.rglob("*")) == before
    assert "There must be a case to export" in unusable(export, [], exported / "none")


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    export([HOLES], tmp_path / "empty")
    assert (tmp_path / "empty" / "README.md").is_file()


def test_an_export_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("deberta_ref.conformance.ports.questions.write_manifest", fail)
    with pytest.raises(OSError, match="no space left"):
        export([HOLES], tmp_path / "questions")
    assert list(tmp_path.iterdir()) == []
