"""A port in Python: ``load(checkpoint_dir) -> run``, called in this process."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from deberta_ref.conformance.cases.corpus import Case
from deberta_ref.conformance.ports.protocol import NotOffered, Port, PortError
from deberta_ref.conformance.ports.questions import Checkpoints, handed, is_small, texts
from deberta_ref.conformance.ports.stdout import stdout_to_stderr

FORM = "FILE.py:load or package.module:load, where load(checkpoint_dir) returns run(inputs)"

Run = Callable[[Mapping[str, Any]], Any]


def callable_port(port: str | Callable[[str], Any]) -> Port:
    """The port that ``port`` names, or is: a function from a checkpoint directory to ``run``.

    ``run`` takes ``token_ids`` and ``padding_mask``, int64 (B, T), and returns the last hidden state or a dict of taps.
    It may have attributes: ``layer(inputs, n)``, ``operation(name, inputs)`` and ``tokenize(texts, sequence_length)``.
    If one of them returns NotImplemented, the case is skipped. Raises ValueError if the port cannot be imported.
    """
    if not isinstance(port, str):
        name = f"{getattr(port, '__module__', '?')}:{getattr(port, '__qualname__', type(port).__name__)}"
        return _Callable(name, _called(port, name), _file(port))
    module, load = _named_in_module(port, f"A port must be {FORM}")
    return _Callable(port, _called(load, port), Path(module.__file__) if module.__file__ else None)


def named_function(name: str, must: str) -> Callable[..., Any]:
    """The function FILE.py:function or package.module:function; ValueError, beginning with ``must``, for another."""
    return _called(_named_in_module(name, must)[1], name)


def _named_in_module(port: str, must: str) -> tuple[Any, Any]:
    """The module that is named before the colon, and what is named after it."""
    source, _, attribute = port.rpartition(":")
    if port.startswith(":") and attribute:
        raise ValueError(f"{must}; got {port!r}: write the file before the colon, as in FILE.py{port}.")
    if not source or not attribute or os.sep in attribute:
        raise ValueError(f"{must}; got {port!r}: write {port.rstrip(':')}:load.")
    file = Path(source).resolve() if source.endswith(".py") else None
    if file and not file.is_file():
        raise ValueError(f"{must}; there is no file {source}: correct the path.")
    if not file and Path(source).name != source:
        hint = f"write {source}.py:{attribute}" if Path(f"{source}.py").is_file() else "write the path of a .py file"
        raise ValueError(f"{must}; {source} is a path, and no module: {hint}.")
    module = _imported(source, file)
    try:
        load = attrgetter(attribute)(module)
    except AttributeError:
        public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        own = [name for name in public if getattr(vars(module)[name], "__module__", "") == module.__name__]
        raise ValueError(f"{must}; {source} has no {attribute}: it has {', '.join(own) or 'no functions'}.") from None
    return module, load


@dataclass(eq=False)
class _Callable:
    name: str
    load: Callable[[str], Any]
    file: Path | None  # the port's own, to say where an exception comes from
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    runs: dict[Path, Run] = field(default_factory=dict)  # by the checkpoint's directory

    def answer(self, case: Case) -> Mapping[str, Any]:
        """What ``run`` returns, or the attribute of it that answers the suite."""
        match case.suite:
            case "layer":
                return self.layer(case, case.manifest["layer"], case.inputs)
            case "ops":
                arguments = case.manifest["operation"], handed(case.inputs)
                return _named(self._offered(case, "operation", "(name, inputs)", *arguments), "result")
            case "tokenizer":
                arguments = texts(case), case.inputs["sequence_length"]
                found = self._offered(case, "tokenize", "(texts, sequence_length)", *arguments)
                if not isinstance(found, Mapping):
                    raise PortError(
                        f"run.tokenize must return a dict of token_ids and padding_mask; for {case.id} it returned a "
                        f"{type(found).__name__}."
                    )
                return found
        run = self._run(case)
        with self._asked(case, "run"):
            found = _held(run(handed(case.inputs)))
        if isinstance(found, str):
            raise PortError(f"run must return an array or a mapping of names to arrays; got str for {case.id}.")
        return _named(found, "output")

    def layer(self, case: Case, n: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What ``run.layer`` returns for these inputs."""
        found = self._offered(case, "layer", "(inputs, n)", handed(inputs), n)
        return _named(found, f"layers.{n}.output")

    def _offered(self, case: Case, attribute: str, signature: str, *arguments: Any) -> Any:
        """What an attribute of ``run`` returns; raises NotOffered if there is none."""
        run = self._run(case)
        function = getattr(run, attribute, None)
        if not callable(function):
            raise NotOffered(
                f"run has no {attribute}: set run.{attribute} = {attribute}{signature} to be judged by it."
            )
        with self._asked(case, f"run.{attribute}"):
            found = _held(function(*arguments))
        if found is NotImplemented:
            raise NotOffered(f"run.{attribute} returned NotImplemented for {case.id}.")
        return found

    def _run(self, case: Case) -> Run:
        """What ``load`` returns for the case's parameters. Small models are all kept; of large ones, only the last."""
        directory = self.checkpoints.of(case)
        if directory not in self.runs:
            if not is_small(case):
                self.runs.clear()
            with self._asked(case, "load"):
                run = self.load(str(directory))
            if not callable(run):
                raise PortError(
                    f"load must return run, a function from token_ids and padding_mask to the last hidden state or a "
                    f"dict of taps; for {case.id} it returned a {type(run).__name__}."
                )
            self.runs[directory] = run
        return self.runs[directory]

    @contextmanager
    def _asked(self, case: Case, what: str) -> Iterator[None]:
        """Turn any exception of the port's code into PortError, and send what it prints to standard error."""
        try:
            with stdout_to_stderr(), np.errstate():  # NumPy's settings that the port changes are restored
                yield
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a panic in Rust, or a test runner's fail(), is no Exception
            long = ""
            if case.allow_long:
                long = " It has more tokens than max_sequence_length: spec/08-long-inputs.md says what to do then."
            raise PortError(f"{what} must answer {case.id}; it raised {_said(error, self.file)}.{long}") from error


