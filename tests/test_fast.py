"""What is fast equals what is plain: every function of fast/ its definition in ops.py, and the whole model on both."""

from inspect import unwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deberta_ref import Config, fast, model, ops
from deberta_ref.conformance.cases import noise
from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.cases.variants import exchanged
from deberta_ref.conformance.verdict import LIMIT
from deberta_ref.fast.blocks import SCORES_AT_A_TIME, a_few_heads_at_a_time
from deberta_ref.positions import relative_row
from deberta_ref.taps import untapped
from deberta_ref.tracing import record

clause = pytest.mark.clause

MODELS = [case for case in corpus() if case.suite in {"model", "long"}]

SPECIAL = [
    0.0,
    -0.0,
    1e-300,
    -1e-300,
    1e-38,
    5.9,
    6.0,
    6.1,
    -5.9,
    -6.0,
    -6.1,
    38.0,
    -38.0,
    40.5,
    -40.5,
    3e38,
    np.inf,
    np.nan,
]


def strided(x, random):
    """The same numbers, as a view of every other element, in either direction."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    view = wide[..., ::2] if random.random() < 0.5 else wide[..., ::-2]
    view[...] = x
    return view


@clause("GELU-ERF", "GELU-ACCURACY")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.lists(st.integers(0, 6), max_size=3), st.floats(-4, 2), st.integers(0, 2**32))
def test_gelu_is_x_times_the_normal_distribution(dtype, shape, exponent, seed):
    random = np.random.default_rng(seed)
    x = (random.normal(size=shape) * 10**exponent).astype(dtype)
    if x.ndim:
        x = strided(x, random)
    agree(x)


@clause("GELU-ERF")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_of_extreme_values(dtype):
    with np.errstate(over="ignore"):
        agree(np.array(SPECIAL, dtype))


def agree(x):
    """Assert that both give the same, but for rounding.

    In float64 the definition rounds x / sqrt(2) by 1.5 units of 2^-53, which changes erfc(−x / sqrt(2)) by up to x²
    times as many, relatively; erfc, the half and the product add a few. In float32 the table adds up to 4e-9 and three
    roundings of numbers up to 1, all multiplied by x.
    """
    with np.errstate(all="ignore"):
        found, plain = fast.gelu(x), ops.gelu(x)
    assert found.dtype == plain.dtype == x.dtype
    assert found.shape == plain.shape == x.shape
    assert (np.isnan(found) == np.isnan(plain)).all()
    assert (np.isinf(found) == np.isinf(plain)).all()
    there = np.isfinite(plain)
    narrow = x.dtype == np.float32
    x, found, plain = (np.asarray(values)[there].astype(np.float64) for values in (x, found, plain))
    with np.errstate(all="ignore"):
        rounding = abs(x) * 2.0**-22 if narrow else abs(plain) * (8 + 2 * x**2) * 2.0**-53 + 64 * 2.0**-1074
        assert (abs(found - plain) <= rounding).all()


@clause("ATT-C2P", "ATT-P2C")
@settings(deadline=None)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    st.integers(1, 300),
    st.integers(1, 4),
    st.integers(1, 9),
    st.sampled_from([1e-30, 1.0, 1e15]),
    st.integers(0, 2**32),
)
def test_relative_products_are_those_of_every_token_with_every_row(dtype, T, H, d, scale, seed):
    random = np.random.default_rng(seed)
    config = Config(9, 1, H, H * d, 1, max_sequence_length=max(T, 10), bucket_size=16)
    x, relative = random.normal(size=(T, H, d)), random.normal(size=(config.num_relative, H, d))
    x, relative = (strided(scale * a, random).astype(dtype).swapaxes(0, 1) for a in (x, relative))
    row = relative_row(T, config)
    some = np.flatnonzero(random.random(T) < 0.7)
    positions = some if some.size and random.random() < 0.3 else slice(0, T)
    x, row = x[:, positions], row[positions][:, positions]
    for there in (row, row.T):
        found, plain = fast.relative_products(x, relative, there), ops.relative_products(x, relative, there)
        assert found.dtype == plain.dtype
        assert found.shape == plain.shape
        # d products of numbers below 6 · scale each, added up in two orders
        assert (abs(found - plain) <= d * d * 36 * scale**2 * np.finfo(dtype).eps).all()


def test_linear_and_layer_norm_are_the_definitions_themselves_cached():
    assert unwrap(fast.linear) is ops.linear
    assert unwrap(fast.layer_norm) is ops.layer_norm


@pytest.mark.parametrize("few", [1, 2, 3, 5])
def test_attention_is_the_same_however_few_heads_are_computed_at_a_time(few, monkeypatch):
    H, T, d, R = 5, 6, 4, 8
    random = np.random.default_rng(few)
    operands = [random.normal(size=(H, n, d)) for n in (T, T, T, R, R)]
    row = relative_row(T, Config(9, 1, H, H * d, 1, max_sequence_length=T, bucket_size=R // 2))
    whole, parts = {}, {}
    blocked: Any = model.disentangled_attention

    def laid_out(name, value, heads=slice(None)):
        parts.setdefault(name, np.full((H, *value.shape[1:]), np.nan))[heads] = value
        return value

    expected = unwrap(blocked)(*operands, row, whole.setdefault)
    monkeypatch.setattr("deberta_ref.fast.blocks.SCORES_AT_A_TIME", few * T * T)
    assert (blocked(*operands, row, laid_out) == expected).all()
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)


@pytest.mark.parametrize("num_heads", [1, 6, 12, 100])
@pytest.mark.parametrize("T", [1, 128, 512, 2048])
def test_heads_come_a_few_at_a_time_each_once_and_their_scores_fit_the_cache(num_heads, T):
    parts = []

    @a_few_heads_at_a_time
    def attention(query, _key, _value, _relative_query, _relative_key, _row, _tap):
        parts.append(query[:, 0, 0].tolist())
        return query

    heads = np.arange(num_heads, dtype=float)[:, None, None]
    row = np.broadcast_to(0, (T, T))
    assert (attention(heads, heads, heads, heads, heads, row, untapped) == heads).all()
    assert [h for part in parts for h in part] == list(range(num_heads))
    assert all(len(part) == 1 or len(part) * T * T <= SCORES_AT_A_TIME for part in parts)
    assert all((len(part) + 1) * T * T > SCORES_AT_A_TIME for part in parts[:-1])


def plain_model():
    """A copy of the model that computes with the definitions in ops.py alone."""
    plain: Any = exchanged(
        gelu=ops.gelu, relative_products=ops.relative_products, linear=ops.linear, layer_norm=ops.layer_norm
    )
    plain.disentangled_attention = unwrap(plain.disentangled_attention)
    plain.padded = unwrap(plain.padded)
    return plain


@clause("PAD-OUTPUT", "GELU-ERF", "ATT-C2P", "ATT-P2C")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "case", [case for case in corpus() if case.suite in {"model", "long"}], ids=lambda case: case.id
)
def test_the_whole_model_on_the_plain_definitions_gives_the_same(case, dtype):
    # Both are right evaluations; float64 rounds by 2^-29 of what float32 rounds by.
    unit = 1.0 if dtype == "float32" else 2.0**-29
    plain = record(plain_model(), case.params, case.inputs, dtype, allow_long=case.allow_long)
    found = record(model, case.params, case.inputs, dtype, allow_long=case.allow_long)
    padding = case.inputs["padding_mask"] == 0
    floors = {name: floor for name, floor in case.floors.items() if name != "relative_row"}
    assert plain.keys() == found.keys()
    assert (plain["relative_row"] == found["relative_row"]).all()
    errors = noise.errors({name: found[name] for name in floors}, plain, case.params, case.inputs)
    for name, floor in floors.items():
        assert errors[name].max <= LIMIT * unit * floor.max, name
    if padding.any():
        assert np.allclose(found["output"][padding], plain["output"][padding], rtol=0, atol=1e4 * np.finfo(dtype).eps)
