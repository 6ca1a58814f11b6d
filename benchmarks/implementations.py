"""The implementations that are timed, each as load(checkpoint_dir, threads) -> run(token_ids, padding_mask).

Each is at its fastest that its users can reach without changing the model: no taps, no hooks, compiled where that
helps, and its threads may spin while it computes, as they do by default. ``run`` takes NumPy arrays and gives one. All
are imported late: a worker imports its own alone, after its environment has been set.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floor import KINDS, floor

PORTS = Path(__file__).parents[1] / "ports"

Run = Callable[[Any, Any], Any]
Load = Callable[[str, int], Run]


@dataclass(frozen=True)
class Implementation:
    """A column of the table."""

    id: str
    label: str
    load: Load
    packages: tuple[str, ...] = ()  # on PyPI, all that it needs

    @property
    def installed(self) -> bool:
        """All that it needs is there for this interpreter."""
        return all(importlib.util.find_spec(package.replace("-", "_")) for package in self.packages)

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version."""
        return {package: importlib.metadata.version(package) for package in self.packages}


def load_floor(kind: str) -> Load:
    """The matrix products alone, of ``floor.py``."""

    def load(checkpoint_dir: str, threads: int) -> Run:  # noqa: ARG001 - BLAS reads the environment
        import deberta_ref  # noqa: PLC0415

        config = deberta_ref.from_preset(checkpoint_dir).config
        made = functools.lru_cache(1)(lambda B, T: floor(config, B, T, kind))
        return lambda ids, _mask: made(*ids.shape)()

    return load


def load_reference(checkpoint_dir: str, threads: int) -> Run:  # noqa: ARG001 - BLAS reads the environment
    """``deberta_ref.forward``, input checks included."""
    import deberta_ref  # noqa: PLC0415

    params = deberta_ref.from_preset(checkpoint_dir)
    return lambda ids, mask: deberta_ref.forward(params, {"token_ids": ids, "padding_mask": mask})


def load_plain(checkpoint_dir: str, threads: int) -> Run:  # noqa: ARG001 - BLAS reads the environment
    """``plain.py``."""
    import plain  # noqa: PLC0415

    import deberta_ref  # noqa: PLC0415

    params = deberta_ref.from_preset(checkpoint_dir)
    return lambda ids, mask: plain.forward(params, {"token_ids": ids, "padding_mask": mask})


def load_transformers(checkpoint_dir: str, threads: int) -> Run:
    """DebertaV2Model, eager."""
    import torch  # noqa: PLC0415
    from transformers import DebertaV2Model  # noqa: PLC0415

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model = DebertaV2Model.from_pretrained(checkpoint_dir, dtype=torch.float32).eval()

    def run(ids: Any, mask: Any) -> Any:
        ids, mask = (torch.from_numpy(x).long() for x in (ids, mask))
        with torch.inference_mode():
            return model(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()

    return run


def load_keras_hub(checkpoint_dir: str, threads: int) -> Run:  # noqa: ARG001 - XLA takes the cores that it may use
    """DebertaV3Backbone on JAX: compiled as one function, or called as it is, whichever is faster on these inputs.

    ``predict_on_batch`` is the former, and takes as long. On a batch the compiled function can be the slower one.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    kerashub = _port("kerashub")
    import jax  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    backbone = kerashub.built(checkpoint_dir, "float32")
    trained, others = ([v.value for v in vs] for vs in (backbone.trainable_variables, backbone.non_trainable_variables))
    stateless = jax.jit(
        lambda trained, others, feed: backbone.stateless_call(trained, others, feed, training=False)[0]
    )  # parameters as arguments: as constants, XLA would fold them

    def compiled(ids: Any, mask: Any) -> Any:
        return np.asarray(stateless(trained, others, {"token_ids": ids, "padding_mask": mask}))

    def called(ids: Any, mask: Any) -> Any:
        return np.asarray(backbone({"token_ids": ids, "padding_mask": mask}, training=False))

    return faster(compiled, called)


def load_onnxruntime(checkpoint_dir: str, threads: int) -> Run:
    """ONNX Runtime on the CPU, with the model as transformers exports it, for any B and T."""
    os.environ["EXPORTER"] = "legacy"  # ten times faster than the newer one, for a graph that takes as long
    export = _port("export_onnx").export
    import numpy as np  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # when a run ends, that the others have peace
    with tempfile.TemporaryDirectory() as directory:
        export(checkpoint_dir, f"{directory}/model.onnx")
        session = onnxruntime.InferenceSession(f"{directory}/model.onnx", options, providers=["CPUExecutionProvider"])

    def run(ids: Any, mask: Any) -> Any:
        feed = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
        return session.run(["last_hidden_state"], feed)[0]

    return run


def load_openvino(checkpoint_dir: str, threads: int) -> Run:
    """OpenVINO on the CPU, in float32, with the model as it converts it from transformers, for any B and T."""
    converted = _port("huggingface_openvino").converted(checkpoint_dir)
    import numpy as np  # noqa: PLC0415
    import openvino  # noqa: PLC0415
    from openvino.properties import hint, inference_num_threads  # noqa: PLC0415

    compiled = openvino.compile_model(
        converted,
        "CPU",
        {
            hint.inference_precision: openvino.Type.f32,
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            inference_num_threads: threads,
        },
    )

    def run(ids: Any, mask: Any) -> Any:
        feed = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
        return compiled(feed)[0]

    return run


def faster(*candidates: Run) -> Run:
    """What was faster for inputs of the same shape: the better of two calls each, after one that compiles."""
    chosen: dict[tuple[int, ...], Run] = {}

    def best(candidate: Run, ids: Any, mask: Any) -> float:
        candidate(ids, mask)
        took = []
        for _ in range(2):
            start = time.perf_counter()
            candidate(ids, mask)
            took.append(time.perf_counter() - start)
        return min(took)

    def run(ids: Any, mask: Any) -> Any:
        if ids.shape not in chosen:
            chosen[ids.shape] = min(candidates, key=lambda candidate: best(candidate, ids, mask))
            print(f"{ids.shape}: {chosen[ids.shape].__name__}", file=sys.stderr)
        return chosen[ids.shape](ids, mask)

    return run


def _port(name: str) -> Any:
    """An adapter or a tool of ports/, which is no package."""
    sys.path[:0] = [str(PORTS / "adapters"), str(PORTS / "tools")]
    return importlib.import_module(name)


FLOORS = {kind: Implementation(f"floor-{kind}", f"floor ({kind})", load_floor(kind)) for kind in KINDS}
REFERENCE = Implementation("deberta_ref", "deberta_ref", load_reference)
TORCH = ("transformers", "torch")
PEERS = (
    Implementation("openvino", "OpenVINO f32", load_openvino, ("openvino", *TORCH)),
    Implementation("onnxruntime", "ONNX Runtime", load_onnxruntime, ("onnxruntime", "onnx", *TORCH)),
    Implementation("transformers", "transformers eager", load_transformers, TORCH),
    Implementation("keras-hub", "KerasHub on JAX", load_keras_hub, ("keras-hub", "keras", "jax")),
)
PLAIN = Implementation("plain", "a plain NumPy forward", load_plain)
IMPLEMENTATIONS = {each.id: each for each in (*FLOORS.values(), REFERENCE, *PEERS, PLAIN)}
