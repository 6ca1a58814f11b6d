"""The DeBERTaV3 encoder in PyTorch, float32, written from spec/ alone, as somebody would port it.

``load(checkpoint_dir)`` returns ``run(inputs)``, as docs/ports.md asks. Module names follow the checkpoint's.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

EPSILON = 1e-7


class Embeddings(nn.Module):
    """From ids to the first hidden state: a row of the table each, normalised."""

    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=EPSILON)
        self.dropout = nn.Dropout(config.get("hidden_dropout_prob", 0.1))

    def forward(self, ids, mask):
        x = self.word_embeddings(ids)
        x = self.LayerNorm(x)
        x = x * mask[:, :, None].to(x.dtype)
        return self.dropout(x)


def log_bucket(distance, bucket_size, max_position):
    """The signed bucket of each distance: itself up to half of the buckets, logarithmic beyond."""
    mid = bucket_size // 2
    sign = torch.sign(distance)
    magnitude = distance.abs()
    longest = torch.log(torch.tensor((max_position - 1) / mid))
    log_position = torch.ceil(torch.log(magnitude / mid) / longest * (mid - 1)) + mid
    return torch.where(magnitude <= mid, distance, (log_position * sign).long())


def relative_rows(positions, bucket_size, max_position):
    """Which relative embedding belongs to each pair of positions, (…, T, T)."""
    distance = positions[..., :, None] - positions[..., None, :]
    bucket = log_bucket(distance, bucket_size, max_position)
    return torch.clamp(bucket + bucket_size, 0, 2 * bucket_size - 1)


class SelfAttention(nn.Module):
    """Disentangled attention: three terms, one scale, softmax over the valid keys."""

    def __init__(self, config):
        super().__init__()
        self.heads = config["num_attention_heads"]
        self.head_size = config["hidden_size"] // self.heads
        self.query_proj = nn.Linear(config["hidden_size"], config["hidden_size"])
        self.key_proj = nn.Linear(config["hidden_size"], config["hidden_size"])
        self.value_proj = nn.Linear(config["hidden_size"], config["hidden_size"])
        self.dropout = nn.Dropout(config.get("attention_probs_dropout_prob", 0.1))

    def split(self, x):
        """From (…, T, D) to (…, H, T, d)."""
        x = x.reshape(*x.shape[:-1], self.heads, self.head_size)
        return x.transpose(-2, -3)

    def merge(self, x):
        """From (B, H, T, d) to (B, T, D)."""
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)

    def content_to_position(self, query, relative_key, rows):
        products = query @ relative_key.transpose(-1, -2)
        index = rows.expand(products.shape[0], self.heads, -1, -1)
        return torch.gather(products, -1, index)

    def position_to_content(self, key, relative_query, rows):
        products = key @ relative_query.transpose(-1, -2)
        index = rows.transpose(-1, -2).expand(products.shape[0], self.heads, -1, -1)
        return torch.gather(products, -1, index).transpose(-1, -2)

    def forward(self, x, relative, rows, mask):
        query = self.split(self.query_proj(x))
        key = self.split(self.key_proj(x))
        value = self.split(self.value_proj(x))
        relative_query = self.split(self.query_proj(relative))
        relative_key = self.split(self.key_proj(relative))
        scale = math.sqrt(3 * self.head_size)
        c2c = query @ key.transpose(-1, -2)
        c2p = self.content_to_position(query, relative_key, rows)
        p2c = self.position_to_content(key, relative_query, rows)
        scores = (c2c + c2p + p2c) / scale
        allowed = mask[:, None, None, :]
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        probs = torch.softmax(scores, dim=-1)
        probs = self.dropout(probs)
        context = probs @ value
        return self.merge(context)


class SelfOutput(nn.Module):
    """What follows attention: a map, the residual, a normalisation."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config["hidden_size"], config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=EPSILON)
        self.dropout = nn.Dropout(config.get("hidden_dropout_prob", 0.1))

    def forward(self, context, residual):
        y = self.dropout(self.dense(context))
        return self.LayerNorm(y + residual)


class Attention(nn.Module):
    """The attention block."""

    def __init__(self, config):
        super().__init__()
        self.self = SelfAttention(config)
        self.output = SelfOutput(config)

    def forward(self, x, relative, rows, mask):
        return self.output(self.self(x, relative, rows, mask), x)


class Intermediate(nn.Module):
    """The first half of the feed-forward."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config["hidden_size"], config["intermediate_size"])

    def forward(self, x):
        return functional.gelu(self.dense(x))


class Output(nn.Module):
    """The second half of the feed-forward: a map, the residual, a normalisation."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config["intermediate_size"], config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=EPSILON)
        self.dropout = nn.Dropout(config.get("hidden_dropout_prob", 0.1))

    def forward(self, inner, residual):
        y = self.dropout(self.dense(inner))
        return self.LayerNorm(y + residual)


class Layer(nn.Module):
    """One layer: attention, then feed-forward."""

    def __init__(self, config):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config)

    def forward(self, x, relative, rows, mask):
        attended = self.attention(x, relative, rows, mask)
        inner = self.intermediate(attended)
        return self.output(inner, attended)


class Encoder(nn.Module):
    """The layers, and the relative embeddings that all of them use."""

    def __init__(self, config):
        super().__init__()
        self.bucket_size = config["position_buckets"]
        self.max_position = config["max_position_embeddings"]
        self.rel_embeddings = nn.Embedding(2 * self.bucket_size, config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=EPSILON)
        self.layer = nn.ModuleList([Layer(config) for _ in range(config["num_hidden_layers"])])

    def forward(self, x, mask):
        relative = self.LayerNorm(self.rel_embeddings.weight)
        positions = torch.arange(x.shape[1])
        rows = relative_rows(positions, self.bucket_size, self.max_position)
        for layer in self.layer:
            x = layer(x, relative, rows, mask)
        return x


class Model(nn.Module):
    """The whole encoder."""

    def __init__(self, config):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)

    def forward(self, ids, mask):
        x = self.embeddings(ids, mask)
        return self.encoder(x, mask)


def load(checkpoint_dir):
    """A function from token_ids and padding_mask to the last hidden state, for the checkpoint in this directory."""
    directory = Path(checkpoint_dir)
    config = json.loads((directory / "config.json").read_text("utf-8"))
    tensors = load_file(directory / "model.safetensors")
    tensors = {name.removeprefix("deberta."): tensor.float() for name, tensor in tensors.items()}
    model = Model(config)
    model.load_state_dict(tensors)
    model.eval()

    @torch.no_grad()
    def run(inputs):
        ids = torch.from_numpy(inputs["token_ids"])
        mask = torch.from_numpy(inputs["padding_mask"]).bool()
        return model(ids, mask).numpy()

    return run
