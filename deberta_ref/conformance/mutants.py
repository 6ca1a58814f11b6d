"""The mistakes that ports of DeBERTaV3 make, each as the reference with one expression written differently.

Data: what stands in the source, and what the mistake writes there. A mutant serves twice: vectors that do not reject
it are too weak, and a port that fails as it does has probably made the same mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Literal

from deberta_ref.conformance.variants import rewritten

CONFIG, GELU, INPUTS, MODEL, OPS, POSITIONS = (
    f"deberta_ref.{name}" for name in ("config", "gelu", "inputs", "model", "ops", "positions")
)

Place = Literal["output", "taps", "operation", "refusal", "nowhere"]
"""Where a mistake shows: in the last hidden state at valid positions; in a tap before it alone; in an operation alone,
given what no model gives it; in a request that is served and should be refused; at padded positions, so nowhere."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: ``new`` where the source of ``module`` has ``old``."""

    id: str  # never changes
    clause: str  # of spec/, that it breaks
    sentence: str  # what it does, to a port's author
    module: str
    old: str  # found once in the module's source
    new: str
    seen: tuple[str, ...] = ()  # the implementations known to have, or to have had it
    shows: Place = "output"

    def model(self) -> ModuleType:
        """The model with this mistake: a copy of ``deberta_ref.model``.

        Raises ValueError if ``old`` is not found exactly once.
        """
        return rewritten(self.module, self.old, self.new)


MAGNITUDES = "np.array(_magnitudes(length, config.bucket_size, config.max_sequence_length), np.intp)"
ROW = "np.clip(bucket + config.bucket_size, 0, config.num_relative - 1)"
SCORES = "(c2c + c2p + p2c) / math.sqrt(3 * query.shape[-1])"
C2P = "gather_rows(matmul(query, mT(relative_key)), row)"
P2C = "mT(gather_rows(matmul(key, mT(relative_query)), row.T))"
CONTENT = "linear(x, w), config.num_heads) for w in (p.query, p.key, p.value)"
RELATIVE = "linear(relative, w), config.num_heads) for w in (p.query, p.key)"
ATTENTION = "layer_norm(x + linear(context, p.attention_output), p.attention_norm)"
FEEDFORWARD = "layer_norm(x + linear(inner, p.down), p.feedforward_norm)"
INNER = "gelu(linear(x, p.up))"
VARIANCE = "np.square(centred).mean(axis=-1, keepdims=True)"
PACKED = "_packed(ids.astype(np.intp), mask.astype(np.bool_))"


def _logarithmic(t: str, rounding: str = "ceil") -> str:
    """Magnitudes as ports write them: m, then t rounded, for the distances d beyond m."""
    return (
        f"np.where((d := np.arange(length)) <= (m := config.bucket_size // 2), d, "
        f"m + np.{rounding}(({t.replace('δ', 'np.maximum(d, m)').replace('M', 'config.max_sequence_length')})"
        f".astype(np.float64))).astype(np.intp)"
    )


