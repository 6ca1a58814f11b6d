"""What the golden cases of whole models and of single layers are: sizes, masks, lengths."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from deberta_ref import Config, Params, Tokenizer, from_preset, presets, trace
from deberta_ref.recipe import from_recipe, recipe_ids

DEMO = "deberta_v3_demo_en"

SENTENCES = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune,",
    "must be in want",
]


@dataclass(frozen=True)
class Draft:
    """A case before anything is computed: what its manifest says of it, and what is asked."""

    id: str
    exercises: str
    clauses: tuple[str, ...]
    inputs: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)  # further entries of the manifest
    checkpoint: Params | None = None  # parameters that no recipe makes


@dataclass(frozen=True)
class Plan:
    """How a case of a whole model, or of one of its layers, is made."""

    id: str
    exercises: str
    clauses: tuple[str, ...]
    config: Config
    T: int
    mask: str = "whole"  # whole | tail | holes | half
    B: int = 3
    scale: tuple[tuple[str, ...], float] | None = None  # parameters whose names end so are multiplied
    first_id: int | None = None  # put this id first in every example
    layer: int | None = None  # ask for this layer alone
    bits: int | None = None  # the parameters' significant bits, where they are fewer than 24
    low: bool = False  # one feature of each head makes every score very low
    high: bool = False  # one feature of each head makes scores of keys far to the right very high, which are padding


def small(**sizes: int) -> Config:
    """A configuration of head size 12, whose scale is exactly 6, unless it says otherwise."""
    usual = {"vocabulary_size": 60, "num_layers": 2, "num_heads": 2, "hidden_dim": 24, "intermediate_dim": 32}
    return Config(**(usual | {"max_sequence_length": 16, "bucket_size": 8} | sizes))


TINY = tuple(
    f"{module}.{leaf}"
    for module, leaves in {
        "embeddings_norm": ("scale", "bias"),
        "attention_norm": ("scale", "bias"),
        "attention_output": ("weight", "bias"),
        "down": ("weight", "bias"),
        "feedforward_norm": ("scale", "bias"),
    }.items()
    for leaf in leaves
)
"""What is added up before the normalisations of a layer."""

PLANS = (
    Plan(
        "model/one-token", "A token alone, which attends to itself: T of 1.", ("ATT-PROBS", "EMB-NORM"), small(), 1, B=2
    ),
    Plan(
        "model/whole",
        "Sequences without padding, at the longest length.",
        ("ATT-C2P", "ATT-P2C", "REL-ROW"),
        small(),
        16,
    ),
    Plan(
        "model/tail-padding", "Examples of different lengths, padded at the end.", ("PAD-ABSENT",), small(), 16, "tail"
    ),
    Plan(
        "model/holes",
        "Padding between valid tokens, and an example without any.",
        ("PAD-POSITIONS",),
        small(),
        16,
        "holes",
    ),
    Plan("model/id-0-valid", "Id 0 with a mask of 1, which is no padding.", ("IN-IDS",), small(), 9, first_id=0),
    Plan(
        "model/odd-buckets",
        "An odd number of buckets, whose middle is rounded down.",
        ("REL-BUCKET", "IN-CONFIG"),
        small(bucket_size=7, max_sequence_length=20),
        20,
        "tail",
    ),
    Plan(
        "model/one-head",
        "One attention head, twelve features wide.",
        ("ATT-HEADS", "ATT-SCALE"),
        small(num_heads=1, hidden_dim=12),
        14,
        "tail",
    ),
    Plan(
        "model/many-heads",
        "Sixteen heads of three features.",
        ("ATT-HEADS", "ATT-CONTEXT"),
        small(num_heads=16, hidden_dim=48),
        14,
        "tail",
        B=2,
    ),
    Plan(
        "model/head-size-32",
        "Heads of 32 features, which kernels are made for, with holes in the mask and padding in front.",
        ("ATT-HEADS", "PAD-POSITIONS"),
        small(num_layers=1, hidden_dim=64),
        12,
        "holes",
    ),
    Plan(
        "model/head-size-64",
        "Heads of 64 features, as those of every published model.",
        ("ATT-HEADS", "ATT-SCALE"),
        small(num_layers=1, hidden_dim=128, intermediate_dim=16, max_sequence_length=8, bucket_size=4),
        6,
        "tail",
        B=2,
    ),
    Plan(
        "model/large-ids",
        "Ids to 233139, of a vocabulary as large as the multilingual model's: 16 bits do not hold them.",
        ("IN-IDS",),
        small(vocabulary_size=251_000, num_layers=1, hidden_dim=6, intermediate_dim=8),
        8,
        "tail",
    ),
    Plan(
        "model/many-texts",
        "Nine texts at once, of one token to six.",
        ("PAD-ABSENT", "IN-IDS"),
        small(num_layers=1),
        6,
        "tail",
        B=9,
    ),
    Plan(
        "model/keras-hub-test",
        "The sizes of KerasHub's unit test: two features, 256 buckets for five positions.",
        ("IN-CONFIG", "REL-BUCKET"),
        Config(10, 2, 2, 2, 4, max_sequence_length=5),
        5,
        "tail",
    ),
    Plan(
        "model/sharp-attention",
        "Queries three times as large: float32 errs more, and mistakes still show.",
        ("NOISE-SCORE", "NUM-SOFTMAX"),
        small(num_layers=3),
        16,
        "tail",
        scale=(("query.weight",), 3),
    ),
    Plan(
        "model/huge-scores",
        "Queries and keys six times as large: the exponential of a score overflows unless the largest is subtracted.",
        ("NUM-SOFTMAX",),
        small(num_layers=1, max_sequence_length=32),
        30,
        "tail",
        scale=(("query.weight", "key.weight"), 6),
    ),
    Plan(
        "model/low-scores",
        "Padding beside valid scores below -12000: a constant of -10000 in place of a mask would be the highest score.",
        ("PAD-ABSENT",),
        small(num_layers=1),
        12,
        "tail",
        low=True,
    ),
    Plan(
        "model/high-padding",
        "Padded keys that score 20000 above all valid ones: whatever a port adds to them must outweigh that.",
        ("PAD-ABSENT",),
        small(num_layers=1, bucket_size=32, max_sequence_length=64),
        12,
        "half",
        high=True,
    ),
    Plan(
        "model/bucket-of-the-longest",
        "12 tokens at (10, 12), where logarithms of two widths give the longest distance one bucket more.",
        ("REL-BUCKET",),
        small(num_layers=1, bucket_size=10, max_sequence_length=12),
        12,
    ),
    Plan(
        "model/tiny-variance",
        "Embeddings so small that epsilon decides their normalisation.",
        ("NORM-EPSILON", "NORM-DEFINITION"),
        small(),
        12,
        "tail",
        scale=(("embedding",), 2.0**-13),
    ),
    Plan(
        "model/tiny-sums",
        "Sums inside the layers so small that epsilon decides their normalisation.",
        ("NORM-EPSILON", "LAYER-ATTENTION", "LAYER-FEEDFORWARD"),
        small(),
        12,
        "tail",
        scale=(TINY, 2.0**-11),
    ),
    Plan(
        "model/eleven-layers",
        "Eleven layers, whose names as strings have another order than as numbers.",
        ("LAYER-STACK",),
        Config(60, 11, 1, 12, 8, max_sequence_length=4, bucket_size=2),
        2,
        B=1,
    ),
    Plan(
        "model/log-buckets",
        "160 tokens at the published (256, 512), where distances beyond 128 share buckets.",
        ("REL-BUCKET",),
        Config(60, 1, 1, 12, 16),
        160,
        "tail",
        B=2,
    ),
    Plan(
        "model/longest",
        "512 tokens at (256, 512), the longest that the published models take.",
        ("REL-BUCKET", "IN-LENGTH"),
        Config(60, 2, 1, 12, 16),
        512,
        B=1,
    ),
    Plan(
        "model/bucket-64-of-512",
        "512 tokens at (64, 512), where the product before the quotient, in float32, gives bucket 64 at distance 511.",
        ("REL-BUCKET",),
        Config(60, 1, 1, 12, 16, bucket_size=64),
        512,
        B=1,
    ),
    Plan("long/small", "One and a half times the longest length.", ("REL-LONG",), small(), 24, "tail"),
    Plan("long/published", "520 tokens at (256, 512).", ("REL-LONG",), Config(60, 1, 1, 12, 16), 520, B=1),
    *(
        Plan(
            f"presets/{name.replace('deberta_v3_', '').replace('_', '-')}",
            f"The sizes of {name}, {T} tokens.",
            ("LAYER-STACK", "VEC-SUMMARY"),
            presets[name].config,
            T,
            mask,
            B,
        )
        for name, B, T, mask in (
            ("deberta_v3_extra_small_en", 1, 160, "whole"),
            ("deberta_v3_small_en", 2, 12, "tail"),
            ("deberta_v3_base_en", 1, 160, "whole"),
            ("deberta_v3_large_en", 2, 12, "tail"),
            ("deberta_v3_base_multi", 2, 12, "tail"),
        )
    ),
    Plan(
        "layer/first", "The first layer, with padding at the end.", ("LAYER-ATTENTION",), small(), 12, "tail", layer=0
    ),
    Plan(
        "layer/last",
        "The last of three layers, holes in the mask, an odd number of buckets.",
        ("LAYER-FEEDFORWARD", "PAD-POSITIONS"),
        small(num_layers=3, bucket_size=7, max_sequence_length=20),
        16,
        "holes",
        layer=2,
    ),
    Plan(
        "layer/sharp-attention",
        "A layer with queries three times as large.",
        ("ATT-PROBS", "ATT-SCALE"),
        small(num_heads=4, hidden_dim=48),
        12,
        "tail",
        scale=(("query.weight",), 3),
        layer=0,
    ),
    Plan(
        "layer/log-buckets",
        "A layer over 150 tokens at the published (256, 512).",
        ("REL-BUCKET", "ATT-C2P", "ATT-P2C"),
        Config(60, 1, 1, 12, 16),
        150,
        B=1,
        layer=0,
    ),
)


PRECISION = (
    Plan(
        "precision/four-layers",
        "Six texts through four layers: more than a hundred thousand numbers, from which small mistakes stand out.",
        ("LAYER-STACK", "REC-BITS"),
        Config(500, 4, 4, 192, 384, max_sequence_length=128, bucket_size=32),
        100,
        "holes",
        B=6,
        bits=8,
    ),
    Plan(
        "precision/published-buckets",
        "512 tokens at the published (256, 512): log buckets that are computed in a half precision are wrong here.",
        ("REL-BUCKET", "REC-BITS"),
        Config(200, 2, 2, 96, 96),
        512,
        B=1,
        bits=8,
    ),
    Plan(
        "precision/wide",
        "One layer of the base model's width, with 12 heads of 64 features.",
        ("ATT-SCALE", "REC-BITS"),
        Config(300, 1, 12, 768, 768, max_sequence_length=64, bucket_size=16),
        40,
        "tail",
        B=3,
        bits=8,
    ),
)
"""What ports are judged by in any precision: parameters of 8 significant bits are exact in all."""

PLANS = (*PLANS, *PRECISION)

IDS = (*(plan.id for plan in PLANS), "model/demo")


def drafted(name: str) -> Draft:
    """The draft of that id; those of published sizes take gigabytes."""
    if name != "model/demo":
        return _draft(next(plan for plan in PLANS if plan.id == name))
    tokens, params = Tokenizer.from_preset(DEMO)(SENTENCES), from_preset(DEMO)
    return Draft(
        name,
        "The trained demo checkpoint on real sentences.",
        ("LAYER-STACK",),
        {key: rows.astype(np.int64) for key, rows in tokens.items()},
        {"config": asdict(params.config), "parameters": {"preset": DEMO}, "allow_long": False},
    )


def _draft(plan: Plan) -> Draft:
    parameters: dict[str, Any] = {"recipe": {"seed": 0} | ({"bits": plan.bits} if plan.bits else {})}
    checkpoint = None
    if plan.scale:
        params, (ending, factor) = from_recipe(plan.config), plan.scale
        arrays = {n: a * np.float32(factor) if n.endswith(ending) else a for n, a in params.arrays().items()}
        checkpoint = Params.from_arrays(plan.config, arrays)
        parameters = {"checkpoint": "checkpoint"}
    if plan.low:
        checkpoint = low_scores(plan.config)
        parameters = {"checkpoint": "checkpoint"}
    if plan.high:
        checkpoint = high_padding(plan.config, plan.T // 2)
        parameters = {"checkpoint": "checkpoint"}
    ids = recipe_ids(plan.config, plan.B, plan.T).astype(np.int64)
    if plan.first_id is not None:
        ids[:, 0] = plan.first_id
    inputs = {"token_ids": ids, "padding_mask": _mask(plan)}
    fields = {
        "config": asdict(plan.config),
        "parameters": parameters,
        "allow_long": plan.config.max_sequence_length < plan.T,
    }
    if plan.layer is not None:
        fields["layer"] = plan.layer
        taps = trace(checkpoint or from_recipe(plan.config), inputs, "float64")
        incoming = f"layers.{plan.layer - 1}.output" if plan.layer else "embeddings"
        inputs = {
            "x": taps[incoming].astype(np.float32),
            "relative_embeddings": taps["relative_embeddings"].astype(np.float32),
            "padding_mask": inputs["padding_mask"],
        }
    return Draft(plan.id, plan.exercises, plan.clauses, inputs, fields, checkpoint)


def low_scores(config: Config) -> Params:
    """The recipe's parameters, but the first feature of a head is 160 in every query and −160 in every key."""
    arrays = {name: array.copy() for name, array in from_recipe(config).arrays().items()}
    for name, value in (("query", 160), ("key", -160)):
        for layer in range(config.num_layers):
            arrays[f"layers.{layer}.{name}.weight"][:: config.head_dim] = 0
            arrays[f"layers.{layer}.{name}.bias"][:: config.head_dim] = value
    return Params.from_arrays(config, arrays)


