"""Sixty mistakes that people make when they port the encoder, each made in the text of port.py.

Run as a script, by an interpreter that has PyTorch, it prints as JSON how each mistaken port scores on a few cases.
"""

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.verdict import LIMIT

PORT = Path(__file__).with_name("port.py")

FEW = (
    "model/holes",
    "model/tail-padding",
    "model/tiny-variance",
    "model/id-0-valid",
    "model/low-scores",
    "model/many-texts",
    "model/eleven-layers",
    "long/small",
)
"""Small cases that show every mistake, the first of them most."""


@dataclass(frozen=True)
class Mistaken:
    """A mistake: what to replace in port.py, where each old text is there exactly once."""

    name: str
    sentence: str
    changes: tuple[tuple[str, str], ...]

    def load(self, checkpoint_dir):
        """What ``load`` of the mistaken port returns."""
        source = PORT.read_text("utf-8")
        for old, new in self.changes:
            assert source.count(old) == 1, (self.name, old)
            source = source.replace(old, new)
        module = ModuleType(f"mistaken_{self.name.replace('-', '_')}")
        exec(compile(source, f"{PORT} with {self.name}", "exec"), vars(module))  # noqa: S102 - this repository's text
        return module.load(checkpoint_dir)


def mistaken(name, sentence, *changes):
    return Mistaken(name, sentence, changes)


LOADED = """    model.load_state_dict(tensors)
"""
LOADED_IN_PART = """    torch.manual_seed(0)
    model.load_state_dict(tensors, strict=False)
"""
MODEL = """    model = Model(config)
"""
QUERY = "query = self.split(self.query_proj(x))"
RELATIVE_QUERY = "relative_query = self.split(self.query_proj(relative))"
RELATIVE_KEY = "relative_key = self.split(self.key_proj(relative))"
SCORES = "scores = (c2c + c2p + p2c) / scale"
SCALE = "scale = math.sqrt(3 * self.head_size)"
ALLOWED = "allowed = mask[:, None, None, :]"
FILL = "scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)"
SOFTMAX = "probs = torch.softmax(scores, dim=-1)"
RELATIVE = "relative = self.LayerNorm(self.rel_embeddings.weight)"
POSITIONS = "positions = torch.arange(x.shape[1])"
LAYERS = 'self.layer = nn.ModuleList([Layer(config) for _ in range(config["num_hidden_layers"])])'
LOOP = "for layer in self.layer:"
STEP = """            x = layer(x, relative, rows, mask)
        return x
"""
BUCKET_RESULT = "return torch.where(magnitude <= mid, distance, (log_position * sign).long())"
EMBEDDINGS_NORM = "x = self.LayerNorm(x)"
AFTER_DOWN = """        y = self.dropout(self.dense(inner))
        return self.LayerNorm(y + residual)
"""
GELU = "functional.gelu(self.dense(x))"
RUN = """        return model(ids, mask).numpy()
"""