_INPUTS = (
    Mutant(
        "heads-do-not-divide",
        "IN-CONFIG",
        "A hidden_dim that is no multiple of num_heads is accepted.",
        CONFIG,
        "if self.hidden_dim % self.num_heads:",
        "if False:",
        ("transformers, until the first layer",),
        "refusal",
    ),
    Mutant(
        "bucket-size-1",
        "IN-CONFIG",
        "A bucket_size of 1 is accepted.",
        CONFIG,
        '2 if field.name == "bucket_size" else 1',
        "1",
        shows="refusal",
    ),
    Mutant(
        "forgotten-mask-is-ones",
        "IN-KEYS",
        "A padding_mask that is not given is taken for ones.",
        INPUTS,
        'faults = [f"{key} is missing"',
        'inputs = {"padding_mask": np.ones_like(inputs["token_ids"]), **inputs}\n    faults = [f"{key} is missing"',
        ("transformers",),
        "refusal",
    ),
    Mutant(
        "unknown-inputs-ignored",
        "IN-KEYS",
        "An input that the model does not have is ignored.",
        INPUTS,
        "for key in inputs if key not in KEYS",
        "for key in ()",
        shows="refusal",
    ),
    Mutant(
        "negative-ids-from-the-end",
        "IN-IDS",
        "A negative id counts from the end of the vocabulary.",
        INPUTS,
        '_check_range("token_ids", ids, 0,',
        '_check_range("token_ids", ids, -config.vocabulary_size,',
        shows="refusal",
    ),
    Mutant(
        "ids-clipped",
        "IN-IDS",
        "An id outside the vocabulary is clipped to it.",
        INPUTS,
        '_check_range("token_ids", ids, 0,',
        'ids = np.clip(ids, 0, config.vocabulary_size - 1)\n    _check_range("token_ids", ids, 0,',
        ("KerasHub on JAX",),
        "refusal",
    ),
    Mutant(
        "id-0-is-padding",
        "IN-IDS",
        "A token of id 0 is taken for padding, whatever the mask says.",
        INPUTS,
        PACKED,
        "_packed(ids.astype(np.intp), mask.astype(np.bool_) & (ids != 0))",
    ),
    Mutant(
        "mask-values-unchecked",
        "IN-MASK",
        "A mask with other values than 0 and 1 is accepted.",
        INPUTS,
        '_check_range("padding_mask", mask, 0, 1,',
        '_check_range("padding_mask", mask, mask.min(), mask.max(),',
        shows="refusal",
    ),
    Mutant(
        "mask-broadcast",
        "IN-MASK",
        "A mask of another shape is stretched to that of the ids.",
        INPUTS,
        "if mask.shape != ids.shape:",
        "mask = np.broadcast_to(mask, ids.shape)\n    if mask.shape != ids.shape:",
        shows="refusal",
    ),
    Mutant(
        "mask-inverted",
        "IN-MASK",
        "The mask is read as 1 for a padded token.",
        INPUTS,
        PACKED,
        "_packed(ids.astype(np.intp), mask == 0)",
    ),
    Mutant(
        "mask-of-the-first-example",
        "IN-MASK",
        "The mask of the first example serves the whole batch.",
        INPUTS,
        PACKED,
        "_packed(ids.astype(np.intp), np.broadcast_to(mask[:1].astype(np.bool_), mask.shape))",
    ),
    Mutant(
        "long-without-asking",
        "IN-LENGTH",
        "More than max_sequence_length tokens are served without being asked for.",
        INPUTS,
        "length > most and not allow_long",
        "False",
        ("transformers", "KerasHub"),
        "refusal",
    ),
)

_EMBEDDINGS = (
    Mutant(
        "embeddings-scaled",
        "EMB-LOOKUP",
        "The token embeddings are multiplied by sqrt(D), which only a tiny variance shows.",
        MODEL,
        "params.token_embedding[token_ids].astype(dtype, copy=False)",
        "params.token_embedding[token_ids].astype(dtype) * math.sqrt(params.config.hidden_dim)",
    ),
    Mutant(
        "row-0-zeroed",
        "EMB-LOOKUP",
        "The embedding of id 0, the padding index, is zeros.",
        MODEL,
        "params.token_embedding[token_ids].astype(dtype, copy=False)",
        "params.token_embedding[token_ids].astype(dtype) * (token_ids > 0)[:, None]",
    ),
    Mutant(
        "embeddings-not-normalised",
        "EMB-NORM",
        "The token embeddings are not layer-normalised.",
        MODEL,
        "layer_norm(x, params.embeddings_norm)",
        "x",
    ),
    Mutant(
        "padded-embeddings-not-zeroed",
        "PAD-OUTPUT",
        "The embedding of a padded token is that of id 0, not zeros.",
        MODEL,
        "np.zeros((1, x.shape[1]), dtype)",
        "layer_norm(params.token_embedding[:1].astype(dtype), params.embeddings_norm)",
        ("KerasHub", "an MLX port"),
        "nowhere",
    ),
    Mutant(
        "padded-embeddings-normalised-zeros",
        "PAD-OUTPUT",
        "The mask comes before the layer normalisation, so a padded token's embedding is the normalisation's bias.",
        MODEL,
        "np.zeros((1, x.shape[1]), dtype)",
        "params.embeddings_norm.bias[None].astype(dtype)",
        shows="nowhere",
    ),
)

