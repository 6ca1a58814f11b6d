"""The command line: what it prints and writes, and how it refuses."""

import io
import json
import os
import subprocess
import sys
import time

import models
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref import Params, Tokenizer, __version__, forward, init, presets, trace
from deberta_ref.checkpoints import DEMO
from deberta_ref.cli import COMMANDS, main
from deberta_ref.progress import progress

clause = pytest.mark.clause

CONFIG = models.SMALL


@pytest.fixture
def model(tmp_path):
    models.random_params(CONFIG, np.random.default_rng(0), "float32").save(tmp_path / "model")
    return str(tmp_path / "model")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_package_run_as_a_module_is_the_command(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        run("--version")
    command = [sys.executable, "-m", "deberta_ref", "--version"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout == capsys.readouterr().out == f"deberta-ref {__version__}\n"


def test_the_help_says_what_each_command_does(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        run("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {what}" in shown for name, (_, what) in COMMANDS.items())


def test_presets_prints_the_five_with_their_parameters(capsys):
    assert run("presets") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(
        f"{p.num_params:,}" in line and name in line
        for line, (name, p) in zip(lines[1:], presets.items(), strict=False)
    )


def test_presets_prints_json(capsys):
    assert run("presets", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["deberta_v3_large_en"]["num_params"] == 434_012_160
    assert rows["deberta_v3_base_multi"]["vocabulary_size"] == 251_000


def test_run_shows_the_first_numbers_of_every_valid_token(model, capsys):
    assert run("run", "--model", model, "--ids", "1 5 9", "--ids", "2,4", "--first", 2, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    params = models.random_params(CONFIG, np.random.default_rng(0), "float32")
    y = forward(params, {"token_ids": [[1, 5, 9], [2, 4, 0]], "padding_mask": [[1, 1, 1], [1, 1, 0]]})
    assert shown["shape"] == [2, 3, 12]
    assert shown["dtype"] == "float32"
    assert [example["token_ids"] for example in shown["examples"]] == [[1, 5, 9], [2, 4]]
    assert np.allclose(shown["examples"][1]["first_numbers"], y[1, :2, :2], rtol=1e-6)


def test_run_prints_a_table_a_person_can_read(model, capsys):
    assert run("run", "--model", model, "--ids", "1 5 9") == 0
    out = capsys.readouterr().out
    assert "example 0, 3 tokens:" in out
    assert "float32 of shape (1, 3, 12)" in out


@pytest.mark.parametrize("suffix", [".safetensors", ".npy"])
def test_run_writes_the_whole_output(model, tmp_path, suffix):
    out = tmp_path / f"y{suffix}"
    assert run("run", "--model", model, "--ids", "1 5 9", "--dtype", "float64", "--out", out) == 0
    y = np.load(out) if suffix == ".npy" else load_file(out)["output"]
    params = models.random_params(CONFIG, np.random.default_rng(0), "float32")
    assert (y == forward(params, models.inputs_of([[1, 5, 9]]), dtype="float64")).all()
    assert [path.name for path in tmp_path.iterdir() if path.name != "model"] == [out.name]


def test_a_directory_is_no_file_to_write_the_output_to(model, tmp_path, capsys):
    (tmp_path / "y.npy").mkdir()
    assert run("run", "--model", model, "--ids", "1", "--out", tmp_path / "y.npy") == 2
    assert f"--out {tmp_path / 'y.npy'} must be a file to write; it is a directory" in capsys.readouterr().err


def test_run_takes_ids_from_files_of_three_kinds(model, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("1 5 9\n2 4\n")
    (tmp_path / "ids.json").write_text("[[1, 5, 9], [2, 4]]")
    ids, mask = np.array([[1, 5, 9], [2, 4, 0]]), np.array([[1, 1, 1], [1, 1, 0]])
    save_file({"token_ids": ids, "padding_mask": mask}, tmp_path / "ids.safetensors")
    shown = []
    for name in ("ids.txt", "ids.json", "ids.safetensors"):
        assert run("run", "--model", model, "--ids-file", tmp_path / name, "--json") == 0
        shown.append(json.loads(capsys.readouterr().out)["examples"])
    assert shown[0] == shown[1] == shown[2]


def test_run_of_many_examples_equals_each_alone(model, tmp_path, capsys):
    rows = [[1 + n % 30] * (1 + n % 7) for n in range(21)]
    (tmp_path / "ids.json").write_text(json.dumps(rows))
    assert run("run", "--model", model, "--ids-file", tmp_path / "ids.json", "--out", tmp_path / "y.npy") == 0
    y = np.load(tmp_path / "y.npy")
    params = models.random_params(CONFIG, np.random.default_rng(0), "float32")
    for b, row in enumerate(rows):
        assert np.allclose(y[b, : len(row)], forward(params, models.inputs_of([row]))[0], rtol=0, atol=1e-4)
    assert "shape (21, 7, 12)" in capsys.readouterr().out


def test_run_with_random_parameters_needs_only_the_sizes(model, capsys):
    assert run("run", "--model", model, "--random", "--seed", 3, "--ids", "1 2", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    y = forward(init(CONFIG, seed=3), models.inputs_of([[1, 2]]))
    assert np.allclose(shown["examples"][0]["first_numbers"], y[0, :, :5], rtol=1e-6)


@clause("VEC-FILES", "VEC-TAPS")
def test_trace_writes_every_tap_and_the_inputs(model, tmp_path, capsys):
    out = tmp_path / "taps.safetensors"
    assert run("trace", "--model", model, "--ids", "1 5 9", "--ids", "2", "--out", out) == 0
    written = load_file(out)
    params = models.random_params(CONFIG, np.random.default_rng(0), "float32")
    taps = trace(params, {"token_ids": [[1, 5, 9], [2, 0, 0]], "padding_mask": [[1, 1, 1], [1, 0, 0]]})
    assert written.keys() == {*taps, "token_ids", "padding_mask"}
    assert all((written[name] == tap).all() for name, tap in taps.items())
    assert "layers.2.attention.p2c" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ids", "1 99"], "token_ids must be in 0 … 39, the vocabulary's; got 99 at [0, 1]"),
        (["--ids", "1 x"], "Token ids must be integers with spaces or commas between them; got '1 x'"),
        (["--ids", ""], "got a line without any"),
        (["--ids", "1 " * 17], "up to max_sequence_length = 16 positions; got T = 17"),
        (["--ids", "1", "--dtype", "float8"], "'mixed_float16' or 'mixed_bfloat16'; got 'float8'"),
        (["--ids", "1", "--out", "y.txt"], "--out must end in .safetensors or .npy; got 'y.txt'"),
        (
            ["--ids", "1", "--out", "nowhere/y.npy"],
            "--out nowhere/y.npy must be in a directory that exists; nowhere does not",
        ),
        (["--ids-file", "nowhere.txt"], "No such file"),
        (["--ids", "1", "--seed", "-1", "--random"], "seed must be at least 0; got -1"),
        (["--ids", "1", "--seed", "1"], "--seed is for random parameters"),
        (["--ids", "1_0"], "got '1_0'"),
        (["--ids", "1", "--out", "/"], "--out must"),
    ],
)
def test_an_unusable_request_is_one_sentence_and_exit_code_2(model, capsys, arguments, words):
    assert run("run", "--model", model, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("deberta-ref run: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_one_bad_example_among_many_is_refused_before_any_is_computed(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "ids.json").write_text(json.dumps([[1]] * 20 + [[99]]))
    monkeypatch.setattr("deberta_ref.cli.run.forward", lambda *_: pytest.fail("computed something"))
    assert run("run", "--model", model, "--ids-file", tmp_path / "ids.json") == 2
    assert "got 99 at [20, 0]" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "5", "[1, 2]", "[[1], 2]", "[" * 100_000, "[[1.5]]", '[["1"]]'])
def test_a_file_of_ids_that_is_no_list_of_lists_is_one_sentence(model, tmp_path, capsys, text):
    (tmp_path / "ids.json").write_text(text)
    assert run("run", "--model", model, "--ids-file", tmp_path / "ids.json") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_of_ids_that_is_no_safetensors_file_is_one_sentence(model, tmp_path, capsys):
    (tmp_path / "ids.safetensors").write_bytes(b"garbage")
    assert run("run", "--model", model, "--ids-file", tmp_path / "ids.safetensors") == 2
    assert "is no complete safetensors file" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path, capsys):
    arrays = dict(init(CONFIG).arrays()) | {"layers.2.feedforward_norm.bias": np.full(12, 3e38, np.float32)}
    arrays["layers.2.feedforward_norm.scale"] = np.full(12, 3e38, np.float32)
    Params.from_arrays(CONFIG, arrays).save(tmp_path / "huge")
    assert run("run", "--model", tmp_path / "huge", "--ids", "1 2", "--json") == 0
    shown = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert None in shown["examples"][0]["first_numbers"][0]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_terminal_without_some_letters_is_served(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "deberta_ref", "run", "日本 “fine”"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert b"float32 of shape" in done.stdout
    assert subprocess.run([*command[:4], "--help"], capture_output=True, check=True, env=environment).stderr == b""


def test_progress_shows_on_a_terminal_and_goes_away(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("deberta_ref.progress.REFRESH_SECONDS", 0.01)
    with progress("opening it") as shown:
        shown.done = ": 3 of 4"
        time.sleep(0.1)
    assert "opening it: 3 of 4, 0 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


def test_no_progress_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr("deberta_ref.progress.REFRESH_SECONDS", 0.01)
    with progress("opening it"):
        time.sleep(0.05)
        assert sys.stderr.getvalue() == ""  # type: ignore[union-attr]


def test_a_model_that_is_not_there_is_refused(capsys):
    assert run("run", "--model", "nowhere", "--ids", "1") == 2
    assert "deberta_v3_base_multi, deberta_v3_demo_en; got 'nowhere'" in capsys.readouterr().err


def test_a_reader_that_stops_early_is_no_error(model):
    command = f"{sys.executable} -m deberta_ref run --model {model} --ids '1 2 3' | true"
    assert subprocess.run(command, shell=True, check=True, capture_output=True).stderr == b""  # noqa: S602


def test_run_takes_text_out_of_the_box(capsys):
    assert run("run", "Emma was not yet twenty-one.", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    example = shown["examples"][0]
    assert example["tokens"][0] == "[CLS]"
    assert example["tokens"][-1] == "[SEP]"
    assert "".join(example["tokens"][1:-1]).replace("▁", " ").strip() == "Emma was not yet twenty-one."
    assert shown["shape"] == [1, len(example["tokens"]), 48]


def test_texts_come_from_a_file_or_standard_input_a_line_each(tmp_path, capsys, monkeypatch):
    text = "Emma\r\n\r\nfound\x0cit\u2028– “fine”\n"
    (tmp_path / "texts.txt").write_bytes(text.encode())
    assert run("run", "--file", tmp_path / "texts.txt", "--json") == 0
    from_file = json.loads(capsys.readouterr().out)["examples"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("run", "--file", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["examples"] == from_file
    assert len(from_file) == 3  # line n is example n, an empty one too
    assert from_file[1]["tokens"] == ["[CLS]", "[SEP]"]


@pytest.mark.parametrize("option", ["--file", "--ids-file"])
def test_an_empty_file_is_no_input(tmp_path, capsys, option):
    (tmp_path / "empty.txt").touch()
    assert run("run", option, tmp_path / "empty.txt") == 2
    assert "must hold one text per line; it is empty" in capsys.readouterr().err


def test_special_tokens_are_text_unless_asked_for(capsys):
    shown = []
    for options in ([], ["--special-tokens"]):
        assert run("run", "a [MASK] b", "--json", *options) == 0
        shown.append(json.loads(capsys.readouterr().out)["examples"][0]["tokens"])
    assert "[MASK]" not in shown[0]
    assert "[MASK]" in shown[1]


def test_parameters_that_are_not_finite_need_leave(tmp_path, capsys):
    arrays = dict(init(CONFIG).arrays()) | {"relative_norm.bias": np.full(12, np.nan, np.float32)}
    Params.from_arrays(CONFIG, arrays).save(tmp_path / "nan")
    assert run("run", "--model", tmp_path / "nan", "--ids", "1") == 2
    assert "(--allow-nonfinite)" in capsys.readouterr().err
    assert run("run", "--model", tmp_path / "nan", "--ids", "1", "--allow-nonfinite") == 0


def test_what_is_left_out_of_a_checkpoint_is_shown(model, tmp_path):
    tensors = load_file(tmp_path / "model" / "model.safetensors") | {"classifier.weight": np.ones(3)}
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    command = [sys.executable, "-m", "deberta_ref", "run", "--model", model, "--ids", "1"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert "left out, as they are not the encoder's: classifier.weight" in done.stderr


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (MemoryError("8 GiB"), 2)])
def test_an_interruption_and_a_lack_of_memory_leave_no_traceback(model, monkeypatch, error, code):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr("deberta_ref.cli.run.forward", fail)
    assert run("run", "--model", model, "--ids", "1") == code


def test_pairs_and_sequence_length(capsys):
    assert run("run", "--pair", "Emma", "Mr. Knightley", "--sequence-length", 6, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["shape"] == [1, 6, 48]
    assert shown["examples"][0]["tokens"].count("[SEP]") == 2
    assert shown["examples"][0]["tokens"][1] == "▁Emma"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give texts, or one of --pair, --file, --ids and --ids-file; got none"),
        (["text", "--ids", "1"], "got TEXT and --ids"),
        (["--ids", "1", "--sequence-length", "4"], "--sequence-length is for texts"),
        (["text", "--sequence-length", "1"], "sequence_length must be at least 2"),
        (["word " * 600], "up to max_sequence_length = 512 positions"),
        (["text", "--model", "hf://org"], "A hub handle must be hf://org/name"),
    ],
)
def test_an_unusable_request_about_text_is_one_sentence(capsys, arguments, words):
    assert run("run", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    (tmp_path / "texts.txt").write_bytes(b"Emma \xff\n")
    assert run("run", "--file", tmp_path / "texts.txt") == 2
    assert "must be text in UTF-8; got b'\\xff' at byte 5" in capsys.readouterr().err


def test_tokens_of_the_demo_are_those_of_its_tokenizer(capsys):
    assert run("run", "“ﬁne”", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["examples"][0]
    assert shown["token_ids"] == Tokenizer.from_preset(DEMO)("“ﬁne”")["token_ids"][0].tolist()
