"""Single operations, as others compute them: the witnesses of the golden suite ``ops``.

    python ports/tools/operations.py DIRECTORY

Each directory in DIRECTORY has manifest.json, which names the operation, and inputs.safetensors. What each of
transformers and the authors' package in float64 and KerasHub in float32 gives goes to huggingface.safetensors,
authors.safetensors and kerashub.safetensors, as ``result``; what 60 digits give, to mpmath.safetensors.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
sys.path.append(str(Path(__file__).parents[1] / "adapters"))

import authors
import keras
import mpmath
import numpy as np
import torch
from keras_hub.src.models.deberta_v3.disentangled_self_attention import DisentangledSelfAttention
from safetensors.numpy import load_file, save_file
from transformers.activations import ACT2FN
from transformers.models.deberta_v2 import modeling_deberta_v2 as huggingface

Arrays = dict[str, Any]
EPSILON = 1e-7


def torch_linear(a: Arrays) -> Any:
    return torch.nn.functional.linear(a["x"], a["weight"], a["bias"])


def torch_layer_norm(a: Arrays) -> Any:
    return torch.nn.functional.layer_norm(a["x"], a["x"].shape[-1:], a["scale"], a["bias"], EPSILON)


def huggingface_softmax(a: Arrays) -> Any:
    return a["x"].masked_fill(~a["mask"].bool(), torch.finfo(a["x"].dtype).min).softmax(-1)


def torch_gather_c2p(a: Arrays) -> Any:
    return torch.gather(a["products"], -1, a["row"].expand(len(a["products"]), -1, -1))


def torch_gather_p2c(a: Arrays) -> Any:
    return torch.gather(a["products"], -1, a["row"].T.expand(len(a["products"]), -1, -1)).transpose(-1, -2)


def sizes(a: Arrays) -> tuple[int, int]:
    return int(a["bucket_size"][0]), int(a["max_sequence_length"][0])


def clipped(bucket: Any, bucket_size: int) -> Any:
    return np.clip(np.asarray(bucket).astype(np.int64) + bucket_size, 0, 2 * bucket_size - 1)


def huggingface_row(a: Arrays) -> Any:
    return clipped(huggingface.make_log_bucket_position(a["distance"], *sizes(a)), sizes(a)[0])


def authors_row(a: Arrays) -> Any:
    with np.errstate(divide="ignore"):
        return clipped(
            authors.package().da_utils.make_log_bucket_position(a["distance"].numpy(), *sizes(a)), sizes(a)[0]
        )


def kerashub_row(a: Arrays) -> Any:
    bucket_size, length = sizes(a)
    distance = a["distance"].numpy()
    attention = DisentangledSelfAttention(1, 2, max_position_embeddings=length, bucket_size=bucket_size)
    table = np.asarray(attention._get_rel_pos(int(abs(distance).max()) + 1)).reshape(int(abs(distance).max()) + 1, -1)  # noqa: SLF001
    return clipped(table[np.maximum(distance, 0), np.maximum(-distance, 0)], bucket_size)


def authors_softmax(a: Arrays) -> Any:
    from DeBERTa.deberta.ops import XSoftmax  # noqa: PLC0415 - importable only after ``package``

    authors.package()
    return XSoftmax.apply(a["x"], a["mask"], -1)


def keras_linear(a: Arrays) -> Any:
    dense = keras.layers.Dense(len(a["weight"]), dtype="float32")
    dense.build(a["x"].shape)
    dense.set_weights([a["weight"].T.numpy(), a["bias"].numpy()])
    return dense(a["x"].float().numpy())


def keras_layer_norm(a: Arrays) -> Any:
    norm = keras.layers.LayerNormalization(epsilon=EPSILON, dtype="float32")
    norm.build(a["x"].shape)
    norm.set_weights([a["scale"].numpy(), a["bias"].numpy()])
    return norm(a["x"].float().numpy())


def keras_softmax(a: Arrays) -> Any:
    return keras.layers.Softmax(dtype="float32")(a["x"].float().numpy(), mask=a["mask"].bool().numpy())


def keras_gather_c2p(a: Arrays) -> Any:
    return keras.ops.take_along_axis(a["products"].float().numpy(), a["row"].numpy()[None], axis=-1)


def keras_gather_p2c(a: Arrays) -> Any:
    found = keras.ops.take_along_axis(a["products"].float().numpy(), a["row"].numpy().T[None], axis=-1)
    return keras.ops.swapaxes(found, -1, -2)


def mpmath_dot(x: list[float], w: list[float]) -> Any:
    return mpmath.fsum(mpmath.mpf(u) * mpmath.mpf(v) for u, v in zip(x, w, strict=True))


def mpmath_linear(a: Arrays) -> Any:
    x, weight, bias = (a[name].tolist() for name in ("x", "weight", "bias"))
    return [[float(mpmath_dot(row, w) + b) for w, b in zip(weight, bias, strict=True)] for row in x]


def mpmath_layer_norm(a: Arrays) -> Any:
    result = []
    for row in a["x"].tolist():
        mean = mpmath.fsum(row) / len(row)
        deviation = mpmath.sqrt(mpmath.fsum((x - mean) ** 2 for x in row) / len(row) + mpmath.mpf(EPSILON))
        scaled = zip(row, a["scale"].tolist(), a["bias"].tolist(), strict=True)
        result.append([float((x - mean) / deviation * scale + bias) for x, scale, bias in scaled])
    return result


def mpmath_gelu(a: Arrays) -> Any:
    return [float(x * mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2) for x in a["x"].tolist()]


def mpmath_softmax(a: Arrays) -> Any:
    result = []
    for row, mask in zip(a["x"].tolist(), a["mask"].tolist(), strict=True):
        exp = [mpmath.exp(x) * m for x, m in zip(row, mask, strict=True)]
        result.append([float(e / mpmath.fsum(exp)) for e in exp])
    return result


WITNESSES: dict[str, dict[str, Any]] = {
    "huggingface": {
        "linear": torch_linear,
        "layer_norm": torch_layer_norm,
        "gelu": lambda a: ACT2FN["gelu"](a["x"]),
        "softmax": huggingface_softmax,
        "gather_c2p": torch_gather_c2p,
        "gather_p2c": torch_gather_p2c,
        "row": huggingface_row,
    },
    "authors": {"softmax": authors_softmax, "row": authors_row},
    "kerashub": {
        "linear": keras_linear,
        "layer_norm": keras_layer_norm,
        "gelu": lambda a: keras.activations.gelu(a["x"].float().numpy(), approximate=False),
        "softmax": keras_softmax,
        "gather_c2p": keras_gather_c2p,
        "gather_p2c": keras_gather_p2c,
        "row": kerashub_row,
    },
    "mpmath": {
        "linear": mpmath_linear,
        "layer_norm": mpmath_layer_norm,
        "gelu": mpmath_gelu,
        "softmax": mpmath_softmax,
    },
}
"""What each calls for an operation, in PyTorch or in Keras on JAX, or its own code where it has some."""


def main(root: Path) -> None:
    """Run every witness on every operation in ``root``."""
    authors.package()
    mpmath.mp.dps = 60
    for manifest in sorted(root.glob("*/manifest.json")):
        name = json.loads(manifest.read_text("utf-8")).get("operation")
        if name is None:
            continue
        inputs = {
            key: torch.from_numpy(array).double() if array.dtype.kind == "f" else torch.from_numpy(array).long()
            for key, array in load_file(manifest.with_name("inputs.safetensors")).items()
        }
        for witness, operations in WITNESSES.items():
            if name in operations:
                result = np.ascontiguousarray(np.asarray(operations[name](inputs)))
                save_file({"result": result}, manifest.with_name(f"{witness}.safetensors"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