_POSITIONS = (
    Mutant(
        "distance-key-minus-query",
        "REL-DISTANCE",
        "The distance is the key's position minus the query's.",
        POSITIONS,
        "position[:, None] - position[None, :]",
        "position[None, :] - position[:, None]",
        ("FlashDeBERTa varlen kernel 49cd46c",),
    ),
    Mutant(
        "bucket-sign-lost",
        "REL-BUCKET",
        "Tokens to the left and to the right have the same bucket.",
        POSITIONS,
        "np.sign(distance) * magnitude",
        "magnitude",
    ),
    Mutant(
        "buckets-not-logarithmic",
        "REL-BUCKET",
        "Every distance is its own bucket, clipped to the table.",
        POSITIONS,
        MAGNITUDES,
        "np.arange(length)",
        ("deberta.cpp before b83bebe",),
    ),
    Mutant(
        "bucket-and-maximum-swapped",
        "REL-BUCKET",
        "bucket_size and max_sequence_length are passed in the wrong order.",
        POSITIONS,
        MAGNITUDES,
        "np.array(_magnitudes(length, config.max_sequence_length, config.bucket_size), np.intp)",
        ("transformers 5.23, where keys and queries differ in number",),
    ),
    Mutant(
        "bucket-quotient-truncated",
        "REL-BUCKET",
        "The quotient (M − 1) / m under the logarithm is an integer division.",
        POSITIONS,
        MAGNITUDES,
        _logarithmic("np.log(δ / m) / np.log((M - 1) // m) * (m - 1)"),
        ("rust-bert",),
    ),
    Mutant(
        "bucket-maximum-is-length",
        "REL-BUCKET",
        "The length of the sequence stands for max_sequence_length.",
        POSITIONS,
        MAGNITUDES,
        "np.array(_magnitudes(length, config.bucket_size, length), np.intp)",
        ("TensorRT plugin before 10.0",),
    ),
    Mutant(
        "bucket-maximum-not-less-1",
        "REL-BUCKET",
        "The largest bucket is that of the distance M, not M − 1.",
        POSITIONS,
        MAGNITUDES,
        "np.array(_magnitudes(length, config.bucket_size, config.max_sequence_length + 1), np.intp)",
    ),
    Mutant(
        "bucket-rounded-down",
        "REL-BUCKET",
        "The logarithm is rounded down, not up.",
        POSITIONS,
        MAGNITUDES,
        _logarithmic("np.log(δ / m) / np.log((M - 1) / m) * (m - 1)", "floor"),
    ),
    Mutant(
        "bucket-logarithm-in-half",
        "REL-BUCKET",
        "The logarithm of the distance is taken in float16.",
        POSITIONS,
        MAGNITUDES,
        _logarithmic("np.log((δ / m).astype(np.float16)) / np.float16(np.log((M - 1) / m)) * np.float16(m - 1)"),
    ),
    Mutant(
        "bucket-multiplied-first",
        "REL-BUCKET",
        "In float32 the logarithm is multiplied by m − 1 before it is divided: bucket 64 at distance 511 of (64, 512).",
        POSITIONS,
        MAGNITUDES,
        _logarithmic("np.log((δ / m).astype(np.float32)) * np.float32(m - 1) / np.log(np.float32((M - 1) / m))"),
        ("KerasHub 0.32",),
    ),
    Mutant(
        "bucket-half-rounded-up",
        "REL-BUCKET",
        "Half of an odd bucket_size is rounded up.",
        POSITIONS,
        "m, M = bucket_size // 2, max_sequence_length\n    check_distance(count",
        "m, M = (bucket_size + 1) // 2, max_sequence_length\n    check_distance(count",
    ),
    Mutant(
        "buckets-of-t5",
        "REL-BUCKET",
        "The buckets are T5's: rounded down, up to M, the keys to the right in the upper half of the table.",
        POSITIONS,
        ROW,
        "np.minimum(np.where((d := abs(distance)) < (m := config.bucket_size // 2), d, m + ("
        "np.log(np.maximum(d, m) / m) / np.log(config.max_sequence_length / m) * (config.bucket_size - m)"
        ").astype(np.intp)), config.bucket_size - 1) + config.bucket_size * (distance < 0)",
        ("a vLLM draft",),
    ),
    Mutant(
        "span-is-the-maximum",
        "REL-ROW",
        "The row is the distance plus max_sequence_length: no buckets, and another middle of the table.",
        POSITIONS,
        ROW,
        "np.clip(distance + config.max_sequence_length, 0, config.num_relative - 1)",
        ("deberta.cpp",),
    ),
    Mutant(
        "row-one-less",
        "REL-ROW",
        "The middle of the table is taken to be bucket_size − 1.",
        POSITIONS,
        ROW,
        "np.clip(bucket + config.bucket_size - 1, 0, config.num_relative - 1)",
    ),
    Mutant(
        "c2p-row-without-span",
        "REL-ROW",
        "The c2p term reads the row of the bucket alone, without bucket_size added.",
        MODEL,
        C2P,
        "gather_rows(matmul(query, mT(relative_key)), np.maximum(row - relative_key.shape[1] // 2, 0))",
        ("rust-bert",),
    ),
    Mutant(
        "row-wraps",
        "REL-LONG",
        "A row beyond the table wraps around to its other end.",
        POSITIONS,
        ROW,
        "(bucket + config.bucket_size) % config.num_relative",
    ),
    Mutant(
        "distance-clamped",
        "REL-LONG",
        "Distances are clamped to M − 1 before they are bucketed: a permitted variation, which long inputs show.",
        POSITIONS,
        "magnitude[abs(distance)]",
        "magnitude[np.minimum(abs(distance), config.max_sequence_length - 1)]",
        ("microsoft/DeBERTa c794b71",),
    ),
    Mutant(
        "relative-not-normalised",
        "REL-NORM",
        "The relative embeddings are not layer-normalised.",
        MODEL,
        "layer_norm(relative, params.relative_norm)",
        "relative",
        ("transformers, without norm_rel_ebd in config.json",),
    ),
    Mutant(
        "relative-normalised-in-each-layer",
        "REL-NORM",
        "Every layer normalises the relative embeddings again.",
        MODEL,
        "encoder_layer(layer, params.config, x, relative,",
        "encoder_layer(layer, params.config, x, relative := layer_norm(relative, params.relative_norm),",
    ),
    Mutant(
        "relative-norm-of-the-embeddings",
        "REL-NORM",
        "The relative embeddings are normalised with the token embeddings' scale and bias.",
        MODEL,
        "layer_norm(relative, params.relative_norm)",
        "layer_norm(relative, params.embeddings_norm)",
    ),
    Mutant(
        "relative-table-transposed",
        "REL-NORM",
        "The relative table is read as (D, R) and transposed.",
        MODEL,
        "params.relative_embedding.astype(dtype, copy=False)",
        "params.relative_embedding.reshape(params.relative_embedding.shape[::-1]).T.astype(dtype)",
        ("a GGUF port",),
    ),
)