MISTAKES = (
    # The three terms
    mistaken(
        "p2c-rows-not-transposed",
        "Position-to-content gathers with the rows as they are, not transposed.",
        ("rows.transpose(-1, -2).expand(", "rows.expand("),
    ),
    mistaken(
        "p2c-not-transposed-back",
        "Position-to-content, gathered for each key, is added without being transposed back.",
        ("torch.gather(products, -1, index).transpose(-1, -2)", "torch.gather(products, -1, index)"),
    ),
    mistaken(
        "p2c-of-queries",
        "Position-to-content multiplies the relative queries by the queries, not the keys.",
        ("self.position_to_content(key, ", "self.position_to_content(query, "),
    ),
    mistaken(
        "p2c-of-first-head",
        "The index of position-to-content is not expanded over the heads, so all heads get the term of the first.",
        ("rows.transpose(-1, -2).expand(products.shape[0], self.heads,", "rows.mT.expand(products.shape[0], 1,"),
    ),
    mistaken(
        "relative-maps-swapped",
        "The relative queries come from the key map, and the relative keys from the query map.",
        (RELATIVE_QUERY, "relative_query = self.split(self.key_proj(relative))"),
        (RELATIVE_KEY, "relative_key = self.split(self.query_proj(relative))"),
    ),
    mistaken(
        "relative-maps-without-bias",
        "The relative embeddings are multiplied by the weights of both maps, without the biases.",
        (RELATIVE_QUERY, "relative_query = self.split(relative @ self.query_proj.weight.T)"),
        (RELATIVE_KEY, "relative_key = self.split(relative @ self.key_proj.weight.T)"),
    ),
    mistaken(
        "p2c-with-relative-keys",
        "Position-to-content multiplies the keys by the relative keys, not the relative queries.",
        ("self.position_to_content(key, relative_query, rows)", "self.position_to_content(key, relative_key, rows)"),
    ),
    mistaken(
        "c2p-twice",
        "Content-to-position is added twice, in the place of position-to-content.",
        (SCORES, "scores = (c2c + c2p + c2p) / scale"),
    ),
    mistaken(
        "p2c-absent",
        "Only c2p is read from pos_att_type: there is no p2c, and the scale is sqrt(2d).",
        (SCALE, "scale = math.sqrt(2 * self.head_size)"),
        (SCORES, "scores = (c2c + c2p) / scale"),
    ),
    mistaken(
        "relative-maps-of-first-layer",
        "The relative embeddings are projected once, by the maps of the first layer, and all layers share the result.",
        (RELATIVE_QUERY, "relative_query = self.split(self.first.query_proj(relative))"),
        (RELATIVE_KEY, "relative_key = self.split(self.first.key_proj(relative))"),
        (
            LAYERS,
            f"""{LAYERS}
        for layer in self.layer:
            object.__setattr__(layer.attention.self, "first", self.layer[0].attention.self)""",
        ),
    ),
    mistaken(
        "position-terms-of-first-layer",
        "c2p and p2c are computed in the first layer and added in every layer, like the position bias of T5.",
        (
            SCORES,
            """if self is self.first:
            self.shared["bias"] = c2p + p2c
        scores = (c2c + self.first.shared["bias"]) / scale""",
        ),
        (
            LAYERS,
            f"""{LAYERS}
        for layer in self.layer:
            object.__setattr__(layer.attention.self, "first", self.layer[0].attention.self)
            layer.attention.self.shared = {{}}""",
        ),
    ),
    # The scale
    mistaken(
        "scale-sqrt-d",
        "The scores are divided by sqrt(d), as in every other transformer.",
        (SCALE, "scale = math.sqrt(self.head_size)"),
    ),
    mistaken(
        "scale-by-heads",
        "The root is taken of three times the number of heads, not of their size.",
        (SCALE, "scale = math.sqrt(3 * self.heads)"),
    ),
    mistaken(
        "c2c-scaled-by-sqrt-d",
        "Content-to-content is divided by sqrt(d), and only the other two terms by sqrt(3d).",
        (SCORES, "scores = c2c / math.sqrt(self.head_size) + (c2p + p2c) / scale"),
    ),
    mistaken(
        "p2c-unscaled",
        "The queries are divided by the scale before the products, so that p2c, which has none, is not scaled.",
        (QUERY, f"{QUERY} / math.sqrt(3 * self.head_size)"),
        (SCORES, "scores = c2c + c2p + p2c"),
    ),
    # Positions
    mistaken(
        "bucket-floor",
        "The logarithmic bucket is rounded down, not up.",
        ("torch.ceil(", "torch.floor("),
    ),
    mistaken(
        "bucket-log-of-all-positions",
        "The logarithm that divides is that of M over m, not M - 1 over m.",
        ("(max_position - 1) / mid", "max_position / mid"),
    ),
    mistaken(
        "bucket-times-m",
        "The quotient of the logarithms is multiplied by m, not m - 1.",
        ("longest * (mid - 1)", "longest * mid"),
    ),
    mistaken(
        "bucket-by-length-of-input",
        "The logarithmic buckets end at the length of the input, not at the model's longest.",
        (
            "relative_rows(positions, self.bucket_size, self.max_position)",
            "relative_rows(positions, self.bucket_size, x.shape[1])",
        ),
    ),
    mistaken(
        "distances-clipped",
        "Distances are clipped to the table, as in version 1, and have no logarithmic buckets.",
        (BUCKET_RESULT, "return distance.clamp(-bucket_size, bucket_size - 1)"),
    ),
    mistaken(
        "bucket-without-sign",
        "Logarithmic buckets lose the sign of the distance.",
        (BUCKET_RESULT, "return torch.where(magnitude <= mid, distance, log_position.long())"),
    ),
    mistaken(
        "row-off-by-one",
        "Distance 0 has the row before the middle of the table.",
        ("bucket + bucket_size, 0", "bucket + bucket_size - 1, 0"),
    ),
    mistaken(
        "distance-reversed",
        "The distance is the key's position minus the query's.",
        (
            "positions[..., :, None] - positions[..., None, :]",
            "positions[..., None, :] - positions[..., :, None]",
        ),
    ),
    mistaken(
        "positions-skip-holes",
        "Positions count valid tokens only, by a running sum of the mask.",
        (POSITIONS, "positions = mask.long().cumsum(-1)[:, None] - 1"),
    ),
    mistaken(
        "long-positions-clamped",
        "Positions from the model's longest on are all taken for the last one.",
        (POSITIONS, f"{POSITIONS}.clamp(max=self.max_position - 1)"),
    ),
    # Residuals and normalisations
    mistaken(
        "feedforward-residual-of-input",
        "The feed-forward adds the input of the layer, not the output of the attention block.",
        ("return self.output(inner, attended)", "return self.output(inner, x)"),
    ),
    mistaken(
        "feedforward-norm-before-residual",
        "The feed-forward is normalised before the residual is added.",
        (AFTER_DOWN, AFTER_DOWN.replace("self.LayerNorm(y + residual)", "self.LayerNorm(y) + residual")),
    ),
    mistaken(
        "norms-swapped",
        "The two normalisations of a layer have each other's parameters.",
        (
            MODEL,
            """    for name in [name for name in tensors if ".attention.output.LayerNorm." in name]:
        other = name.replace(".attention.output.", ".output.")
        tensors[name], tensors[other] = tensors[other], tensors[name]
    model = Model(config)
""",
        ),
    ),
    mistaken(
        "epsilon-of-pytorch",
        "Every normalisation has PyTorch's default epsilon, 1e-5.",
        ("EPSILON = 1e-7", "EPSILON = 1e-5"),
    ),
    mistaken(
        "epsilon-of-bert-in-embeddings",
        "The normalisation of the embeddings has BERT's epsilon, 1e-12, and the others the right one.",
        (
            """        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=EPSILON)
        self.dropout = nn.Dropout(config.get("hidden_dropout_prob", 0.1))

    def forward(self, ids, mask):""",
            """        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=1e-12)
        self.dropout = nn.Dropout(config.get("hidden_dropout_prob", 0.1))

    def forward(self, ids, mask):""",
        ),
    ),
    mistaken(
        "relative-norm-unbiased",
        "The relative embeddings are normalised by hand, by the deviation that divides by D - 1.",
        (
            RELATIVE,
            """table = self.rel_embeddings.weight
        deviation = table.std(-1, keepdim=True) + EPSILON
        relative = (table - table.mean(-1, keepdim=True)) / deviation * self.LayerNorm.weight + self.LayerNorm.bias""",
        ),
    ),
    mistaken(
        "final-norm",
        "The encoder's normalisation, which is for the relative embeddings, is also applied to the last hidden state.",
        (STEP, STEP.replace("return x", "return self.LayerNorm(x)")),
    ),
    mistaken(
        "relative-not-normalised",
        "The relative embeddings are used as they are in the checkpoint.",
        (RELATIVE, "relative = self.rel_embeddings.weight"),
    ),
    mistaken(
        "relative-normalised-in-the-loop",
        "The relative embeddings are normalised inside the loop over the layers, so once more for each layer.",
        (RELATIVE, "relative = self.rel_embeddings.weight"),
        (
            f"{LOOP}\n",
            f"{LOOP}\n            relative = self.LayerNorm(relative)\n",
        ),
    ),
    # Masks
    mistaken(
        "causal",
        "A token attends to itself and earlier tokens only, as in a decoder.",
        (ALLOWED, f"{ALLOWED} & torch.ones_like(scores).tril().bool()"),
    ),
    mistaken(
        "mask-from-ids",
        "The mask is made from the ids, as those that are not 0, and the given one is ignored.",
        ("        x = self.embeddings(ids, mask)", "        mask = ids != 0\n        x = self.embeddings(ids, mask)"),
    ),
    mistaken(
        "mask-fills-10000",
        "Masked scores are -10000, not the lowest number.",
        (FILL, "scores = scores.masked_fill(~allowed, -10000.0)"),
    ),
    mistaken(
        "mask-after-softmax",
        "The probabilities of masked keys are set to zero after the softmax, and the others do not sum to 1.",
        (FILL, "pass"),
        (SOFTMAX, f"{SOFTMAX} * allowed"),
    ),
    mistaken(
        "mask-on-queries",
        "The mask is broadcast along the keys, so that it masks queries.",
        (ALLOWED, "allowed = mask[:, None, :, None]"),
    ),
    mistaken(
        "mask-of-first-example",
        "The mask of the first example is used for the whole batch.",
        (ALLOWED, "allowed = mask[:1, None, None, :]"),
    ),
    # The stack
    mistaken(
        "last-layer-skipped",
        "The last layer is left out: its input is returned.",
        (LOOP, "for layer in self.layer[:-1]:"),
    ),
    mistaken(
        "layers-sorted-by-name",
        "The layers are in the order of their names, so that layer 10 follows layer 1.",
        (LOOP, "for _, layer in sorted(self.layer.named_children()):"),
    ),
    mistaken(
        "one-layer-repeated",
        "The list of layers holds one object many times, which has the parameters that were loaded last.",
        (LAYERS, 'self.layer = nn.ModuleList([Layer(config)] * config["num_hidden_layers"])'),
    ),
    # The feed-forward
    mistaken(
        "gelu-by-tanh",
        "GELU is computed by its tanh approximation.",
        (GELU, 'functional.gelu(self.dense(x), approximate="tanh")'),
    ),
    mistaken(
        "quick-gelu",
        "GELU is approximated by x times the sigmoid of 1.702 x.",
        (GELU, "(y := self.dense(x)) * torch.sigmoid(1.702 * y)"),
    ),
    mistaken(
        "gelu-after-down",
        "GELU stands after the second map of the feed-forward, not between the two.",
        (GELU, "self.dense(x)"),
        ("self.dropout(self.dense(inner))", "self.dropout(functional.gelu(self.dense(inner)))"),
    ),
    # Biases, weights, heads
    mistaken(
        "value-without-bias",
        "The value map has no bias.",
        (
            'self.value_proj = nn.Linear(config["hidden_size"], config["hidden_size"])',
            'self.value_proj = nn.Linear(config["hidden_size"], config["hidden_size"], bias=False)',
        ),
        (LOADED, LOADED_IN_PART),
    ),
    mistaken(
        "biases-of-last-layer-zero",
        "The loop that copies the biases of linear maps ends one layer early, and those of the last layer stay zero.",
        (
            MODEL,
            """    last = f"encoder.layer.{config['num_hidden_layers'] - 1}."
    for name, tensor in tensors.items():
        if name.startswith(last) and name.endswith(("_proj.bias", "dense.bias")):
            tensor.zero_()
    model = Model(config)
""",
        ),
    ),
    mistaken(
        "attention-output-transposed",
        "The weight of the map after attention is transposed, which its square shape does not betray.",
        (
            MODEL,
            """    for name in tensors:
        if name.endswith("attention.output.dense.weight"):
            tensors[name] = tensors[name].T.contiguous()
    model = Model(config)
""",
        ),
    ),
    mistaken(
        "heads-interleaved",
        "Feature k of head h is taken from k · H + h, not from h · d + k.",
        (
            """self.heads, self.head_size)
        return x.transpose(-2, -3)""",
            """self.head_size, self.heads)
        return x.movedim(-1, -3)""",
        ),
    ),
    mistaken(
        "relative-heads-interleaved",
        "The relative projections, and only they, are split into heads with the feature first.",
        (
            RELATIVE_QUERY,
            "relative_query = self.query_proj(relative).reshape(-1, self.head_size, self.heads).movedim(-1, 0)",
        ),
        (
            RELATIVE_KEY,
            "relative_key = self.key_proj(relative).reshape(-1, self.head_size, self.heads).movedim(-1, 0)",
        ),
    ),
    # Softmax and precision
    mistaken(
        "softmax-over-queries",
        "The softmax is taken over the queries, not the keys.",
        (SOFTMAX, "probs = torch.softmax(scores, dim=-2)"),
    ),
    mistaken(
        "softmax-in-float16",
        "The scores are cast to float16 for the softmax.",
        (SOFTMAX, "probs = torch.softmax(scores.half(), dim=-1).float()"),
    ),
    mistaken(
        "context-in-bfloat16",
        "The product of probabilities and values takes bfloat16.",
        ("context = probs @ value", "context = (probs.bfloat16() @ value.bfloat16()).float()"),
    ),
    # Embeddings
    mistaken(
        "embeddings-scaled",
        "The normalised embeddings are multiplied by sqrt(D).",
        (EMBEDDINGS_NORM, f"{EMBEDDINGS_NORM} * math.sqrt(x.shape[-1])"),
    ),
    mistaken(
        "embedding-of-id-0-zero",
        "Id 0 is taken for padding, and its embedding is zero before the normalisation.",
        (EMBEDDINGS_NORM, f"x = x * (ids != 0)[..., None]\n        {EMBEDDINGS_NORM}"),
    ),
    # Loading and running
    mistaken(
        "norm-biases-not-loaded",
        "The biases of the normalisations are looked for under another name, and stay zero.",
        (
            LOADED,
            f"""    tensors = {{name: value for name, value in tensors.items() if not name.endswith("LayerNorm.bias")}}
{LOADED_IN_PART}""",
        ),
    ),
    mistaken(
        "last-value-map-not-loaded",
        "The value map of the last layer is not found in the checkpoint and keeps its random initial parameters.",
        (
            LOADED,
            f"""    last = f"encoder.layer.{{config['num_hidden_layers'] - 1}}.attention.self.value_proj"
    tensors = {{name: tensor for name, tensor in tensors.items() if not name.startswith(last)}}
{LOADED_IN_PART}""",
        ),
    ),
    mistaken(
        "dropout-left-on",
        "The model stays in training mode, so that dropout is active.",
        ("    model.eval()\n", ""),
    ),
    mistaken(
        "batch-left-sorted",
        "The examples are sorted by length, longest first, and the outputs stay in that order.",
        (
            RUN,
            """        order = torch.argsort(mask.sum(-1), descending=True, stable=True)
        return model(ids[order], mask[order]).numpy()
""",
        ),
    ),
)


def outputs(load, cases):
    """The last hidden state that the port gives for each case, as float64; an error gives None."""
    torch.set_num_threads(1)
    for case in cases:
        with tempfile.TemporaryDirectory() as directory:
            case.params.save(Path(directory) / "checkpoint")
            try:
                output = load(Path(directory) / "checkpoint")(
                    {name: np.asarray(value, np.int64) for name, value in case.inputs.items()}
                )
            except RuntimeError:
                output = None
        yield case, None if output is None else np.asarray(output, np.float64)


def judged(mistake, cases):
    """How the mistaken port does on these cases, up to the first that it fails: scores, and how many are usable."""
    scores = {}
    for case, output in outputs(mistake.load, cases):
        usable = output is not None and np.isfinite(output[case.inputs["padding_mask"] == 1]).all()
        scores[case.id] = case.scores({"output": output})["output"] if usable else math.inf
        if scores[case.id] > LIMIT:
            break
    return scores


if __name__ == "__main__":
    chosen = {case.id: case for case in corpus() if case.id in FEW}
    print(json.dumps({mistake.name: judged(mistake, [chosen[name] for name in FEW]) for mistake in MISTAKES}))
