"""Ports as commands: what they are handed, and what is said of those that fail, hang or crash."""

import gc
import os
import shlex
import signal
import sys
import time

import numpy as np
import pytest
from kit import CASES, HOLES, IMPORTS, ONE_A_SUITE, golden_layer, layer_score, refusal, score, unusable, write
from safetensors.numpy import save

from deberta_ref.conformance.ports.command import command_port
from deberta_ref.conformance.ports.protocol import NotOffered
from deberta_ref.conformance.verdict import LIMIT

ON_THE_COMMAND_LINE = f"""{IMPORTS}
    import json
    from safetensors.numpy import load_file, save_file
    checkpoint, inputs, outputs, question = sys.argv[1:]
    asked = json.load(open(question, encoding="utf-8"))
    if "tokenizer" in asked:
        found = json.load(open(inputs, encoding="utf-8"))
        texts = [tuple(text) if isinstance(text, list) else text for text in found["texts"]]
        answer = Tokenizer.from_preset(checkpoint)(texts, sequence_length=found["sequence_length"])
    elif "operation" in asked:
        answer = {{"result": operation(model, asked["operation"], load_file(inputs), "float32")}}
    elif "layer" in asked:
        answer = record_layer(model, from_preset(checkpoint), asked["layer"], load_file(inputs))
    else:
        answer = {{"output": forward(from_preset(checkpoint), load_file(inputs), allow_long=True)}}
    save_file(answer, outputs)
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command port that is a Python script; it has no packages unless it is to ``know`` this one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def build(source, placeholders="{checkpoint} {inputs} {outputs}", timeout=60.0, *, know=False):
        path = write(tmp_path / "a script.py", source)
        flags = [] if know else ["-I", "-S"]
        return command_port(f"{shlex.join([sys.executable, *flags, str(path)])} {placeholders}", timeout)

    return build


@pytest.mark.parametrize("name", ONE_A_SUITE)
def test_with_the_question_it_answers_every_suite(command, name):
    port = command(ON_THE_COMMAND_LINE, "{checkpoint} {inputs} {outputs} {question}", know=True)
    assert score(port, CASES[name]) < 2


def test_a_layer_is_asked_for_in_the_question(command):
    port = command(ON_THE_COMMAND_LINE, "{checkpoint} {inputs} {outputs} {question}", know=True)
    assert layer_score(port, 1) < LIMIT


def test_without_the_question_it_is_asked_for_models_only(command):
    port = command("")
    for name in ("layer/last", "ops/gelu", "tokenizer/blanks"):
        with pytest.raises(NotOffered, match=r"A command without {question}"):
            port.answer(CASES[name])
    with pytest.raises(NotOffered):
        port.layer(HOLES, 0, golden_layer(0))


def test_it_may_decline_what_is_not_a_model(command):
    port = command(
        "import sys\nprint('no layers here', file=sys.stderr)\nsys.exit(77)",
        "{checkpoint} {inputs} {outputs} {question}",
    )
    with pytest.raises(NotOffered, match=r"declined layer/last, with exit code 77. .*: no layers here"):
        port.answer(CASES["layer/last"])
    assert "ended with 77" in refusal(port)


def test_words_are_split_as_a_shell_would_but_no_shell_runs(command, tmp_path):
    port = command(
        """
        import shutil, sys
        with open(sys.argv[1], "w") as file:
            file.write(repr(sys.argv[2:]))
        """,
        f"'{tmp_path}/its arguments' '$HOME; {{checkpoint}}' --in={{inputs}} \"{{outputs}}\" '*' {{other}}",
    )
    assert "wrote nothing there" in refusal(port)
    arguments = eval((tmp_path / "its arguments").read_text())  # noqa: S307 - a list of str that the script wrote
    assert arguments[0].startswith("$HOME; /")
    assert arguments[1].startswith("--in=/")
    assert arguments[2].startswith("/")
    assert arguments[3:] == ["*", "{other}"]


def test_every_placeholder_must_be_there():
    assert unusable(command_port, "port {checkpoint} {input}") == (
        "The command must have {checkpoint}, {inputs} and {outputs}, which become paths; {inputs} and {outputs} "
        "are missing from 'port {checkpoint} {input}'."
    )
    assert "; {outputs} is missing from" in unusable(command_port, "port {checkpoint} {inputs}")


def test_a_command_that_cannot_be_run_is_refused():
    rest = "{checkpoint} {inputs} {outputs}"
    assert "there is no 'no-such-program': give its path" in unusable(command_port, f"no-such-program {rest}")
    assert "No closing quotation" in unusable(command_port, f"sh -c 'echo {rest}")
    assert "more than 0 seconds; got -1." in unusable(command_port, f"true {rest}", -1)


def test_an_exit_code_is_said_with_the_last_lines_of_standard_error(command):
    port = command(
        """
        import sys
        print("on standard output")
        for n in range(9):
            print("line", n, file=sys.stderr)
        raise RuntimeError("no such layer")
        """
    )
    first, _, last = refusal(port).partition(" The last lines on its stderr: ")
    assert first == "The command must end with exit code 0; for model/holes it ended with 1."
    assert last.startswith("line 8 | Traceback")
    assert last.endswith("| RuntimeError: no such layer")


def test_the_frames_of_a_stack_leave_room_for_the_error_above_them(command):
    stack = ["SyntaxError: no JSON", *(f"    at f{n} (port.mjs:{n})" for n in range(9)), "", "Node.js v20"]
    port = command(f"import sys\nsys.exit({chr(10).join(stack)!r})")
    assert refusal(port).endswith("stderr: SyntaxError: no JSON | at f0 (port.mjs:0) | Node.js v20")


def test_paths_in_the_last_lines_are_the_placeholders_again(command):
    port = command("import sys\nsys.exit(f'cannot read {sys.argv[2]} of {sys.argv[1]}')")
    assert refusal(port).endswith("stderr: cannot read {inputs} of {checkpoint}")


def test_a_command_that_never_answers_is_waited_for_three_times(command):
    port = command("import time\ntime.sleep(60)", timeout=0.1)
    start = time.perf_counter()
    for _ in range(3):
        assert "it was still running" in refusal(port)
    for _ in range(20):
        assert refusal(port).startswith("The command was not asked for model/holes: it ended for none of the 3 before")
    assert time.perf_counter() - start < 60


def test_without_standard_error_the_last_lines_of_standard_output_are_shown(command):
    assert refusal(command("print('usage: …')\nraise SystemExit(2)")).endswith(
        "ended with 2. The last lines on its stdout: usage: …"
    )


def test_a_crash_is_said_by_the_name_of_its_signal(command):
    port = command("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert "for model/holes it was ended by SIGSEGV." in refusal(port)


def test_a_command_that_takes_too_long_is_killed_with_its_child_processes(command, tmp_path):
    beat = tmp_path / "beat"
    port = command(
        f"""
        import subprocess, sys
        print("thinking", file=sys.stderr, flush=True)
        subprocess.run(["sh", "-c", "while echo >> {beat}; do sleep 0.02; done"])
        """,
        timeout=0.5,
    )
    sentence = refusal(port)
    assert sentence.startswith("The command must answer model/holes in 0.5 seconds; it was still running")
    assert sentence.endswith(": thinking")
    time.sleep(0.1)
    size = beat.stat().st_size
    time.sleep(0.1)
    assert beat.stat().st_size == size > 0


@pytest.mark.usefixtures("default_signals")
def test_an_interrupt_ends_the_command(command, tmp_path):
    beat = tmp_path / "beat"
    port = command(
        f"""
        import os, signal, subprocess, time
        time.sleep(0.2)
        os.kill({os.getpid()}, signal.SIGINT)
        subprocess.run(["sh", "-c", "while echo >> {beat}; do sleep 0.02; done"])
        """
    )
    with pytest.raises(KeyboardInterrupt):
        port.answer(HOLES)
    time.sleep(0.1)
    size = beat.stat().st_size if beat.exists() else 0
    time.sleep(0.1)
    assert (beat.stat().st_size if beat.exists() else 0) == size


def test_a_command_that_leaves_a_process_running_is_not_waited_for(command, tmp_path):
    left = tmp_path / "left"
    port = command(
        f"""
        import subprocess
        subprocess.Popen(["sh", "-c", "echo $$ > {left}; exec sleep 30"])
        """
    )
    start = time.monotonic()
    assert "wrote nothing there" in refusal(port)
    assert time.monotonic() - start < 10
    while not left.exists() or not left.read_text():
        time.sleep(0.02)
    os.kill(int(left.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("what", ["", "not safetensors", "a file that is cut short"])
def test_an_answer_that_cannot_be_read_is_a_sentence(command, what):
    cut = save({"output": np.zeros(9)})[:-7]
    content = cut if "cut" in what else what.encode()
    write = f"import sys\nopen(sys.argv[3], 'wb').write({content!r})"
    assert refusal(command(write)).startswith("The command's answer to model/holes cannot be read. ")


@pytest.mark.parametrize(("make", "what"), [("mkdir", "directory"), ("mkfifo", "pipe or a device")])
def test_an_answer_that_is_not_a_regular_file_is_refused_without_waiting(command, make, what):
    if not hasattr(os, make):
        pytest.skip(f"no {make} here")
    assert refusal(command(f"import os, sys\nos.{make}(sys.argv[3])")) == (
        f"The command must write its answer to model/holes to {{outputs}}, as a file; there is now a {what}: write a "
        f"safetensors file to that path."
    )


def test_no_temporary_files_are_left(command, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    port = command("")
    refusal(port)
    assert len(list(tmp_path.glob("deberta-ref-*"))) == 1  # the checkpoints
    del port
    gc.collect()  # the exception knows it
    assert list(tmp_path.glob("deberta-ref-*")) == []
