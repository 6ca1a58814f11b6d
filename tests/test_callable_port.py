"""The reference as a port, and ports in Python: what they are given, and what is said of those that fail."""

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from kit import CASES, HOLES, IMPORTS, ONE_A_SUITE, golden_layer, layer_score, refusal, score, unusable, write
from test_answers import preset_case

from deberta_ref import Params, from_preset, trace
from deberta_ref.conformance.judging.answers import checked
from deberta_ref.conformance.judging.judge import judge
from deberta_ref.conformance.ports.callable import callable_port
from deberta_ref.conformance.ports.protocol import NotOffered, reference
from deberta_ref.conformance.ports.questions import Checkpoints
from deberta_ref.conformance.verdict import LIMIT

EVERYTHING = f"""{IMPORTS}
    def load(directory):
        params = from_preset(directory)
        run = lambda inputs: forward(params, inputs, allow_long=True)
        run.layer = lambda inputs, n: record_layer(model, params, n, inputs)[f"layers.{{n}}.output"]
        run.operation = lambda name, inputs: operation(model, name, inputs, "float32")
        run.tokenize = lambda texts, T: Tokenizer.from_preset(directory)(texts, sequence_length=T)
        return run
"""
"""A port that answers every suite, with only the values that it must give."""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a port's source to a file of its own; its path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda source, name="my_port.py": write(tmp_path / name, source)


def from_params(compute):
    """The load of a port that is a function of parameters and inputs."""

    def load(directory):
        params: Params = from_preset(directory)
        return lambda inputs: compute(params, inputs)

    return load


@pytest.mark.parametrize("name", ONE_A_SUITE)
def test_the_reference_answers_every_suite(name):
    assert score(reference(), CASES[name]) < 2


def test_the_reference_answers_published_sizes_with_its_taps(tmp_path):
    case, _ = preset_case(tmp_path)
    found = reference().answer(case)
    assert checked(case, found).faults == ()
    assert "layers.1.output" in found


def test_the_layers_of_the_reference_are_right_on_golden_inputs():
    assert layer_score(reference(), 1) < LIMIT


@pytest.mark.parametrize("name", ONE_A_SUITE)
def test_a_port_in_a_file_answers_every_suite(written, name):
    assert score(callable_port(f"{written(EVERYTHING)}:load"), CASES[name]) < 2


def test_a_layer_is_fed_golden_inputs(written):
    assert layer_score(callable_port(f"{written(EVERYTHING)}:load"), 1) < LIMIT


def test_a_module_is_found_in_the_current_directory(written, monkeypatch):
    monkeypatch.chdir(written(EVERYTHING, "a_port_here.py").parent)
    port = callable_port("a_port_here:load")
    assert port.name == "a_port_here:load"
    assert score(port, HOLES) < 2


def test_a_file_replaces_no_library_of_its_name_and_imports_what_is_beside_it(written):
    written("from deberta_ref import forward, from_preset", "beside_it.py")
    path = written(
        """
        import safetensors, beside_it
        assert hasattr(safetensors, "safe_open")
        load = lambda directory: lambda inputs: beside_it.forward(beside_it.from_preset(directory), inputs)
        """,
        "safetensors.py",
    )
    assert score(callable_port(f"{path}:load"), HOLES) < 2


def test_a_function_is_a_port():
    port = callable_port(from_params(trace))
    assert port.name.startswith("test_callable_port:from_params")
    assert score(port, HOLES) < 2


def test_a_class_and_a_method_are_functions_too(written):
    path = written(
        """
        from deberta_ref import forward, from_preset

        class Port:
            def __init__(self, directory):
                self.params = from_preset(directory)

            def __call__(self, inputs):
                return forward(self.params, inputs)

            @classmethod
            def load(cls, directory):
                return cls(directory)
        """
    )
    assert score(callable_port(f"{path}:Port"), HOLES) < 2
    assert score(callable_port(f"{path}:Port.load"), HOLES) < 2


def test_run_gets_copies_in_int64_and_float32():
    seen = {}

    def run(inputs):
        seen.update({name: (x.dtype.name, x.shape) for name, x in inputs.items()})
        for x in inputs.values():
            x[...] = 0
        return np.zeros((3, 16, 24))

    run.layer = lambda inputs, _n: run(inputs)  # type: ignore[attr-defined]
    port = callable_port(lambda _directory: run)
    before = {name: x.copy() for name, x in HOLES.inputs.items()}
    port.answer(HOLES)
    assert seen == {"token_ids": ("int64", (3, 16)), "padding_mask": ("int64", (3, 16))}
    assert all((HOLES.inputs[name] == x).all() for name, x in before.items())
    port.layer(HOLES, 0, golden_layer(0))
    assert seen["x"] == ("float32", (3, 16, 24))
    assert seen["relative_embeddings"] == ("float32", (16, 24))