def _imported(source: str, file: Path | None) -> Any:
    """The module in a file, or of a name; ValueError if importing it fails."""
    directory = str(file.parent if file else Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)  # where it finds what is beside it
    importlib.invalidate_caches()
    try:
        with stdout_to_stderr(), np.errstate():
            return _executed(file) if file else importlib.import_module(source)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, or a panic in Rust
        raise ValueError(f"{source} must be a module that can be imported; it raised {_said(error, file)}.") from error


def _executed(file: Path) -> Any:
    """The module in a file, under a name of its own, so that it cannot replace a library of the file's name."""
    name = f"deberta_ref_port_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _called(load: Any, name: str) -> Callable[[str], Any]:
    """``load``, if it can be called; else ValueError."""
    if not callable(load):
        raise ValueError(f"A port must be {FORM}; {name} is of type {type(load).__name__}.")  # noqa: TRY004 - what was asked for
    function: Callable[[str], Any] = load
    return function


def _file(load: Any) -> Path | None:
    """The file that a function is written in, if there is one."""
    try:
        return Path(inspect.getfile(inspect.unwrap(load)))
    except (TypeError, ValueError):  # an object that can be called
        file = getattr(sys.modules.get(type(load).__module__), "__file__", None)
        return Path(file) if file else None


def _said(error: BaseException, file: Path | None) -> str:
    """An exception's type, its message, and the innermost line of the port's own file in its traceback."""
    try:
        words = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - its own code says what it is
        words = ""
    message = (f"{type(error).__name__}: {words:.400}" if words else type(error).__name__).rstrip(".")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [frame for frame in frames if file and Path(frame.filename).resolve() == file.resolve()]
    last = [*frames, *own][-1]
    if Path(last.filename) in {Path(__file__), Path(str(importlib.__file__))}:  # it was not raised in the port's code
        return message
    return f"{message}, at {last.filename}:{last.lineno}"


def _held(found: Any) -> Any:
    """What was returned; of a mapping every value now, as a lazy one may fail when it computes them."""
    return {name: found[name] for name in found} if isinstance(found, Mapping) else found


def _named(found: Any, name: str) -> Mapping[str, Any]:
    """What was returned, by name: a dict as it is, an array under ``name``."""
    return found if isinstance(found, Mapping) else {name: found}
