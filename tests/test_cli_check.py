"""The command ``check``: what it judges, prints and writes, and its exit codes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref import forward, from_preset
from deberta_ref.cli import main
from deberta_ref.conformance.cases.corpus import corpus

MODELS = sum(case.suite == "model" for case in corpus())

PORT = """
import deberta_ref
from deberta_ref.conformance.mistakes.mutants import mutants

def load(checkpoint_dir):
    params = deberta_ref.from_preset(checkpoint_dir)
    model = mutants["p2c-index-flipped"].model() if WRONG else deberta_ref.model
    return lambda inputs: model.forward(params, inputs, allow_long=True)
"""


def check(*arguments):
    """The exit code of ``deberta-ref check``, usage errors of argparse included."""
    try:
        return main(["check", *map(str, arguments)])
    except SystemExit as ended:
        return ended.code


@pytest.fixture
def port(tmp_path):
    """A right port and a wrong one, as files."""
    for name, wrong in (("right", False), ("wrong", True)):
        (tmp_path / f"{name}.py").write_text(PORT.replace("WRONG", str(wrong)))
    return lambda name: f"{tmp_path / name}.py:load"


def test_without_a_port_the_reference_is_judged_and_conforms(capsys, tmp_path):
    assert check("--json", tmp_path / "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["conforms"] is True
    assert {case["status"] for case in report["cases"]} == {"pass"}
    assert "conforms" in capsys.readouterr().out


def test_a_wrong_port_is_told_where_it_is_wrong_and_how(capsys, port, tmp_path):
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "junit", "html")}
    assert check(port("wrong"), *(word for kind, path in files.items() for word in (f"--{kind}", path))) == 1
    report = json.loads(files["json"].read_text())
    assert report["conforms"] is False
    assert report["diagnosis"][0]["mutant"] == "p2c-index-flipped"
    assert report["diagnosis"][0]["clause"] == "ATT-P2C"
    failing = [case for case in report["cases"] if case["status"] == "fail"]
    assert all(case["first_tap"] == "output" for case in failing)
    assert "model/one-token" not in {case["id"] for case in failing}
    shown = capsys.readouterr().out
    assert "p2c-index-flipped" in shown
    assert "ATT-P2C" in shown
    assert f"check {port('wrong')} --case " in shown
    assert b"<testsuites" in files["junit"].read_bytes()
    assert "p2c-index-flipped" in files["html"].read_text()


def test_a_part_of_the_corpus_is_judged_and_never_conforms(capsys, port):
    assert check(port("right"), "--case", "model/whole") == 1
    shown = capsys.readouterr().out
    assert "passes the case that was judged, worst score 0." in " ".join(shown.split())
    assert "does not conform" not in shown
    assert f"{MODELS - 1} of the {MODELS} cases that a verdict needs were not judged" in " ".join(shown.split())
    assert check(port("right"), "--suite", "long") == 1
    assert check(port("right"), "--suite", "model") == 0


def test_a_failing_part_of_the_corpus_does_not_conform(capsys, port):
    assert check(port("wrong"), "--case", "model/whole", "--case", "model/one-token") == 1
    shown = capsys.readouterr().out
    assert "does not conform:\n  1 of 2 cases is over the limit." in shown
    assert "passes" not in shown


def listed(capsys, *arguments):
    """What --list prints: the ids, and the whole of it."""
    assert check("--list", *arguments) == 0
    text = capsys.readouterr().out
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ")], text


def test_the_cases_are_listed_with_what_they_exercise(capsys, monkeypatch):
    monkeypatch.setattr("deberta_ref.conformance.judging.judge.judge", None)  # nothing is judged
    ids, text = listed(capsys)
    assert ids == [case.id for case in corpus()]
    assert "presets: the published sizes: the last hidden state and a summary of each layer; only with --full" in text
    assert text.count("only with --full") == 1
    assert all(case.manifest["exercises"] in text for case in corpus())
    ids, text = listed(capsys, "--suite", "long", "--suite", "layer")
    assert {name.partition("/")[0] for name in ids} == {"long", "layer"}
    assert "--full" not in text
    assert listed(capsys, "--case", "model/holes")[0] == ["model/holes"]


def test_the_list_is_json_too(capsys, tmp_path):
    assert check("--list", "--json", "-", "--suite", "presets", "--suite", "model") == 0
    cases = {case["id"]: case for case in json.loads(capsys.readouterr().out)["cases"]}
    assert cases["presets/base-en"] == {
        "id": "presets/base-en",
        "suite": "presets",
        "exercises": "The sizes of deberta_v3_base_en, 160 tokens.",
        "full_only": True,
    }
    assert cases["model/holes"]["full_only"] is False
    assert len(cases) == MODELS + 5
    assert check("--list", "--json", tmp_path / "list.json") == 0
    assert len(json.loads((tmp_path / "list.json").read_text())["cases"]) == len(corpus())
    assert "model/holes" in capsys.readouterr().out


def test_the_help_says_how_to_hand_over_a_port_and_what_the_exit_codes_mean(capsys):
    assert check("--help") == 0
    shown = capsys.readouterr().out
    for words in ("{question}", "77", "run.tokenize", "docs/ports.md", "exit code is 0", "--list"):
        assert words in shown


def test_json_to_standard_output_is_nothing_but_json(capsys, port):
    assert check(port("right"), "--suite", "model", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["conforms"] is True


def test_expected_failures_are_read_from_a_file_and_must_be_met(capsys, port, tmp_path):
    (tmp_path / "xfail").write_text("# known\nmodel/whole  # the flipped index\n\n")
    assert check(port("wrong"), "--suite", "model", "--xfail", tmp_path / "xfail") == 1
    capsys.readouterr()
    assert check(port("right"), "--suite", "model", "--xfail", tmp_path / "xfail") == 1
    assert "model/whole is expected to fail, and did not" in capsys.readouterr().out
    (tmp_path / "xfail").write_text("model/hole\n")
    assert check("--xfail", tmp_path / "xfail") == 2
    assert "there is no model/hole" in capsys.readouterr().err


def test_exported_questions_that_are_answered_elsewhere_are_judged(capsys, tmp_path):
    assert check("--export", tmp_path / "questions", "--suite", "model", "--suite", "long") == 0
    for inputs in (tmp_path / "questions").glob("*/*/inputs.safetensors"):
        suite, name = inputs.parent.parts[-2:]
        output = forward(from_preset(inputs.parent / "checkpoint"), load_file(inputs), allow_long=True)
        (tmp_path / "answers" / suite).mkdir(parents=True, exist_ok=True)
        save_file({"output": output}, tmp_path / "answers" / suite / f"{name}.safetensors")
    capsys.readouterr()
    assert check("--outputs", tmp_path / "answers") == 0
    (tmp_path / "answers" / "model" / "whole.safetensors").unlink()
    assert check("--outputs", tmp_path / "answers") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.py:load"], "nowhere.py"),
        (["a.py:load", "--outputs", "somewhere"], "Give one port: PORT, --exec or --outputs; got PORT and --outputs"),
        (["--timeout", "3"], "--timeout is for --exec"),
        (["--case", "model/nothing"], "must be the id of a golden case"),
        (
            ["--case", "model/hole"],
            "such as model/whole or model/holes; got 'model/hole'",
        ),
        (["--list", "a.py:load", "--exec", "x", "--html", "y"], "leave out PORT, --exec, --html"),
        (["--list", "--export", "x"], "leave out --export"),
        (["--export", "questions", "a.py:load", "--json", "x"], "leave out PORT, --json"),
        (["--export", "questions", "--xfail", "known", "--timeout", "3"], "leave out --timeout, --xfail"),
        (["--exec", "true {checkpoint} {inputs} {outputs}", "--timeout", "0"], "more than 0 seconds; got 0"),
        (["--list", "--json", "/nowhere/list.json"], "in a directory that exists"),
        (["--json", "report", "--junit", "./report"], "--json and --junit must be different files; got ./report"),
        (["--junit", "-"], "--junit must be a file; got -"),
        (["--html", "-"], "--html must be a file; got -"),
        (["--exec", "run {checkpoint}"], "{inputs}"),
        (["--json", "/nowhere/report.json"], "in a directory that exists"),
        (["--outputs", "/nowhere"], "/nowhere"),
        (["--xfail", "/nowhere/file"], "/nowhere/file"),
    ],
)
def test_an_unusable_request_is_refused_with_a_sentence(capsys, arguments, sentence):
    assert check(*arguments) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "option", ["port", "--exec", "--outputs", "--export", "--xfail", "--json", "--junit", "--html"]
)
def test_an_empty_option_is_refused_and_the_reference_is_not_judged_in_its_place(capsys, option):
    assert check(*([] if option == "port" else [option]), "") == 2
    said = capsys.readouterr()
    assert f"{'PORT' if option == 'port' else option} must not be empty" in said.err
    assert not said.out


def test_a_report_that_cannot_be_a_file_is_refused_before_anything_is_judged(capsys, tmp_path):
    assert check("--json", tmp_path) == 2
    said = capsys.readouterr()
    assert f"{tmp_path} must be a file to write; it is a directory" in said.err
    assert not said.out


@pytest.mark.parametrize("option", ["--json", "--junit", "--html"])
def test_a_report_in_a_directory_that_cannot_be_written_to_is_refused_before_anything_is_judged(
    capsys, monkeypatch, tmp_path, option
):
    monkeypatch.setattr("deberta_ref.conformance.judging.judge.judge", None)  # nothing is judged
    monkeypatch.setattr("os.access", lambda path, mode: (path, mode) != (tmp_path.resolve(), os.W_OK))  # root may write
    assert check(option, tmp_path / "report") == 2
    assert f"must be in a directory that can be written to; {tmp_path} cannot." in capsys.readouterr().err


def test_a_report_is_written_to_where_it_was_asked_for_though_the_port_goes_elsewhere(monkeypatch, tmp_path):
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    (tmp_path / "moves.py").write_text(
        PORT.replace("WRONG", "False")
        + f"\nimport os\nright = load\ndef load(directory):\n    os.makedirs({str(gone)!r}, exist_ok=True)\n"
        f"    os.chdir({str(gone)!r})\n    os.rmdir({str(gone)!r})\n    return right(directory)\n"
    )
    monkeypatch.chdir(there)
    arguments = ("--case", "model/whole", "--json", "report.json", "--junit", "report.xml", "--html", "report.html")
    assert check("../moves.py:load", *arguments) == 1
    assert sorted(path.name for path in there.iterdir()) == ["report.html", "report.json", "report.xml"]


def test_expected_failures_may_be_written_by_an_editor_of_windows(capsys, port, tmp_path):
    (tmp_path / "xfail.txt").write_bytes(b"\xef\xbb\xbfmodel/whole\r\n# a comment\r\n")
    check(port("wrong"), "--case", "model/whole", "--xfail", tmp_path / "xfail.txt")
    assert "xfail    model/whole" in capsys.readouterr().out


SLOW_PORT = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[0] + ".begun").write_text(str(os.getpid()))
time.sleep(60)
"""

