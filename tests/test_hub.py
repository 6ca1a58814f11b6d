"""Handles of the hubs, through the real client libraries, against a server on 127.0.0.1."""

import base64
import errno
import gc
import importlib
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import huggingface_hub
import kagglehub.clients
import kagglesdk.kaggle_env
import pytest
from hub_server import Hub

from deberta_ref.checkpoints.hub import download

LONG = bytes(range(256)) * 400  # long enough to break off half way
SMALL = {"config.json": b"{}", "spm.model": b"spm", "tokenizer_config.json": b"tokens"}
SAFETENSORS = {"model.safetensors": LONG}
SHARDS = {f"model-0000{n}-of-00002.safetensors": b"%d" % n for n in (1, 2)} | {"model.safetensors.index.json": b"index"}
PICKLE = {"pytorch_model.bin": LONG}
OTHERS = {"README.md": b"read", "tf_model.h5": b"tf", "onnx/model.safetensors": b"onnx", "sub/config.json": b"{}"}
OTHERS |= {"pytorch_model.generator.bin": LONG, "training_args.bin": b"args", ".gitattributes": b"lfs"}
SMALL_KERAS = {"config.json": b"{}", "metadata.json": b"meta", "tokenizer.json": b"[]"}
SMALL_KERAS |= {"assets/tokenizer/vocabulary.spm": b"vocabulary"}
KERAS = SMALL_KERAS | {"model.weights.h5": LONG}

HF, KAGGLE = "hf://org/name", "kaggle://org/model/keras/variation"
BASIC = f"Basic {base64.b64encode(b'somebody:key').decode()}"

leaves_sockets_open = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""Where kagglehub lets go of an answer that it has not read to its end: when it resumes a transfer."""


@pytest.fixture
def serve(request, monkeypatch, tmp_path):
    """From revisions (versions, on Kaggle) and their files to a running hub, which both libraries then talk to."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "KAGGLE"))]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "getaddrinfo", only_this_machine(socket.getaddrinfo))
    huggingface_hub.close_session()  # an earlier one may know of a proxy
    with ExitStack() as running:

        def start(revisions):
            hub = running.enter_context(Hub(revisions).running())
            point_libraries_to(hub.url)
            return hub

        def point_libraries_to(url):
            constants = {
                "ENDPOINT": url,
                "HUGGINGFACE_CO_URL_TEMPLATE": f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
                "HF_HUB_CACHE": str(tmp_path / "hf" / "hub"),
                "HF_HUB_OFFLINE": False,
                "HF_TOKEN_PATH": str(tmp_path / "hf" / "token"),
                "AGENT_HARNESSES_PATH": str(tmp_path / "hf" / "harnesses"),
                "DOWNLOAD_CHUNK_SIZE": 1000,
            }
            for name, value in constants.items():  # which the library reads from the environment when imported
                monkeypatch.setattr(huggingface_hub.constants, name, value, raising=False)
            monkeypatch.setitem(kagglesdk.kaggle_env._env_to_endpoint, kagglesdk.kaggle_env.KaggleEnv.LOCAL, url)
            monkeypatch.setattr(kagglehub.clients, "CHUNK_SIZE", 1000)

        yield start
    huggingface_hub.close_session()
    if request.node.get_closest_marker(leaves_sockets_open.name):
        gc.collect()  # here, where the warning is expected, and not in a later test


def only_this_machine(getaddrinfo):
    def guarded(host, *arguments, **options):
        assert host == "127.0.0.1"
        return getaddrinfo(host, *arguments, **options)

    return guarded


def environment(folder):
    return {
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "KAGGLE_CONFIG_DIR": str(folder),
        "KAGGLEHUB_CACHE": str(folder / "kaggle"),
        "NO_PROXY": "127.0.0.1",
    }


def files(folder):
    assert isinstance(folder, Path)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fetched(hub):
    """The names of the files that the hub was asked for, from its log."""
    return {re.split(r"/resolve/\w+/|/storage/\w+/", line.split()[1])[-1] for line in hub.log if is_transfer(line)}


def is_transfer(line):
    return line.startswith("GET") and ("/resolve/" in line or "/storage/" in line)


