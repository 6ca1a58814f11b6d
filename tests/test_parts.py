"""A large batch is computed a few examples at a time: PAD-ABSENT, VEC-TAPS, and the memory that it takes."""

import tracemalloc

import models
import numpy as np
import pytest

from deberta_ref import Config, forward, trace
from deberta_ref.inputs import AT_ONCE, pack
from deberta_ref.model import padded

clause = pytest.mark.clause

CONFIG = Config(50, 2, 2, 16, 32, max_sequence_length=300, bucket_size=16)
PARAMS = models.random_params(CONFIG, np.random.default_rng(0))


def inputs_of(lengths, T=300):
    """Examples of these many valid tokens."""
    ids = np.random.default_rng(1).integers(0, CONFIG.vocabulary_size, (len(lengths), T))
    return {"token_ids": ids, "padding_mask": np.arange(T) < np.array(lengths)[:, None]}


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([300] * 3, [3]),
        ([300] * 4, [3, 1]),
        ([256] * 8, [4, 4]),
        ([0] * 5 + [300] * 3 + [0] + [125], [9, 1]),
        ([], [0]),
        ([0], [1]),
    ],
)
def test_parts_have_neighbouring_examples_up_to_a_number_of_tokens(lengths, sizes):
    batch = pack(inputs_of(lengths), PARAMS)
    parts = list(batch.parts())
    assert [len(part.mask) for _, part in parts] == sizes
    assert [b for examples, _ in parts for b in range(len(lengths))[examples]] == list(range(len(lengths)))
    assert all(len(part.token_ids) <= AT_ONCE for _, part in parts)
    assert np.concatenate([part.token_ids for _, part in parts] or [[]]).tolist() == batch.token_ids.tolist()
    for examples, part in parts:
        assert (part.mask == batch.mask[examples]).all()


def test_an_example_of_more_tokens_is_a_part_alone():
    config = Config(50, 1, 1, 4, 4, bucket_size=16)
    params = models.random_params(config, np.random.default_rng(0))
    batch = pack(models.inputs_of([[1] * 2 * AT_ONCE] * 3), params, allow_long=True)
    assert [len(part.mask) for _, part in batch.parts()] == [1, 1, 1]


@clause("PAD-ABSENT", "VEC-TAPS", "VEC-PADDED")
def test_an_example_gives_the_same_in_whatever_part_it_is():
    inputs = inputs_of([300, 280, 300, 290, 0, 200, 300])
    y, taps = forward(PARAMS, inputs), trace(PARAMS, inputs)
    assert (taps["output"] == y).all()
    for b in range(7):
        alone = trace(PARAMS, {name: rows[b : b + 1] for name, rows in inputs.items()})
        for name in ("output", "layers.1.attention.probs", "layers.0.feedforward.inner"):
            assert np.allclose(taps[name][b], alone[name][0], rtol=0, atol=1e-13), name


@clause("PAD-OUTPUT")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_padded_position_holds_the_same_row_in_whatever_part_it_is(dtype):
    config = Config(50, 2, 2, 16, 32)
    params = models.random_params(config, np.random.default_rng(2), "float32")
    mask = np.arange(512) < np.array([511, 511, 3])[:, None]  # two parts
    inputs = {"token_ids": np.ones(mask.shape, int), "padding_mask": mask}
    assert len(list(pack(inputs, params).parts())) == 2
    y = forward(params, inputs, dtype)
    assert (y[~mask] == padded(params, y.dtype)).all()
    assert (trace(params, inputs, dtype)["output"] == y).all()


def test_an_empty_batch_gives_an_empty_result():
    assert forward(PARAMS, inputs_of([])).shape == (0, 300, 16)
    taps, one = trace(PARAMS, inputs_of([])), trace(PARAMS, inputs_of([300]))
    for name in ("relative_row", "relative_embeddings", "layers.1.attention.relative_key"):
        assert (taps[name] == one[name]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_four_times_the_batch_takes_no_more_memory_but_for_its_result(dtype):
    def peak(B):
        inputs = inputs_of([300] * B)
        tracemalloc.start()
        y = forward(PARAMS, inputs, dtype)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - y.nbytes - 4 * inputs["token_ids"].nbytes  # ids and masks are checked and packed whole

    forward(PARAMS, inputs_of([300]), dtype)  # tables that are made once
    assert peak(48) < 1.1 * peak(12)