SLOW_RUN = """
import os, pathlib, time
def load(checkpoint_dir):
    pathlib.Path(__file__ + ".begun").write_text(str(os.getpid()))
    time.sleep(60)
"""


def begun(path):
    """Wait until a port has begun; the process that it runs in."""
    end = time.monotonic() + 30
    while not (path.exists() and path.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    return int(path.read_text())


@pytest.fixture
def judging(tmp_path):
    """Start ``check`` of a port that never answers; the process, and that of the port, once it has begun."""
    started = []

    def start(source):
        port = tmp_path / "slow.py"
        port.write_text(source)
        (tmp_path / "tmp").mkdir()
        command = shlex.join([sys.executable, str(port), "{checkpoint}", "{inputs}", "{outputs}"])
        asked = ["--exec", command] if source is SLOW_PORT else [f"{port}:load"]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "deberta_ref", "check", *asked],
                env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[0], begun(tmp_path / "slow.py.begun")

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("source", [SLOW_PORT, SLOW_RUN], ids=["exec", "function"])
def test_a_signal_that_ends_it_leaves_no_directory_and_no_child(judging, tmp_path, name, source):
    command, port = judging(source)
    assert list((tmp_path / "tmp").glob("deberta-ref-*"))
    command.send_signal(signal.Signals[name])
    _, said = command.communicate(timeout=30)
    assert command.returncode == 128 + signal.Signals[name]
    assert "Traceback" not in said
    assert not list((tmp_path / "tmp").glob("deberta-ref-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(port, 0)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_under_nohup_it_goes_on_after_a_hangup(judging):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for what is started from here
    try:
        command, _ = judging(SLOW_RUN)
    finally:
        signal.signal(signal.SIGHUP, before)
    command.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0.5)
    command.send_signal(signal.SIGTERM)
    assert command.wait(30) == 128 + signal.SIGTERM