def refused(handle, kind, **arguments):
    """The sentence with which ``download`` refuses."""
    with pytest.raises(kind) as caught:
        download(handle, **arguments)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    sentence = str(caught.value)
    assert handle in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 400
    return sentence


@pytest.mark.parametrize(
    "wanted", [SMALL | SAFETENSORS, SMALL | SHARDS, SMALL | PICKLE, KERAS], ids=["whole", "shards", "pickle", "keras"]
)
def test_a_huggingface_handle_gives_the_directory_with_the_files_that_matter(serve, wanted):
    hub = serve({"main": wanted | OTHERS})
    assert files(download(HF)) == wanted
    assert fetched(hub) == set(wanted)
    assert sum("/tree/" in line for line in hub.log) == 1
    assert sum("/revision/" in line for line in hub.log) <= 3


def test_the_best_weights_are_fetched_and_no_other(serve):
    hub = serve({"main": SMALL | SAFETENSORS | PICKLE})
    assert files(download(HF)) == SMALL | SAFETENSORS
    assert fetched(hub) == {*SMALL, *SAFETENSORS}


@pytest.mark.parametrize(("small", "weights"), [(SMALL, SAFETENSORS), (SMALL_KERAS, KERAS)])
def test_without_weights_no_weights_are_fetched(serve, small, weights):
    hub = serve({"main": small | weights | OTHERS})
    assert files(download(HF, weights=False)) == small
    assert fetched(hub) == set(small)
    assert files(download(HF)) == small | weights
    assert sum(is_transfer(line) for line in hub.log) == len(small | weights)  # each of them once


def test_a_revision_is_what_the_handle_says(serve):
    hub = serve({"main": SMALL | SAFETENSORS, "refs/pr/1": SMALL | {"model.safetensors": b"other"}})
    assert files(download(f"{HF}@refs/pr/1"))["model.safetensors"] == b"other"
    assert files(download(HF))["model.safetensors"] == LONG
    commit = download(HF).name
    hub.log.clear()
    assert files(download(f"{HF}@{commit}")) == SMALL | SAFETENSORS
    assert hub.log == []


@pytest.mark.parametrize("weights", [SAFETENSORS, PICKLE])
def test_what_is_cached_is_not_fetched_again_and_needs_no_hub(serve, weights):
    hub = serve({"main": SMALL | weights})
    folder = download(HF)
    hub.log.clear()
    assert download(HF) == folder
    assert {*hub.log} == {"GET /api/models/org/name/revision/main"}
    hub.stop()
    assert download(HF) == download(HF, weights=False) == folder
    assert files(folder) == SMALL | weights


def test_offline_mode_uses_the_cache_and_sends_nothing(serve, tmp_path):
    hub = serve({"main": SMALL | SAFETENSORS})
    folder = download(HF)
    hub.log.clear()
    program = f"from deberta_ref.checkpoints.hub import download; print(download({HF!r})); download({HF + '@v2'!r})"
    variables = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = run_python(program, os.environ | environment(tmp_path) | variables)
    assert run.stdout == f"{folder}\n"
    assert run.stderr.splitlines()[-1].startswith(f"ConnectionError: {HF}@v2 is not whole in the cache")
    assert "HF_HUB_OFFLINE" in run.stderr.splitlines()[-1]
    assert "Traceback" in run.stderr
    assert run.stderr.count("Error") == 1
    assert hub.log == []


def run_python(program, variables):
    return subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("how", ["close", "reset"])
@leaves_sockets_open
def test_a_broken_transfer_from_huggingface_is_resumed_and_whole(serve, how):
    hub = serve({"main": SMALL | SAFETENSORS})
    hub.breaks = [how]
    assert files(download(HF)) == SMALL | SAFETENSORS
    assert hub.breaks == []
    transfers = [line for line in hub.log if is_transfer(line) and "model.safetensors" in line]
    assert len(transfers) == 2
    if how == "close":  # what arrived is kept; after a reset the library starts again
        assert re.fullmatch(r".* bytes=[1-9]\d*-", transfers[1])


@pytest.mark.parametrize("how", ["close", "reset"])
@leaves_sockets_open
def test_a_broken_transfer_from_kaggle_is_resumed_and_whole(serve, how):
    hub = serve({"1": KERAS})
    hub.breaks = [how, how]
    assert files(download(KAGGLE)) == KERAS
    assert hub.breaks == []
    if how == "close":
        assert any(re.search(r"model.weights.h5 bytes=[1-9]\d*-", line) for line in hub.log)