_ATTENTION = (
    Mutant(
        "query-key-swapped",
        "ATT-PROJECTIONS",
        "The query is made with the key's map, and the key with the query's.",
        MODEL,
        CONTENT,
        CONTENT.replace("p.query, p.key", "p.key, p.query"),
    ),
    Mutant(
        "weight-not-transposed",
        "ATT-PROJECTIONS",
        "A square weight is not transposed.",
        OPS,
        "matmul(x, weight.T)",
        "matmul(x, weight if weight.shape[0] == weight.shape[1] else weight.T)",
    ),
    Mutant(
        "linear-without-bias",
        "ATT-PROJECTIONS",
        "Linear maps have no bias.",
        OPS,
        "matmul(x, weight.T) + bias",
        "matmul(x, weight.T)",
    ),
    Mutant(
        "heads-interleaved",
        "ATT-HEADS",
        "The features are split as (d, H), not (H, d).",
        OPS,
        "x.reshape(len(x), num_heads, -1).swapaxes(0, 1)",
        "x.reshape(len(x), -1, num_heads).transpose(2, 0, 1)",
    ),
    Mutant(
        "heads-merged-interleaved",
        "ATT-HEADS",
        "The contexts of the heads are merged as (d, H), not (H, d).",
        OPS,
        "x.swapaxes(0, 1).reshape(x.shape[1], -1)",
        "x.transpose(1, 2, 0).reshape(x.shape[1], -1)",
    ),
    Mutant(
        "heads-merged-untransposed",
        "ATT-HEADS",
        "The contexts (H, T, d) are reshaped to (T, D) without moving the heads' axis.",
        OPS,
        "x.swapaxes(0, 1).reshape(x.shape[1], -1)",
        "x.reshape(x.shape[1], -1)",
    ),
    Mutant(
        "relative-without-bias",
        "ATT-SHARED",
        "The relative query and key leave out the bias of the query's and the key's map.",
        MODEL,
        RELATIVE,
        RELATIVE.replace("linear(relative, w)", "linear(relative, w) - w.bias"),
    ),
    Mutant(
        "relative-query-key-swapped",
        "ATT-SHARED",
        "The relative query is made with the key's map, and the relative key with the query's.",
        MODEL,
        RELATIVE,
        RELATIVE.replace("p.query, p.key", "p.key, p.query"),
    ),
    Mutant(
        "c2c-transposed",
        "ATT-C2C",
        "The c2c term of a pair is that of the opposite pair.",
        MODEL,
        "matmul(query, mT(key))",
        "matmul(key, mT(query))",
    ),
    Mutant(
        "c2c-absent",
        "ATT-C2C",
        "The c2c term is left out.",
        MODEL,
        SCORES,
        SCORES.replace("c2c + ", ""),
    ),
    Mutant(
        "c2p-index-flipped",
        "ATT-C2P",
        "The c2p term reads the row of the opposite distance.",
        MODEL,
        C2P,
        C2P.replace(", row)", ", row.T)"),
    ),
    Mutant(
        "c2p-reads-relative-query",
        "ATT-C2P",
        "The c2p term multiplies the query with the relative query.",
        MODEL,
        C2P,
        C2P.replace("relative_key", "relative_query"),
    ),
    Mutant(
        "c2p-absent",
        "ATT-C2P",
        "The c2p term is left out, and the scale is for two terms.",
        MODEL,
        SCORES,
        SCORES.replace("c2p + ", "").replace("3 *", "2 *"),
        ("a vLLM draft",),
    ),
    Mutant(
        "p2c-index-flipped",
        "ATT-P2C",
        "The p2c term reads the row of the opposite distance.",
        MODEL,
        P2C,
        P2C.replace("row.T", "row"),
        ("nntrainer#3982", "FlashDeBERTa 0.0.1"),
    ),
    Mutant(
        "p2c-not-transposed",
        "ATT-P2C",
        "The p2c term is gathered per key and not transposed.",
        MODEL,
        P2C,
        "gather_rows(matmul(key, mT(relative_query)), row.T)",
    ),
    Mutant(
        "p2c-of-the-query",
        "ATT-P2C",
        "The p2c term of a pair multiplies key i, not key j, with the relative query.",
        MODEL,
        P2C,
        "gather_rows(matmul(key, mT(relative_query)), row)",
    ),
    Mutant(
        "p2c-reads-relative-key",
        "ATT-P2C",
        "The p2c term multiplies the key with the relative key.",
        MODEL,
        P2C,
        P2C.replace("relative_query", "relative_key"),
    ),
    Mutant(
        "p2c-absent",
        "ATT-P2C",
        "The p2c term is left out, and the scale is for two terms.",
        MODEL,
        SCORES,
        SCORES.replace(" + p2c", "").replace("3 *", "2 *"),
        ("a vLLM draft",),
    ),
    Mutant(
        "scale-without-3",
        "ATT-SCALE",
        "The scores are divided by sqrt(d), not sqrt(3d).",
        MODEL,
        SCORES,
        SCORES.replace("3 * ", ""),
        ("FasterTransformer#707",),
    ),
    Mutant(
        "bias-scale-without-root",
        "ATT-SCALE",
        "c2p and p2c are divided by 3d, not sqrt(3d).",
        MODEL,
        SCORES,
        "c2c / math.sqrt(3 * query.shape[-1]) + (c2p + p2c) / (3 * query.shape[-1])",
        ("rust-bert",),
    ),
    Mutant(
        "scale-of-c2c-alone",
        "ATT-SCALE",
        "c2p and p2c are added after the scale.",
        MODEL,
        SCORES,
        "c2c / math.sqrt(3 * query.shape[-1]) + c2p + p2c",
    ),
    Mutant(
        "scale-of-the-hidden-size",
        "ATT-SCALE",
        "The scale takes the hidden size D for the head size d.",
        MODEL,
        SCORES,
        SCORES.replace("query.shape[-1]", "query.shape[-1] * len(query)"),
    ),
    Mutant(
        "softmax-over-queries",
        "ATT-PROBS",
        "The softmax runs over the queries, not the keys.",
        MODEL,
        "softmax(scores)",
        "mT(softmax(mT(scores)))",
    ),
    Mutant(
        "context-of-transposed-probs",
        "ATT-CONTEXT",
        "The values are weighted by what the keys' tokens hear.",
        MODEL,
        "matmul(probs, value)",
        "matmul(mT(probs), value)",
    ),
    Mutant(
        "probs-of-the-next-head",
        "ATT-CONTEXT",
        "The values of a head are weighted by the probabilities of another.",
        MODEL,
        "matmul(probs, value)",
        "matmul(np.roll(probs, 1, axis=0), value)",
    ),
)