def test_the_checkpoint_is_a_hugging_face_directory_with_the_parameters():
    loaded = []

    def load(directory):
        loaded.append((directory, from_preset(directory).arrays(), {path.name for path in Path(directory).iterdir()}))
        return lambda _inputs: np.zeros(1)

    callable_port(load).answer(CASES["model/sharp-attention"])
    directory, arrays, names = loaded[0]
    assert isinstance(directory, str)
    assert {"config.json", "model.safetensors"} <= names
    expected = CASES["model/sharp-attention"].params.arrays()
    assert all((arrays[name] == x).all() for name, x in expected.items())


def test_cases_with_the_same_parameters_are_loaded_once_and_all_is_deleted_afterwards():
    loaded = []

    def load(directory):
        loaded.append(directory)
        return lambda _inputs: np.zeros(1)

    port = callable_port(load)
    same = ["model/holes", "model/whole", "model/tail-padding", "long/small"]
    others = ["model/sharp-attention", "model/tiny-variance", "model/demo"]
    for name in same + others + same:
        port.answer(CASES[name])
    assert len(loaded) == len(set(loaded)) == 1 + len(others)
    assert all(Path(directory).is_dir() for directory in loaded)
    del port
    assert not any(Path(directory).exists() for directory in loaded)


def test_of_large_checkpoints_only_the_last_is_kept(monkeypatch):
    monkeypatch.setattr("deberta_ref.conformance.ports.questions.KEPT", 10_000)
    loaded = []

    def load(directory):
        loaded.append(directory)
        return lambda _inputs: np.zeros(1)

    port = callable_port(load)
    for name in ("model/keras-hub-test", "model/many-heads", "model/demo", "model/demo", "model/keras-hub-test"):
        port.answer(CASES[name])
    assert [Path(directory).is_dir() for directory in loaded[:3]] == [True, False, True]
    assert len(port.runs) <= 2  # type: ignore[attr-defined]


def test_a_case_that_a_port_does_not_offer_is_skipped_with_how_to_offer_it():
    port = callable_port(from_params(lambda _params, _inputs: None))
    for name, attribute in [
        ("layer/last", "layer = layer(inputs, n)"),
        ("ops/gelu", "operation = operation(name, inputs)"),
        ("tokenizer/blanks", "tokenize = tokenize(texts, sequence_length)"),
    ]:
        with pytest.raises(NotOffered) as reason:
            port.answer(CASES[name])
        assert f"set run.{attribute} to be judged by it." in str(reason.value)
    with pytest.raises(NotOffered):
        port.layer(HOLES, 0, golden_layer(0))


def test_not_implemented_is_not_offered():
    run = lambda _inputs: NotImplemented
    run.operation = lambda name, inputs: inputs["x"] if name == "gelu" else NotImplemented  # type: ignore[attr-defined]
    port = callable_port(lambda _directory: run)
    assert set(port.answer(CASES["ops/gelu"])) == {"result"}
    with pytest.raises(NotOffered, match=r"run.operation returned NotImplemented for ops/softmax."):
        port.answer(CASES["ops/softmax"])
    assert checked(HOLES, port.answer(HOLES)).faults  # a model is not optional


def test_a_tokenizer_takes_pairs_and_returns_a_dict():
    asked = []
    run = lambda _inputs: None
    run.tokenize = lambda texts, sequence_length: asked.append((texts, sequence_length))  # type: ignore[attr-defined]
    port = callable_port(lambda _directory: run)
    assert "must return a dict of token_ids and padding_mask" in refusal(port, CASES["tokenizer/pairs"])
    assert asked[0][0][1] == ("She was", "not at all happy, and said so.")
    assert asked[0][1] == 30


def test_an_exception_is_said_with_its_type_message_and_place_in_the_port(written):
    path = written(
        """
        import json

        def load(directory):
            return run

        def run(inputs):
            return json.loads("not\\n\\njson")
        """
    )
    assert refusal(callable_port(f"{path}:load")) == (
        "run must answer model/holes; it raised JSONDecodeError: Expecting value: line 1 column 1 (char 0), at "
        f"{path}:8."
    )


def test_load_that_raises_or_exits_is_an_error_of_the_case(written):
    port = callable_port(f"{written('def load(directory): raise RuntimeError')}:load")
    assert refusal(port) == f"load must answer model/holes; it raised RuntimeError, at {written('')}:1."
    port = callable_port(f"{written('def load(directory): raise SystemExit(3)')}:load")
    assert "it raised SystemExit: 3, at " in refusal(port)
    port = callable_port(f"{written('def load(): pass')}:load")
    assert refusal(port).endswith("load() takes 0 positional arguments but 1 was given.")


class PanicError(BaseException):
    """As what is thrown out of Rust: no Exception."""


class UnspeakableError(Exception):
    """One whose own words fail."""

    def __str__(self):
        raise RuntimeError


class Late(Mapping):
    """A mapping that computes what it holds when it is asked."""

    def __getitem__(self, name):
        raise RuntimeError("too late")

    def __iter__(self):
        return iter(["output"])

    def __len__(self):
        return 1


