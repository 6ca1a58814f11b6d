"""Random models and inputs for the tests: small, of every shape, with weights large enough for sharp attention."""

import math

import numpy as np

from deberta_ref import Config, Params, init

TINY = Config(10, num_layers=2, num_heads=2, hidden_dim=2, intermediate_dim=4, max_sequence_length=5)
"""KerasHub's own unit test: bucket_size stays 256."""

SMALL = Config(40, num_layers=3, num_heads=4, hidden_dim=12, intermediate_dim=20, max_sequence_length=16, bucket_size=8)


def random_config(random):
    """Sizes from one head to eight, odd buckets too."""
    num_heads = int(random.choice([1, 2, 3, 4, 8]))
    bucket_size = int(random.integers(2, 64))
    return Config(
        vocabulary_size=int(random.integers(5, 200)),
        num_layers=int(random.integers(1, 5)),
        num_heads=num_heads,
        hidden_dim=num_heads * int(random.choice([1, 2, 3, 5, 8, 12, 16, 27])),
        intermediate_dim=int(random.integers(1, 96)),
        max_sequence_length=int(random.integers(bucket_size + 1, 160)),
        bucket_size=bucket_size,
    )


def random_params(config, random, dtype="float64"):
    """Normal weights that neither vanish nor saturate; biases and scales that are not 0 and 1."""
    arrays = {}
    for name, array in init(config, dtype="float64").arrays().items():
        values = random.normal(size=array.shape)
        if name.endswith(".weight"):
            values *= 1.5 / math.sqrt(array.shape[1])
        arrays[name] = (1 + 0.3 * values if name.endswith(".scale") else values).astype(dtype)
    return Params.from_arrays(config, arrays)


def random_inputs(config, random, T=None):
    """Four examples: whole, padded at the end, with holes, without a valid token."""
    T = T or int(random.integers(1, config.max_sequence_length + 1))
    mask = np.ones((4, T), np.int32)
    mask[1, random.integers(1, T + 1) :] = 0
    mask[2] = random.integers(0, 2, T)
    mask[3] = 0
    return {"token_ids": random.integers(0, config.vocabulary_size, (4, T)), "padding_mask": mask}


def inputs_of(ids, mask=None):
    """Inputs from nested lists; all valid by default."""
    return {"token_ids": ids, "padding_mask": np.ones(np.shape(ids), int) if mask is None else mask}