_LAYERS = (
    Mutant(
        "attention-without-residual",
        "LAYER-ATTENTION",
        "The attention block does not add the hidden state that came in.",
        MODEL,
        ATTENTION,
        ATTENTION.replace("x + ", ""),
    ),
    Mutant(
        "attention-norm-before-residual",
        "LAYER-ATTENTION",
        "The attention block normalises before it adds the hidden state.",
        MODEL,
        ATTENTION,
        "x + layer_norm(linear(context, p.attention_output), p.attention_norm)",
    ),
    Mutant(
        "attention-output-map-left-out",
        "LAYER-ATTENTION",
        "The context is added without its linear map.",
        MODEL,
        ATTENTION,
        "layer_norm(x + context, p.attention_norm)",
    ),
    Mutant("inner-relu", "LAYER-INNER", "The feed-forward has ReLU.", MODEL, INNER, "np.maximum(linear(x, p.up), 0)"),
    Mutant("inner-linear", "LAYER-INNER", "The feed-forward has no activation.", MODEL, INNER, "linear(x, p.up)"),
    Mutant(
        "feedforward-without-residual",
        "LAYER-FEEDFORWARD",
        "The feed-forward block does not add the output of the attention block.",
        MODEL,
        FEEDFORWARD,
        FEEDFORWARD.replace("x + ", ""),
    ),
    Mutant(
        "feedforward-norm-before-residual",
        "LAYER-FEEDFORWARD",
        "The feed-forward block normalises before it adds the output of the attention block.",
        MODEL,
        FEEDFORWARD,
        "x + layer_norm(linear(inner, p.down), p.feedforward_norm)",
    ),
    Mutant(
        "feedforward-norm-of-the-attention",
        "LAYER-FEEDFORWARD",
        "The feed-forward block is normalised with the attention block's scale and bias.",
        MODEL,
        FEEDFORWARD,
        FEEDFORWARD.replace("feedforward_norm", "attention_norm"),
    ),
    Mutant(
        "last-layer-left-out",
        "LAYER-STACK",
        "The last layer is not applied.",
        MODEL,
        "enumerate(params.layers)",
        "enumerate(params.layers[:-1])",
    ),
    Mutant(
        "first-layer-repeated",
        "LAYER-STACK",
        "All layers have the first one's parameters.",
        MODEL,
        "enumerate(params.layers)",
        "enumerate(params.layers[:1] * len(params.layers))",
    ),
    Mutant(
        "layers-out-of-order",
        "LAYER-STACK",
        "The layers are applied in another order, as a sorting of their names can put them.",
        MODEL,
        "enumerate(params.layers)",
        "enumerate(params.layers[::-1])",
    ),
    Mutant(
        "output-normalised",
        "LAYER-STACK",
        "A layer normalisation follows the last layer.",
        MODEL,
        '    tap("output", x)\n    return x\n\n\ndef embed(',
        '    x = layer_norm(x, params.embeddings_norm)\n    tap("output", x)\n    return x\n\n\ndef embed(',
    ),
)