def high_padding(config: Config, length: int) -> Params:
    """The recipe's parameters, but keys that are ``length`` or more to the right score over 20000 higher than others.

    Feature 0 is 0 in every token and in the relative embeddings of other distances, and large in those of such keys.
    In every head the first feature of a query is 160, and that of a key 160 times feature 0.
    """
    arrays = {name: array.copy() for name, array in from_recipe(config).arrays().items()}
    for norm in ("embeddings_norm", "relative_norm"):
        arrays[f"{norm}.bias"][0] = 0
    arrays["embeddings_norm.scale"][0], arrays["relative_norm.scale"][0] = 0, 1
    table = arrays["relative_embedding"]
    table[:, 0] = table[:, 1:].mean(axis=1)
    table[: config.bucket_size - length + 1, 0] += 1000
    for layer in range(config.num_layers):
        for name in ("query", "key"):
            arrays[f"layers.{layer}.{name}.weight"][:: config.head_dim] = 0
            arrays[f"layers.{layer}.{name}.bias"][:: config.head_dim] = 0
        arrays[f"layers.{layer}.query.bias"][:: config.head_dim] = 160
        arrays[f"layers.{layer}.key.weight"][:: config.head_dim, 0] = 160
    return Params.from_arrays(config, arrays)


def _mask(plan: Plan) -> Any:
    mask = np.ones((plan.B, plan.T), np.int64)
    for b in range(plan.B):
        if plan.mask == "tail":
            mask[b, plan.T - b * plan.T // plan.B :] = 0
        if plan.mask == "half":
            mask[b, plan.T // 2 - b :] = 0
        if plan.mask == "holes":
            mask[b, b :: 2 + b] = 0
    if plan.mask == "holes":
        mask[-1] = 0
    return mask
