"""Chapter 9: the names, axes and contents of the taps."""

import re
from pathlib import Path

import models
import numpy as np
import pytest

from deberta_ref import Config, forward, trace
from deberta_ref.positions import bucket, relative_row
from deberta_ref.taps import tap_axes

clause = pytest.mark.clause

CHAPTER = Path(__file__).parents[1] / "spec" / "09-vectors.md"


def specified_taps(num_layers):
    """The names and axes in the table of the specification, in its order, each layer in full."""
    first, layer, last = [], [], []
    for cell, axes in re.findall(r"^\| (`.+?) \| ([A-Za-z ]+?) \|", CHAPTER.read_text("utf-8"), re.MULTILINE):
        names = re.findall(r"`([^`]+)`", cell)
        stem = names[0].rpartition(".")[0]
        for name in (stem + name if name.startswith(".") else name for name in names):
            part = layer if name.startswith("layers.n.") else last if layer else first
            part.append((name, axes.replace(" ", "")))
    layers = [(name.replace(".n.", f".{n}."), axes) for n in range(num_layers) for name, axes in layer]
    return [*first, *layers, *last]


@clause("VEC-TAPS")
def test_taps_are_exactly_the_list_of_the_specification():
    assert list(tap_axes(models.SMALL).items()) == specified_taps(3)
    assert len(specified_taps(3)) == 3 + 3 * 14 + 1


@clause("VEC-TAPS", "VEC-PADDED")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(4))
def test_taps_have_their_shapes_and_zeros_where_padded(seed, dtype):
    random = np.random.default_rng(seed)
    config = models.random_config(random)
    params = models.random_params(config, random)
    inputs = models.random_inputs(config, random)
    mask = inputs["padding_mask"].astype(bool)
    B, T = mask.shape
    sizes = {"B": B, "T": T, "D": config.hidden_dim, "H": config.num_heads, "d": config.head_dim}
    sizes |= {"R": config.num_relative, "F": config.intermediate_dim}
    taps = trace(params, inputs, dtype=dtype)
    assert [(name, tap.shape) for name, tap in taps.items()] == [
        (name, tuple(sizes[axis] for axis in axes)) for name, axes in specified_taps(config.num_layers)
    ]
    for name, axes in specified_taps(config.num_layers)[:-1]:
        if axes in {"BTD", "BTF"}:
            assert (taps[name][~mask] == 0).all()
        elif axes == "BHTd":
            assert (taps[name].swapaxes(1, 2)[~mask] == 0).all()
        elif axes == "BHTT":
            pairs = mask[:, :, None] & mask[:, None, :]
            assert (taps[name].transpose(0, 2, 3, 1)[~pairs] == 0).all()
    assert taps["relative_row"].dtype == np.intp
    assert (taps["relative_row"] == relative_row(T, config)).all()


@clause("IN-LENGTH")
def test_trace_refuses_what_forward_refuses():
    params = models.random_params(models.SMALL, np.random.default_rng(0))
    with pytest.raises(ValueError, match="got T = 17"):
        trace(params, models.inputs_of([[1] * 17]))
    assert trace(params, models.inputs_of([[1] * 17]), allow_long=True)["output"].shape == (1, 17, 12)


def test_rows_beyond_127_are_kept_whole():
    config = Config(9, 1, 1, 2, 2, max_sequence_length=300)
    row = trace(models.random_params(config, np.random.default_rng(0)), models.inputs_of([[1] * 300]))["relative_row"]
    assert (row[0, 0], row[299, 0], row[0, 299]) == (256, 256 + bucket(299, config), 256 - bucket(299, config))


@clause("VEC-PADDED")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(4))
def test_output_is_what_forward_returns_bit_for_bit(seed, dtype):
    random = np.random.default_rng(seed)
    config = models.random_config(random)
    params = models.random_params(config, random)
    inputs = models.random_inputs(config, random)
    assert (trace(params, inputs, dtype=dtype)["output"] == forward(params, inputs, dtype=dtype)).all()


@clause("VEC-PADDED")
def test_valid_positions_hold_what_the_example_alone_gives():
    random = np.random.default_rng(0)
    params = models.random_params(models.SMALL, random)
    inputs = models.random_inputs(models.SMALL, random, T=9)
    taps = trace(params, inputs)
    for b in range(4):
        alone = trace(params, {name: rows[b : b + 1] for name, rows in inputs.items()})
        for name, axes in tap_axes(models.SMALL).items():
            found = taps[name][b] if axes[0] == "B" else taps[name]
            expected = alone[name][0] if axes[0] == "B" else alone[name]
            assert np.allclose(found, expected, rtol=0, atol=1e-12), name


def test_a_trace_shares_no_memory_with_the_parameters():
    params = models.random_params(models.SMALL, np.random.default_rng(0))
    before = params.relative_embedding.copy()
    for tap in trace(params, models.inputs_of([[1, 2]])).values():
        tap[...] = 7
    assert (params.relative_embedding == before).all()