_NUMERICS = (
    Mutant(
        "variance-over-d-minus-1",
        "NORM-DEFINITION",
        "The variance is divided by D − 1, not D.",
        OPS,
        VARIANCE,
        "np.square(centred).sum(axis=-1, keepdims=True) / max(x.shape[-1] - 1, 1)",
    ),
    Mutant(
        "epsilon-outside-the-root",
        "NORM-DEFINITION",
        "Epsilon is added to the deviation, not to the variance.",
        OPS,
        "np.sqrt(variance + epsilon)",
        "(np.sqrt(variance) + np.ldexp(x.dtype.type(EPSILON), -exponent))",
    ),
    Mutant(
        "norm-without-mean",
        "NORM-DEFINITION",
        "The mean is not subtracted.",
        OPS,
        "normalised = centred / deviation",
        "normalised = x / deviation",
    ),
    Mutant(
        "norm-without-scale",
        "NORM-DEFINITION",
        "The scale of a layer normalisation is left out.",
        OPS,
        "normalised * scale + bias",
        "normalised + bias",
    ),
    Mutant(
        "norm-without-bias",
        "NORM-DEFINITION",
        "The bias of a layer normalisation is left out.",
        OPS,
        "normalised * scale + bias",
        "normalised * scale",
    ),
    Mutant("epsilon-1e-5", "NORM-EPSILON", "Epsilon is 1e-5.", OPS, "EPSILON = 1e-7", "EPSILON = 1e-5"),
    Mutant("epsilon-1e-6", "NORM-EPSILON", "Epsilon is 1e-6.", OPS, "EPSILON = 1e-7", "EPSILON = 1e-6"),
    Mutant("epsilon-1e-12", "NORM-EPSILON", "Epsilon is 1e-12.", OPS, "EPSILON = 1e-7", "EPSILON = 1e-12"),
    Mutant(
        "norm-squares-unscaled",
        "NORM-RANGE",
        "Values are squared as they come, and overflow.",
        OPS,
        "np.maximum(np.frexp(abs(x).max(axis=-1, keepdims=True))[1], 0)",
        "np.zeros((*x.shape[:-1], 1), np.int32)",
        ("PyTorch", "Keras", "ONNX Runtime"),
        "operation",
    ),
    Mutant(
        "norm-large-mean-rounded",
        "NORM-RANGE",
        "What the rounding of a large mean leaves over is not subtracted.",
        OPS,
        "centred -= centred.mean(axis=-1, keepdims=True)",
        "pass",
        shows="operation",
    ),
    Mutant(
        "gelu-tanh",
        "GELU-ERF",
        "GELU is the tanh approximation.",
        MODEL,
        INNER,
        "0.5 * (u := linear(x, p.up)) * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))",
        ("deberta.cpp before 6fefa35",),
    ),
    Mutant(
        "gelu-sigmoid",
        "GELU-ERF",
        "GELU is the approximation x · sigmoid(1.702 x).",
        MODEL,
        INNER,
        "(u := linear(x, p.up)) / (1 + np.exp(-1.702 * u))",
    ),
    Mutant(
        "gelu-1-plus-erf",
        "GELU-ACCURACY",
        "GELU in float64 is ½ · x · (1 + erf), which loses the negative tail.",
        GELU,
        "_gelu64 if x.dtype == np.float64 else _gelu32",
        "np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))), otypes=[x.dtype])",
        shows="operation",
    ),
    Mutant(
        "gelu-interpolated-linearly",
        "GELU-ACCURACY",
        "GELU in float32 has one term of the series between two nodes, not two.",
        GELU,
        "density * step * (1 - 0.5 * near * step)",
        "density * step",
        shows="operation",
    ),
    Mutant(
        "softmax-unshifted",
        "NUM-SOFTMAX",
        "The largest score is not subtracted before the exponential.",
        OPS,
        "np.exp(x - x.max(axis=-1, keepdims=True))",
        "np.exp(x)",
    ),
    Mutant(
        "softmax-in-half",
        "NUM-DTYPE",
        "The softmax is computed in float16.",
        OPS,
        "np.exp(x - x.max(axis=-1, keepdims=True))",
        "np.exp((x - x.max(axis=-1, keepdims=True)).astype(np.float16)).astype(x.dtype)",
    ),
    Mutant(
        "weights-in-half",
        "NUM-DTYPE",
        "The weights of linear maps are rounded to float16.",
        OPS,
        "p.weight.astype(x.dtype, copy=False)",
        "p.weight.astype(np.float16).astype(x.dtype)",
    ),
    Mutant(
        "products-in-half",
        "NOISE-LEGAL",
        "The operands of matrix products are rounded to 11 bits, as TensorFloat-32 has.",
        OPS,
        "np.matmul(a, b)",
        "np.matmul(a.astype(np.float16), b.astype(np.float16), dtype=a.dtype)",
    ),
)