@pytest.mark.parametrize(("handle", "content"), [(HF, SMALL | SAFETENSORS), (KAGGLE, KERAS)])
@leaves_sockets_open
def test_transfers_that_keep_breaking_off_are_given_up_and_go_on_when_asked_again(serve, handle, content):
    hub = serve({"main": content} if handle == HF else {"1": content})
    hub.breaks = ["reset"] * 100
    assert "whole files are kept" in refused(handle, ConnectionError)
    assert len(hub.log) < 30
    hub.breaks = []
    hub.log.clear()
    assert files(download(handle)) == content
    assert fetched(hub) == {name for name, body in content.items() if body == LONG}


def test_a_kaggle_handle_gives_the_newest_version_and_asks_for_it_once(serve):
    hub = serve({"1": SMALL_KERAS, "2": KERAS})
    folder = download(KAGGLE)
    assert files(folder) == KERAS
    assert folder.name == "2"
    assert hub.log.count("POST GetModelInstance") == 1
    assert fetched(hub) == set(KERAS)


def test_a_kaggle_handle_may_say_the_version_and_then_needs_no_hub_once_cached(serve):
    hub = serve({"1": KERAS, "2": SMALL_KERAS})
    folder = download(f"{KAGGLE}/1")
    assert files(folder) == KERAS
    assert "POST GetModelInstance" not in hub.log
    hub.log.clear()
    assert download(f"{KAGGLE}/1") == folder
    assert hub.log == []
    hub.stop()
    assert download(f"{KAGGLE}/1") == download(f"{KAGGLE}/1", weights=False) == folder


def test_without_weights_no_weights_are_fetched_from_kaggle(serve):
    hub = serve({"1": KERAS})
    assert files(download(KAGGLE, weights=False)) == SMALL_KERAS
    assert fetched(hub) == set(SMALL_KERAS)


@leaves_sockets_open
def test_a_preset_on_kaggle_may_lack_its_tokenizer_or_be_sharded(serve):
    lone = {"config.json": b"{}", "metadata.json": b"meta"}
    sharded = lone | {"model.weights.json": b"index", "model_00000.weights.h5": b"0", "model_00001.weights.h5": b"1"}
    serve({"1": lone | {"model.weights.h5": b"h5"}, "2": sharded})
    assert files(download(f"{KAGGLE}/1")) == lone | {"model.weights.h5": b"h5"}
    assert files(download(f"{KAGGLE}/2")) == sharded


def test_another_framework_on_kaggle_is_fetched_whole(serve):
    serve({"3": SMALL | SAFETENSORS})
    folder = download("kaggle://org/model/transformers/variation", weights=False)
    assert files(folder) == SMALL | SAFETENSORS


def test_kaggle_leaves_stdout_to_the_results(serve, tmp_path):
    hub = serve({"1": KERAS})
    program = f"""if True:
        from kagglesdk import kaggle_env
        kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.LOCAL] = {hub.url!r}
        from deberta_ref.checkpoints.hub import download
        print(download({KAGGLE!r}))"""
    run = run_python(program, os.environ | environment(tmp_path) | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert run.stdout == f"{download(KAGGLE)}\n"
    assert "Downloading" in run.stderr


@pytest.mark.parametrize("handle", [HF, KAGGLE])
def test_the_user_s_credentials_open_what_is_closed(serve, monkeypatch, handle):
    hub = serve({"main": SMALL | SAFETENSORS} if handle == HF else {"1": KERAS})
    hub.authorization = "Bearer token" if handle == HF else BASIC
    assert "the hub answered 401" in refused(handle, PermissionError)
    monkeypatch.setenv("HF_TOKEN", "token")
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    assert LONG in files(download(handle)).values()


@pytest.mark.parametrize(
    ("handle", "login"), [(HF, "run `hf auth login` or set HF_TOKEN"), (KAGGLE, "set KAGGLE_API_TOKEN")]
)
def test_a_gated_model_says_how_to_get_in(serve, handle, login):
    hub = serve({"main": SMALL | SAFETENSORS} if handle == HF else {"1": KERAS})
    hub.gated = True
    sentence = refused(handle, PermissionError)
    assert "the hub answered 403" in sentence
    assert login in sentence


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        ("hf://org/other", "Repository not found"),
        ("hf://org/name@v9", "Invalid rev id: v9"),
        ("kaggle://org/other/keras/variation", "Not found"),
        (f"{KAGGLE}_2", "Not found"),
        (f"{KAGGLE}/9", "Not found"),
    ],
)
def test_what_is_not_there_is_said_in_the_hub_s_words(serve, handle, words):
    serve({"main": SMALL | SAFETENSORS} if handle.startswith("hf") else {"1": KERAS})
    assert f"the hub answered 404, {words}" in refused(handle, FileNotFoundError)


