"""Constant folding: what depends on parameters alone is computed once, and never where somebody may change it."""

import gc
import tempfile
import weakref

import models
import numpy as np
import pytest

from deberta_ref import Params, forward, from_preset, init, ops, trace
from deberta_ref.fast import folded
from deberta_ref.ownership import is_owned, own
from deberta_ref.params import Linear
from deberta_ref.recipe import from_recipe

INPUTS = models.inputs_of([[1, 2, 3, 4]])


def counted():
    """A folded operation, and the list of what it was called with."""
    calls = []

    @folded
    def double(x, p):
        calls.append(x)
        return 2 * x + p.bias

    return double, calls


def operands():
    return own(np.arange(3.0)), Linear(own(np.ones((1, 3))), own(np.ones(1)))


def xed():
    double, calls = counted()
    x, p = operands()
    assert double(x, p) is double(x, p)
    assert len(calls) == 1
    assert is_owned(double(x, p))
    assert double(own(np.arange(3.0)), p).tolist() == [1, 3, 5]  # another array, though it is equal
    assert len(calls) == 2


def slices_of_one_array():
    flat = np.arange(6.0)
    x = flat[:3]
    flat.flags.writeable = False  # x is not closed by that, and no view of it knows x
    return x.view(), x


def a_view_that_was_there_before():
    owner = np.arange(3.0)
    other = owner[:]
    owner.flags.writeable = False
    return owner, other


def a_read_only_view_of_bytes():
    memory = bytearray(np.arange(3.0).tobytes())
    return np.frombuffer(memoryview(memory).toreadonly()), np.frombuffer(memory)


def a_file_that_is_mapped_twice():
    file = tempfile.NamedTemporaryFile(delete=False)  # noqa: SIM115 - the maps need it
    file.write(np.arange(3.0).tobytes())
    file.flush()
    return np.memmap(file.name, np.float64, "r"), np.memmap(file.name, np.float64, "r+")


SHARED = (slices_of_one_array, a_view_that_was_there_before, a_read_only_view_of_bytes, a_file_that_is_mapped_twice)


@pytest.mark.parametrize("arrays", SHARED)
def test_what_somebody_else_writes_counts_though_the_array_at_hand_is_read_only(arrays):
    double, _ = counted()
    x, alias = arrays()
    x = x.view()
    x.flags.writeable = False
    _, p = operands()
    assert double(x, p).tolist() == [1, 3, 5]
    alias[...] *= -1
    assert double(x, p).tolist() == [1, -1, -3]


def test_what_was_opened_to_writing_again_is_computed_each_time():
    double, calls = counted()
    x, p = operands()
    double(x, p)
    x.flags.writeable = True
    view = x[:]
    view.flags.writeable = False
    double(view, p), double(view, p)
    assert len(calls) == 3


def test_what_is_kept_goes_with_the_parameters():
    double, _ = counted()
    x, p = operands()
    result = weakref.ref(double(x, p))
    del p
    gc.collect()
    assert result() is None


def test_what_the_package_makes_or_maps_is_owned(tmp_path):
    params = init(models.TINY)
    params.save(tmp_path)
    for made in (params, from_recipe(models.TINY), from_preset(str(tmp_path)), params.astype("float64")):
        assert all(map(is_owned, made.arrays().values()))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_depends_on_half_parameters_alone_is_computed_once(dtype, monkeypatch):
    params = init(models.TINY, dtype=dtype)
    calls = []
    counting = lambda x, p: calls.append(p) or ops.linear(x, p)
    monkeypatch.setattr("deberta_ref.model.linear", folded(counting))
    forward(params, INPUTS, dtype)
    first = len(calls)
    forward(params, INPUTS, dtype)
    assert len(calls) - first == first - 2 * models.TINY.num_layers  # relative queries and keys are known


def test_arrays_of_somebody_else_stay_as_they_were_and_count_as_they_are_at_every_call():
    arrays = {name: array.copy() for name, array in init(models.SMALL, seed=1).arrays().items()}
    params = Params.from_arrays(models.SMALL, arrays)
    before = forward(params, INPUTS)
    assert not any(map(is_owned, params.astype("float32").arrays().values()))
    for name in ("relative_embedding", "relative_norm.scale", "layers.0.key.weight", "layers.0.query.bias"):
        assert arrays[name].flags.writeable
        arrays[name][..., 0] += 1
        after = forward(params, INPUTS)
        assert (after != before).any()
        assert (after == forward(Params.from_arrays(models.SMALL, dict(arrays)), INPUTS)).all()
        before = after


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_the_same_bit_for_bit_folded_or_not_and_in_whatever_order_of_types(dtype):
    params = init(models.TINY, seed=2)
    open_to_writing = Params.from_arrays(models.TINY, {name: a.copy() for name, a in params.arrays().items()})
    for wanted in ("float32", "float64", dtype):
        found, expected = trace(params, INPUTS, wanted), trace(open_to_writing, INPUTS, wanted)
        assert all((found[name] == expected[name]).all() for name in expected)