_PADDING = (
    Mutant(
        "padding-heard",
        "PAD-ABSENT",
        "Padded keys are not masked: valid tokens hear them.",
        INPUTS,
        PACKED,
        "_packed(ids.astype(np.intp), np.ones_like(mask, np.bool_))",
        ("text-embeddings-inference, in padded batches",),
    ),
    Mutant(
        "holes-collapse",
        "PAD-POSITIONS",
        "Distances are taken after the padding is left out, so a hole in the mask counts nothing.",
        INPUTS,
        "positions = np.flatnonzero(valid)",
        "positions = np.arange(valid.sum())",
        ("FlashDeBERTa padding.py",),
    ),
    Mutant(
        "padded-row-hears-itself",
        "PAD-OUTPUT",
        "A padded token hears itself, not nobody.",
        MODEL,
        "context = np.zeros_like(x)",
        "context = merge_heads(value)",
        shows="nowhere",
    ),
)

_TAPS = (
    Mutant(
        "c2c-tapped-after-the-scale",
        "VEC-TAPS",
        "The tap c2c is shown after the scale.",
        MODEL,
        'tap("attention.c2c", c2c)',
        'tap("attention.c2c", c2c / math.sqrt(3 * query.shape[-1]))',
        shows="taps",
    ),
    Mutant(
        "inner-tapped-before-gelu",
        "VEC-TAPS",
        "The tap feedforward.inner is shown before GELU.",
        MODEL,
        'tap("feedforward.inner", inner)',
        'tap("feedforward.inner", linear(x, p.up))',
        shows="taps",
    ),
    Mutant(
        "embeddings-tapped-before-the-norm",
        "VEC-TAPS",
        "The tap embeddings is shown before the layer normalisation.",
        MODEL,
        'tap("embeddings", x)',
        'tap("embeddings", np.append(params.token_embedding[batch.token_ids], x[-1:], axis=0))',
        shows="taps",
    ),
)

mutants: Mapping[str, Mutant] = MappingProxyType(
    {
        mutant.id: mutant
        for group in (_INPUTS, _EMBEDDINGS, _POSITIONS, _ATTENTION, _LAYERS, _NUMERICS, _PADDING, _TAPS)
        for mutant in group
    }
)
"""Every mutant by its id, in the order of the specification."""
