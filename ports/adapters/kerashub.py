"""KerasHub's DebertaV3Backbone as a port: load(checkpoint_dir) -> run.

KerasHub converts no DeBERTa of the Hugging Face layout, so the weights are put into its layers here, by their names
in both. Attention's softmax computes in float32 whatever the dtype, and so does what buckets the distances: this is a
witness within float32's noise, in float64 too. The backend is JAX unless KERAS_BACKEND says otherwise.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

NAME = "keras-hub"
"""The package that is run, by its name on PyPI."""

SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "bucket_size": "position_buckets",
}


def load(checkpoint_dir: str, dtype: str = "float32") -> Any:
    """A function from token ids and padding mask, (B, T) each, to the last hidden state, (B, T, D).

    Its attribute ``layer`` takes ``x``, ``relative_embeddings`` and ``padding_mask``, and n, to that layer's output.
    """
    backbone = built(checkpoint_dir, dtype)
    import keras  # noqa: PLC0415 - once it has its backend

    returned = dtype if dtype == "float64" else "float32"  # exact for half precisions, which NumPy has in part

    def run(inputs: dict[str, Any]) -> Any:
        feed = {name: np.asarray(inputs[name], np.int32) for name in ("token_ids", "padding_mask")}
        return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(backbone(feed, training=False), returned)))

    def layer(inputs: dict[str, Any], n: int) -> Any:
        x, relative = (np.asarray(inputs[name], dtype) for name in ("x", "relative_embeddings"))
        found = backbone.transformer_layers[n](
            x, rel_embeddings=relative[None], padding_mask=np.asarray(inputs["padding_mask"], np.int32), training=False
        )
        return {f"layers.{n}.output": np.asarray(keras.ops.convert_to_numpy(found))}

    run.layer = layer  # type: ignore[attr-defined]
    return run


def float16(checkpoint_dir: str) -> Any:
    """The same under the policy float16."""
    return load(checkpoint_dir, "float16")


def bfloat16(checkpoint_dir: str) -> Any:
    """The same under the policy bfloat16."""
    return load(checkpoint_dir, "bfloat16")


def mixed_float16(checkpoint_dir: str) -> Any:
    """The same under the policy mixed_float16."""
    return load(checkpoint_dir, "mixed_float16")


def mixed_bfloat16(checkpoint_dir: str) -> Any:
    """The same under the policy mixed_bfloat16."""
    return load(checkpoint_dir, "mixed_bfloat16")


def built(checkpoint_dir: str, dtype: str) -> Any:
    """The backbone, with its weights."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras  # noqa: PLC0415 - reads its backend from the environment, once
    import keras_hub  # noqa: PLC0415

    if dtype == "float64" and keras.config.backend() == "jax":
        import jax  # noqa: PLC0415

        jax.config.update("jax_enable_x64", True)  # without it JAX computes in float32
    entries = json.loads((Path(checkpoint_dir) / "config.json").read_text("utf-8"))
    backbone = keras_hub.models.DebertaV3Backbone(**{size: entries[name] for size, name in SIZES.items()}, dtype=dtype)
    tensors = load_file(Path(checkpoint_dir) / "model.safetensors")
    fill(backbone, {name.removeprefix("deberta."): tensor for name, tensor in tensors.items()})
    return backbone


def fill(backbone: Any, tensors: dict[str, Any]) -> None:
    """Put every tensor into its layer; ValueError if a shape differs or a tensor is left over."""

    def put(layer: Any, *values: Any) -> None:
        layer.set_weights([value.reshape(weight.shape) for weight, value in zip(layer.weights, values, strict=True)])

    def norm(layer: Any, name: str) -> None:
        put(layer, tensors.pop(f"{name}.weight"), tensors.pop(f"{name}.bias"))

    def dense(layer: Any, name: str) -> None:
        put(layer, tensors.pop(f"{name}.weight").T, tensors.pop(f"{name}.bias"))  # (out, in) -> (in, out)

    put(backbone.token_embedding, tensors.pop("embeddings.word_embeddings.weight"))
    norm(backbone.embeddings_layer_norm, "embeddings.LayerNorm")
    backbone.relative_embeddings.rel_embeddings.assign(tensors.pop("encoder.rel_embeddings.weight"))
    norm(backbone.relative_embeddings.layer_norm, "encoder.LayerNorm")
    for n, layer in enumerate(backbone.transformer_layers):
        attention, name = layer._self_attention_layer, f"encoder.layer.{n}"  # noqa: SLF001 - there is no public way in
        dense(attention._query_dense, f"{name}.attention.self.query_proj")  # noqa: SLF001
        dense(attention._key_dense, f"{name}.attention.self.key_proj")  # noqa: SLF001
        dense(attention._value_dense, f"{name}.attention.self.value_proj")  # noqa: SLF001
        dense(attention._output_dense, f"{name}.attention.output.dense")  # noqa: SLF001
        norm(layer._self_attention_layer_norm, f"{name}.attention.output.LayerNorm")  # noqa: SLF001
        dense(layer._feedforward_intermediate_dense, f"{name}.intermediate.dense")  # noqa: SLF001
        dense(layer._feedforward_output_dense, f"{name}.output.dense")  # noqa: SLF001
        norm(layer._feedforward_layer_norm, f"{name}.output.LayerNorm")  # noqa: SLF001
    if tensors:
        raise ValueError(f"DebertaV3Backbone has no place for {', '.join(sorted(tensors))}.")