@pytest.mark.parametrize("handle", [HF, KAGGLE])
def test_a_hub_that_fails_is_said_with_its_answer(serve, handle):
    serve({"main": SMALL | SAFETENSORS}).status = 503
    assert "the hub answered 503" in refused(handle, ConnectionError)


@pytest.mark.parametrize("handle", [HF, KAGGLE, f"{KAGGLE}/1"])
def test_without_a_network_and_a_cached_copy_one_sentence_says_so(serve, handle):
    serve({"main": SMALL | SAFETENSORS}).stop()
    assert "Connection refused" in refused(handle, ConnectionError)


def test_weights_that_are_not_cached_are_missed_when_the_hub_is_gone(serve):
    hub = serve({"main": SMALL | PICKLE})
    download(HF, weights=False)
    hub.stop()
    assert "not whole in the cache" in refused(HF, ConnectionError)


def test_a_repository_without_weights_is_refused(serve):
    serve({"main": SMALL | OTHERS})
    assert "model.safetensors, model.weights.h5, pytorch_model.bin" in refused(HF, FileNotFoundError)


@pytest.mark.parametrize(
    "handle",
    [
        "hf://name",
        "hf://org/name/more",
        "hf://datasets/org/name",
        "hf://org/name@",
        "hf://org/name@../../x",
        "hf://../name",
        "hf://org/na--me",
        "hf://org/name/2",
        "HF://org/name",
        "hf:org/name",
        "kaggle://org/model",
        "kaggle://org/model/keras",
        "kaggle://org/model/keras/variation/new",
        "kaggle://org/model/keras/variation/0",
        "kaggle://org/model/keras/variation@1",
        "kaggle://org/../keras/variation",
        "kaggle://org/model/nonsense/variation",
        "kaggle://org/model/nonsense/variation/1",
        "s3://bucket/name",
        "org/name",
        "",
    ],
)
def test_a_malformed_handle_is_refused_with_the_accepted_forms(serve, handle):
    hub = serve({"1": KERAS})
    sentence = refused(handle, ValueError)
    assert "hf://org/name, hf://org/name@revision or kaggle://org/model/framework/variation[/version]" in sentence
    assert repr(handle) in sentence
    assert hub.log == []


@pytest.mark.parametrize(("handle", "library"), [(HF, "huggingface_hub"), (KAGGLE, "kagglehub")])
def test_an_absent_library_is_named_with_the_command_that_installs_it(monkeypatch, handle, library):
    monkeypatch.setitem(sys.modules, library, None)
    sentence = refused(handle, ModuleNotFoundError)
    assert library in sentence
    assert "pip install 'deberta-ref[hub]'" in sentence


def test_a_library_that_lacks_a_part_of_its_own_says_so_itself(monkeypatch):
    def import_module(_):
        raise ModuleNotFoundError("No module named 'yaml'", name="yaml")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError, match="No module named 'yaml'"):
        download(HF)


def test_what_is_not_about_the_hub_stays_as_it_is(monkeypatch):
    def snapshot_download(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(OSError, match="No space left") as caught:
        download(HF)
    assert caught.value.errno == errno.ENOSPC


def test_the_libraries_are_imported_only_when_they_are_needed(tmp_path):
    program = "import sys, deberta_ref.checkpoints.hub as hub; print({'huggingface_hub', 'kagglehub'} & {*sys.modules})"
    variables = os.environ | environment(tmp_path) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert run_python(program, variables).stdout == "set()\n"
