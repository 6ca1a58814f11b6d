"""transformers' DebertaV2Model, from its source as it is installed and from mutants of that, on golden cases.

Needs an interpreter that has ports/requirements.txt.
"""

import importlib.util
import signal
import sys
import tempfile
import types
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from mutate import Mutant, mutants, parsed

from deberta_ref.conformance.cases.corpus import Case

PACKAGE = "transformers.models.deberta_v2"
MODULE = f"{PACKAGE}.modeling_deberta_v2"
FILE = "<deberta_v2>"
"""The name of the file that mutants are compiled as."""

DECORATORS = ("auto_docstring", "jit.script")
"""Left out: the one reads source files, the other compiles what stands in them, which is not the mutant."""

ROLES = (
    frozenset({"bucket_size", "max_position", "mid"}),
    frozenset({"position_buckets", "max_relative_positions", "pos_ebd_size", "max_position_embeddings"}),
    frozenset({"hidden_states", "input_tensor"}),
    frozenset({"embeddings", "inputs_embeds", "embedding_output"}),
)
"""Names that play one role, though none of their words says so."""

PATIENCE = 5
"""Seconds that a mutant may take for one case; the model itself takes 0.03 at most."""

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
warnings.simplefilter("ignore")


class TooSlow(BaseException):
    """A mutant takes too long; no ``except Exception`` of the libraries stops it."""


def version() -> str:
    return transformers.__version__


def tree():
    """The installed source, as a tree."""
    origin = importlib.util.find_spec(MODULE).origin
    return parsed(Path(origin).read_text("utf-8"), without=DECORATORS)


def made(models: "Models") -> list[Mutant]:
    """The mutants of every statement that runs when a checkpoint is loaded and the model is computed."""
    return mutants(tree(), lines_that_run(models), ROLES)


def lines_that_run(models: "Models") -> set[int]:
    found = set()

    def trace(frame, event, _argument):
        if frame.f_code.co_filename != FILE:
            return None
        if event == "line":
            found.add(frame.f_lineno)
        return trace

    module = load(compile(tree(), FILE, "exec"))  # the module's own lines are not traced
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for case in models.cases:
            models.answer(module, case)
    finally:
        sys.settrace(before)
    return found


def load(code: types.CodeType) -> types.ModuleType:
    """The module, executed from its code; it is not in the table of modules."""
    module = types.ModuleType(MODULE)
    module.__package__ = PACKAGE
    exec(code, module.__dict__)  # noqa: S102 - what is installed, but for one change
    return module


@contextmanager
def patience(seconds):
    def stop(*_):
        raise TooSlow

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


class Models:
    """The checkpoints of some cases, in files while this is open, and what a module gives for them."""

    def __init__(self, cases: list[Case]) -> None:
        self.cases = cases
        self._root = tempfile.TemporaryDirectory()
        self._directories = {}
        for n, case in enumerate(cases):
            self._directories[case.id] = Path(self._root.name) / str(n)
            case.params.save(self._directories[case.id])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._root.cleanup()

    def answer(self, module, case, dtype="float32"):
        """The last hidden state, (B, T, D), or None if there is an error or something else comes; may raise TooSlow.

        The checkpoint is loaded as ports/adapters/huggingface.py loads it. Parameters that a mutant does not find
        there are random, always the same.
        """
        try:
            with patience(PATIENCE), torch.no_grad():
                torch.manual_seed(0)
                directory = str(self._directories[case.id])
                model = module.DebertaV2Model.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
                ids, mask = (torch.as_tensor(case.inputs[name]).long() for name in ("token_ids", "padding_mask"))
                found = model(input_ids=ids, attention_mask=mask).last_hidden_state
                found = found.to(getattr(torch, dtype)).numpy().copy()
        except Exception:  # noqa: BLE001 - whatever a mutant raises
            return None
        shape = (*np.shape(case.inputs["padding_mask"]), case.config.hidden_dim)
        return found if found.shape == shape else None
