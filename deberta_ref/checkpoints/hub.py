"""The files behind a hub handle, in a local directory: fetched, cached and resumed by each hub's own library."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

HUGGINGFACE = re.compile(r"hf://(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w(?!\S*\.\.)\S*))?")
KAGGLE = re.compile(r"kaggle://(?P<name>\w[\w.-]*/\w[\w.-]*/(?P<framework>\w+)/\w[\w.-]*)(/(?P<version>[1-9]\d*))?")
FORMS = "hf://org/name, hf://org/name@revision or kaggle://org/model/framework/variation[/version]"

SMALL = (
    "config.json",
    "model_config.json",
    "metadata.json",
    "spm.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "assets/tokenizer/vocabulary.spm",
)
"""Configuration and tokenizer in every layout: fetched as far as they are there."""

WEIGHTS = (
    ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    ("model.weights.h5", "model_*.weights.h5", "model.weights.json"),
    ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"),
)
"""The weights in every layout, best first: of those that a repository has, the first is fetched and no other."""

LOGIN = {
    "hf": "run `hf auth login` or set HF_TOKEN",
    "kaggle": "call `kagglehub.login()` or set KAGGLE_API_TOKEN",
}
LIBRARIES = {"huggingface_hub", "kagglehub", "requests", "httpx", "httpx2"}
"""Whose exceptions are about the hub, and become ours."""
ABSENT = (FileNotFoundError, ValueError)
"""What becomes of a path that a Kaggle model lacks: ValueError inside Kaggle's own notebooks."""
BROKEN_OFF = {"ChunkedEncodingError", "ConnectionError", "DataCorruptionError", "ReadError", "RemoteProtocolError"}
"""What the libraries raise when a transfer breaks off: the same call, made again, keeps the files that are whole."""


def download(handle: str, weights: bool = True) -> Path:
    """The local directory with the files of ``handle``, a Hugging Face or Kaggle one, fetched unless they are cached.

    Only what a layout of DeBERTaV3 consists of is fetched, and with ``weights=False`` only configuration and tokenizer;
    from Kaggle in another framework than keras, everything.
    Cache, credentials, progress bars and offline mode are those of huggingface_hub and kagglehub (extra ``hub``).

    Raises ValueError for a handle that is none, ModuleNotFoundError without the library, FileNotFoundError for a
    repository, revision or file that is not there, PermissionError for one that is private or gated, and
    ConnectionError when the hub cannot be reached or fails, and the cache does not have the files.
    """
    if match := HUGGINGFACE.fullmatch(handle):
        return _from_huggingface(handle, match["name"], match["revision"], weights)
    if match := KAGGLE.fullmatch(handle):
        with redirect_stdout(sys.stderr):  # kagglehub talks on stdout, where a command's results belong
            return _from_kaggle(handle, match["name"], match["version"], match["framework"], weights)
    raise ValueError(f"A hub handle must be {FORMS}; got {handle!r}.")


def _from_huggingface(handle: str, name: str, revision: str | None, weights: bool) -> Path:
    hub = _library(handle, "huggingface_hub")

    def fetch(*files: str) -> Path:
        return _ask(handle, lambda: hub.snapshot_download(name, revision=revision, allow_patterns=list(files)))

    if not weights:
        return fetch(*SMALL)
    for files in WEIGHTS:  # looking on costs one request, for the list of files is cached
        folder = fetch(*SMALL, *files)
        if any(any(folder.glob(file)) for file in files):
            return folder
    wanted = ", ".join(files[0] for files in WEIGHTS)
    raise FileNotFoundError(
        f"{handle} must hold one of {wanted}, or its shards; {folder} has none. Name another, or, if the network was "
        "away, run it again."
    )


def _from_kaggle(handle: str, name: str, version: str | None, framework: str, weights: bool) -> Path:
    hub = _library(handle, "kagglehub")

    def fetch(*path: str) -> Path:
        return _ask(handle, lambda: hub.model_download(f"{name}/{version}" if version else name, *path))

    if framework != "keras":  # the library lists no files, and names are certain in KerasHub presets only
        return fetch()
    folder = fetch("config.json").parent
    if folder.name.isdecimal():
        version = folder.name  # every file is of the version that was the newest for the first one
    for path in ("metadata.json", "tokenizer.json", "assets/tokenizer/vocabulary.spm"):
        with suppress(*ABSENT):  # a preset may be a backbone alone
            fetch(path)
    try:
        return fetch("model.weights.h5").parent if weights else folder
    except ABSENT:  # in shards
        return fetch()


def _library(handle: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        message = f"{handle} needs {name}, which is not installed. Run pip install 'deberta-ref[hub]'."
        raise ModuleNotFoundError(message, name=name) from None


def _ask(handle: str, call: Callable[[], str], retries: int = 2) -> Path:
    """The path that ``call()`` gives, made again if a transfer breaks off; what it raises, as one sentence."""
    try:
        return Path(call())
    except Exception as error:
        if retries and type(error).__name__ in BROKEN_OFF:
            return _ask(handle, call, retries - 1)
        if (sentence := _sentence(handle, error)) is None:
            raise
        raise sentence from None


def _sentence(handle: str, error: Exception) -> Exception | None:
    """An exception of a hub's library as one of ours; None for what is not about the hub, a full disk for example."""
    hub = handle.partition(":")[0]
    cause = error.__cause__ or error
    responses = (getattr(each, "response", None) for each in (error, cause))
    response = next((each for each in responses if each is not None), None)
    if response is not None:
        said = response.headers.get("X-Error-Message") or str(cause).partition(" for url")[0]
        answer = f"the hub answered {response.status_code}, {_first_line(said)}"
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return PermissionError(
                f"{handle} is not open to you, or not there: {answer}. Check the name; for a private or gated model, "
                f"{LOGIN[hub]}, and accept its conditions on its page."
            )
        if response.status_code == HTTPStatus.NOT_FOUND:
            return FileNotFoundError(f"{handle} is not there: {answer}. Check the name and the revision or version.")
        return ConnectionError(f"{handle} cannot be fetched: {answer}. Try again later.")
    reason = _first_line(str(_innermost(error)) or type(error).__name__)
    if type(error).__name__ in {"ValueError", "HFValidationError"}:
        return ValueError(f"A hub handle must be {FORMS}; got {handle!r}: {reason}.")
    library = type(error).__module__.partition(".")[0]
    if library not in LIBRARIES and not (isinstance(error, OSError) and error.errno is None):
        return None
    again = "Check the network, then run it again: whole files are kept"
    if hub == "kaggle":
        again += ", and a handle with a version needs no network once it is cached"
    return ConnectionError(f"{handle} is not whole in the cache, and cannot be fetched: {reason}. {again}.")


def _innermost(error: BaseException) -> BaseException:
    """What went wrong at the bottom, which requests wraps in the arguments of its exceptions."""
    wrapped = (error.__cause__, getattr(error, "reason", None), *error.args)
    inner = next((value for value in wrapped if isinstance(value, BaseException)), None)
    return _innermost(inner) if inner else error


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