def test_whatever_is_raised_is_an_error_of_the_case(written):
    def run(_inputs):
        raise PanicError("index out of bounds")

    assert "run must answer model/holes; it raised PanicError: index out of bounds" in refusal(
        callable_port(lambda _directory: run)
    )

    def speechless(_inputs):
        raise UnspeakableError

    assert "it raised UnspeakableError, at " in refusal(callable_port(lambda _directory: speechless))
    assert "it raised RuntimeError: too late" in refusal(callable_port(lambda _directory: lambda _inputs: Late()))
    path = written("class Panic(BaseException): pass\nraise Panic('no driver')")
    assert "it raised Panic: no driver" in unusable(lambda: callable_port(f"{path}:load"))


def test_numpy_handles_errors_as_before_whatever_the_port_does():
    def run(inputs):
        np.seterr(all="raise")
        return np.full((*inputs["token_ids"].shape, 24), 1e200)

    before = np.geterr()
    port = callable_port(lambda _directory: run)
    verdicts = judge(port, [HOLES], needed=()).verdicts
    assert [v.status for v in verdicts] == ["fail"]
    assert np.geterr() == before


def test_load_must_return_a_function():
    assert refusal(callable_port(lambda _directory: None)) == (
        "load must return run, a function from token_ids and padding_mask to the last hidden state or a dict of "
        "taps; for model/holes it returned a NoneType."
    )


def test_a_port_that_refuses_long_inputs_is_told_where_they_are_specified():
    port = callable_port(from_params(trace))
    assert "it raised ValueError: token_ids may have up to max_sequence_length = 16" in refusal(
        port, CASES["long/small"]
    )
    assert refusal(port, CASES["long/small"]).endswith(
        "It has more tokens than max_sequence_length: spec/08-long-inputs.md says what to do then."
    )


def test_an_interrupt_passes_through():
    def run(_inputs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        callable_port(lambda _directory: run).answer(HOLES)


def test_what_a_port_prints_goes_to_standard_error(written):
    path = written(
        """
        import ctypes, os, sys
        print("imported")

        def load(directory):
            print("loaded")
            return run

        def run(inputs):
            os.system("echo from a child process")
            ctypes.CDLL(None).puts(b"from C")
            sys.stdout.write("from Python")
            return inputs["token_ids"]
        """
    )
    script = f"""
        from deberta_ref.conformance.cases.corpus import corpus
        from deberta_ref.conformance.ports.callable import callable_port
        print("before")
        callable_port({f"{path}:load"!r}).answer(next(case for case in corpus() if case.id == "model/holes"))
        print("after")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["before", "after"]
    for words in ("imported", "loaded", "from a child process", "from C", "from Python"):
        assert words in done.stderr


def test_a_name_that_cannot_be_imported_is_refused_with_what_is_allowed(written):
    path = written("answer = 42\ndef load_model(directory): ...")
    assert unusable(callable_port, "my_port.py") == (
        "A port must be FILE.py:load or package.module:load, where load(checkpoint_dir) returns run(inputs); got "
        "'my_port.py': write my_port.py:load."
    )
    assert "there is no file nowhere.py: correct the path." in unusable(callable_port, "nowhere.py:load")
    assert "has no load: it has load_model." in unusable(callable_port, f"{path}:load")
    assert f"{path}:answer is of type int." in unusable(callable_port, f"{path}:answer")
    assert unusable(callable_port, "no.such.module:load") == (
        "no.such.module must be a module that can be imported; it raised ModuleNotFoundError: No module named 'no'."
    )


def test_a_module_that_raises_when_it_is_imported_is_refused_with_the_place(written, monkeypatch):
    path = written("import os\nimport no_such_framework\n", "port_without_framework.py")
    sentence = f"it raised ModuleNotFoundError: No module named 'no_such_framework', at {path}:2."
    assert unusable(callable_port, f"{path}:load").endswith(sentence)
    monkeypatch.chdir(path.parent)
    assert unusable(callable_port, "port_without_framework:load").endswith(sentence)
    assert "SyntaxError" in unusable(callable_port, f"{written('def load(:')}:load")


def test_checkpoints_with_the_same_parameters_are_one():
    checkpoints = Checkpoints()
    assert checkpoints.of(CASES["model/demo"]) == checkpoints.of(CASES["tokenizer/blanks"])
    assert checkpoints.of(CASES["model/holes"]) == checkpoints.of(CASES["model/whole"])
    assert checkpoints.of(CASES["ops/gelu"]) == checkpoints.of(CASES["ops/softmax"])
    assert checkpoints.of(CASES["model/sharp-attention"]) != checkpoints.of(CASES["model/tiny-variance"])


def test_a_string_is_not_an_answer():
    assert refusal(callable_port(from_params(lambda _params, _inputs: "right"))) == (
        "run must return an array or a mapping of names to arrays; got str for model/holes."
    )


def test_an_incomplete_name_of_a_port_is_refused_with_what_to_write(written, tmp_path, monkeypatch):
    (tmp_path / "w").mkdir()
    written(EVERYTHING, "w/np_port.py")
    monkeypatch.chdir(tmp_path)
    assert unusable(callable_port, ":load").endswith("write the file before the colon, as in FILE.py:load.")
    assert unusable(callable_port, "w/np_port:load").endswith(
        "w/np_port is a path, and no module: write w/np_port.py:load."
    )
    assert unusable(callable_port, "w/other:load").endswith("write the path of a .py file.")
