"""The mistakes in distances, buckets, rows and relative embeddings. Chapters 3 and 8 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

MAGNITUDE = "positions.relative_row", "magnitude"
ROW = "positions.relative_row", "row"


def _logarithmic(t: str, rounding: str = "ceil") -> Edit:
    """Magnitudes as ports write them: m, then t rounded, for the distances d beyond m."""
    return Edit(
        *MAGNITUDE,
        f"np.where((d := np.arange(length)) <= (m := config.bucket_size // 2), d, "
        f"m + np.{rounding}(({t.replace('δ', 'np.maximum(d, m)').replace('M', 'config.max_sequence_length')})"
        f".astype(np.float64))).astype(np.intp)",
    )


def _bfloat16(x: str) -> str:
    """The nearest number of bfloat16, as float32."""
    return (
        f"(((b := ({x}).view(np.uint32)) + 0x7FFF + ((b >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)"
    )


MUTANTS = (
    Mistake(
        "distance-key-minus-query",
        "REL-DISTANCE",
        "The distance is the key's position minus the query's.",
        Edit("positions.relative_row", "return", "_.T"),
        ("FlashDeBERTa varlen kernel 49cd46c",),
    ),
    Mistake(
        "bucket-sign-lost",
        "REL-BUCKET",
        "Tokens to the left and to the right have the same bucket.",
        Edit("positions.relative_row", "bucket", "abs(_)"),
    ),
    Mistake(
        "buckets-not-logarithmic",
        "REL-BUCKET",
        "Every distance is its own bucket, clipped to the table.",
        Edit(*MAGNITUDE, "np.arange(length)"),
        ("deberta.cpp before b83bebe",),
    ),
    Mistake(
        "bucket-and-maximum-swapped",
        "REL-BUCKET",
        "bucket_size and max_sequence_length are passed in the wrong order.",
        Edit(*MAGNITUDE, "np.array(_magnitudes(length, config.max_sequence_length, config.bucket_size), np.intp)"),
        ("transformers 5.23, where keys and queries differ in number",),
    ),
    Mistake(
        "bucket-quotient-truncated",
        "REL-BUCKET",
        "The quotient (M − 1) / m under the logarithm is an integer division.",
        _logarithmic("np.log(δ / m) / np.log((M - 1) // m) * (m - 1)"),
        ("rust-bert",),
    ),
    Mistake(
        "bucket-maximum-is-length",
        "REL-BUCKET",
        "The length of the sequence stands for max_sequence_length.",
        Edit(*MAGNITUDE, "np.array(_magnitudes(length, config.bucket_size, length), np.intp)"),
        ("TensorRT plugin before 10.0",),
    ),
    Mistake(
        "bucket-maximum-not-less-1",
        "REL-BUCKET",
        "The largest bucket is that of the distance M, not M − 1.",
        Edit(*MAGNITUDE, "np.array(_magnitudes(length, config.bucket_size, config.max_sequence_length + 1), np.intp)"),
    ),
    Mistake(
        "bucket-rounded-down",
        "REL-BUCKET",
        "The logarithm is rounded down, not up.",
        _logarithmic("np.log(δ / m) / np.log((M - 1) / m) * (m - 1)", "floor"),
    ),
    Mistake(
        "bucket-logarithm-in-half",
        "REL-BUCKET",
        "The logarithm of the distance is taken in float16.",
        _logarithmic("np.log((δ / m).astype(np.float16)) / np.float16(np.log((M - 1) / m)) * np.float16(m - 1)"),
    ),
    Mistake(
        "bucket-logarithm-in-bfloat16",
        "REL-BUCKET",
        "The quotient of the distance and its logarithm are rounded to bfloat16.",
        _logarithmic(
            _bfloat16(f"np.log({_bfloat16('(δ / m).astype(np.float32)')})")
            + " / np.log(np.float32((M - 1) / m)) * np.float32(m - 1)"
        ),
        ("OpenVINO 2026.4 in bfloat16",),
    ),
    Mistake(
        "bucket-divisor-in-half",
        "REL-BUCKET",
        "The logarithm of (M − 1) / m, by which others are divided, is rounded to float16.",
        _logarithmic(
            "np.log((δ / m).astype(np.float32)) / np.float32(np.float16(np.log((M - 1) / m))) * np.float32(m - 1)"
        ),
        ("ONNX Runtime's float16 conversion",),
    ),
    Mistake(
        "bucket-divisor-in-bfloat16",
        "REL-BUCKET",
        "The logarithm of (M − 1) / m, by which others are divided, is rounded to bfloat16.",
        _logarithmic(
            f"np.log((δ / m).astype(np.float32)) / {_bfloat16('np.log(np.float32((M - 1) / m))')} * np.float32(m - 1)"
        ),
    ),
    Mistake(
        "bucket-multiplied-first",
        "REL-BUCKET",
        "In float32 the logarithm is multiplied by m − 1 before it is divided: bucket 64 at distance 511 of (64, 512).",
        _logarithmic("np.log((δ / m).astype(np.float32)) * np.float32(m - 1) / np.log(np.float32((M - 1) / m))"),
        ("KerasHub 0.32",),
    ),
    Mistake(
        "bucket-logarithms-of-two-widths",
        "REL-BUCKET",
        "A logarithm in float32 is divided by one in float64, so that the longest distance can get one bucket more.",
        _logarithmic("np.log((δ / m).astype(np.float32)) / float(np.log((M - 1) / m)) * np.float32(m - 1)"),
        ("microsoft/DeBERTa c794b71",),
    ),
    Mistake(
        "bucket-multiplied-first-in-two-widths",
        "REL-BUCKET",
        "In float32 the logarithm is multiplied by m − 1 before it is divided, by a logarithm taken in float64.",
        _logarithmic("np.log((δ / m).astype(np.float32)) * np.float32(m - 1) / np.float32(np.log((M - 1) / m))"),
    ),
    Mistake(
        "bucket-half-rounded-up",
        "REL-BUCKET",
        "Half of an odd bucket_size is rounded up.",
        Edit("positions._magnitudes", "m, M", "((bucket_size + 1) // 2, _[1])"),
    ),
    Mistake(
        "buckets-of-t5",
        "REL-BUCKET",
        "The buckets are T5's: rounded down, up to M, the keys to the right in the upper half of the table.",
        Edit(
            *ROW,
            "np.minimum(np.where((d := abs(distance)) < (m := config.bucket_size // 2), d, m + ("
            "np.log(np.maximum(d, m) / m) / np.log(config.max_sequence_length / m) * (config.bucket_size - m)"
            ").astype(np.intp)), config.bucket_size - 1) + config.bucket_size * (distance < 0)",
        ),
        ("a vLLM draft",),
    ),
    Mistake(
        "span-is-the-maximum",
        "REL-ROW",
        "The row is the distance plus max_sequence_length: no buckets, and another middle of the table.",
        Edit(*ROW, "np.clip(distance + config.max_sequence_length, 0, config.num_relative - 1)"),
        ("deberta.cpp",),
    ),
    Mistake(
        "row-one-less",
        "REL-ROW",
        "The middle of the table is taken to be bucket_size − 1.",
        Edit(*ROW, "np.clip(bucket + config.bucket_size - 1, 0, config.num_relative - 1)"),
    ),
    Mistake(
        "c2p-row-without-span",
        "REL-ROW",
        "The c2p term reads the row of the bucket alone, without bucket_size added.",
        Edit(
            "model.disentangled_attention",
            "attention.c2p",
            "(lambda row: _)(np.maximum(row - relative_key.shape[1] // 2, 0))",
        ),
        ("rust-bert",),
    ),
    Mistake(
        "row-wraps",
        "REL-LONG",
        "A row beyond the table wraps around to its other end.",
        Edit(*ROW, "(bucket + config.bucket_size) % config.num_relative"),
    ),
    Mistake(
        "relative-not-normalised",
        "REL-NORM",
        "The relative embeddings are not layer-normalised.",
        Edit("model.encode", "relative_embeddings", "table"),
        ("transformers, without norm_rel_ebd in config.json",),
    ),
    Mistake(
        "relative-normalised-in-each-layer",
        "REL-NORM",
        "Every layer normalises the relative embeddings again.",
        Edit("model.encode", "x", "(relative := layer_norm(relative, params.relative_norm), _)[1]"),
    ),
    Mistake(
        "relative-norm-of-the-embeddings",
        "REL-NORM",
        "The relative embeddings are normalised with the token embeddings' scale and bias.",
        Edit("model.encode", "relative_embeddings", "layer_norm(table, params.embeddings_norm)"),
    ),
    Mistake(
        "relative-table-transposed",
        "REL-NORM",
        "The relative table is read as (D, R) and transposed.",
        Edit("model.encode", "table", "_.reshape(_.shape[::-1]).T"),
        ("a GGUF port",),
    ),
)

VARIATIONS = (
    Mistake(
        "distance-clamped",
        "REL-LONG",
        "Distances are clamped to M − 1 before they are bucketed, which long inputs show.",
        Edit(*MAGNITUDE, "_[np.minimum(np.arange(length), config.max_sequence_length - 1)]"),
        ("microsoft/DeBERTa c794b71",),
    ),
)
"""What another implementation may do, and does: no mistakes."""
