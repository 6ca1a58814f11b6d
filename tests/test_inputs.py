"""Chapter 1: what is served and what is refused, before anything is computed."""

from collections import UserDict

import models
import numpy as np
import pytest

from deberta_ref import forward, init, trace

clause = pytest.mark.clause

CONFIG = models.SMALL  # vocabulary 40, 16 positions
PARAMS = init(CONFIG)
IDS = [[1, 2, 3], [4, 5, 6]]
MASK = [[1, 1, 1], [1, 1, 0]]


@clause("IN-IDS", "IN-MASK")
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_every_integer_type_and_booleans_give_the_same(dtype):
    ids = np.array([[1, 0, 1], [0, 1, 1]])
    expected = forward(PARAMS, models.inputs_of(ids.tolist(), MASK))
    given = forward(PARAMS, models.inputs_of(ids.astype(dtype), np.array(MASK, dtype)))
    assert (given == expected).all()


@clause("IN-IDS")
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([[1, 2, 3], [4, 40, 6]], r"token_ids must be in 0 … 39.*got 40 at \[1, 1\]"),
        ([[1, 2, -1], [4, 5, 6]], r"got -1 at \[0, 2\]"),
        (np.array([[2**63 + 1] * 3] * 2, np.uint64), "got 9223372036854775809"),
        ([[1, 2, 2**70], [4, 5, 6]], "got 1180591620717411303424"),
        (np.array([[1, 2, -128], [4, 5, 6]], np.int8), "got -128"),
    ],
)
def test_ids_out_of_range_are_refused_with_their_place(ids, words):
    with pytest.raises(ValueError, match=words):
        forward(PARAMS, models.inputs_of(ids, MASK))


@clause("IN-IDS")
def test_an_id_out_of_range_is_refused_even_where_it_is_padded():
    with pytest.raises(ValueError, match="got 40"):
        forward(PARAMS, models.inputs_of([[1, 2, 3], [4, 5, 40]], MASK))


@clause("IN-IDS", "IN-MASK")
@pytest.mark.parametrize("entry", ["token_ids", "padding_mask"])
@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([[1.0, 1, 1], [1, 1, 1]], TypeError, "be integers; got float64"),
        (np.zeros((0, 3)), TypeError, "be integers; got float64"),
        ([["1", "1", "1"]] * 2, TypeError, "be integers; got <U1"),
        ([[None] * 3] * 2, TypeError, "be integers; got object"),
        ([1, 1, 1], ValueError, r"2 axes, \(B, T\); got 1, of shape \(3,\): one text is a batch of one"),
        (1, ValueError, "got 0"),
        ([[[1]]], ValueError, "got 3"),
        ([[1, 1], [1]], ValueError, "rows of different lengths"),
        ("text", TypeError, "got a str"),
        (None, TypeError, "got a NoneType"),
        (np.ma.masked_array([[1, 1, 1]] * 2, mask=[[0, 0, 1]] * 2), TypeError, "got a masked one"),
    ],
)
def test_wrong_types_and_ranks_are_refused_by_name(entry, value, error, words):
    with pytest.raises(error, match=f"{entry} must .*{words}"):
        forward(PARAMS, models.inputs_of(IDS, MASK) | {entry: value})


@clause("IN-MASK")
@pytest.mark.parametrize(("mask", "words"), [([[1, 1, 2]] * 2, "got 2"), ([[1, 1, -1]] * 2, "got -1")])
def test_a_mask_of_other_values_is_refused(mask, words):
    with pytest.raises(ValueError, match=f"padding_mask must be in 0 … 1.*{words}"):
        forward(PARAMS, models.inputs_of(IDS, mask))


@clause("IN-MASK")
@pytest.mark.parametrize("mask", [[[1, 1, 1]], [[1, 1], [1, 1]], [[1] * 2] * 3])
def test_a_mask_of_another_shape_is_refused(mask):
    with pytest.raises(ValueError, match=r"padding_mask must have the shape of token_ids, \(2, 3\); got"):
        forward(PARAMS, models.inputs_of(IDS, mask))


@clause("IN-LENGTH")
def test_no_position_and_too_many_are_refused():
    for ids in ([[]], np.zeros((2, 0), int)):
        with pytest.raises(ValueError, match="got T = 0"):
            forward(PARAMS, models.inputs_of(ids))
    with pytest.raises(ValueError, match=r"max_sequence_length = 16 positions; got T = 17.*allow_long=True"):
        forward(PARAMS, models.inputs_of([[1] * 17]))
    assert forward(PARAMS, models.inputs_of([[1] * 16])).shape == (1, 16, 12)
    assert forward(PARAMS, models.inputs_of([[1] * 17]), allow_long=True).shape == (1, 17, 12)


@clause("IN-LENGTH")
def test_an_empty_batch_is_served():
    empty = models.inputs_of(np.zeros((0, 3), int))
    assert forward(PARAMS, empty).shape == (0, 3, 12)
    assert trace(PARAMS, empty)["layers.0.attention.probs"].shape == (0, 4, 3, 3)


@clause("IN-KEYS")
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"token_ids": IDS}, "padding_mask is missing"),
        ({}, "token_ids is missing and padding_mask is missing"),
        ({"token_ids": IDS, "padding_mask": MASK, "segment_ids": IDS}, "'segment_ids' is unknown"),
        ({"inputs_ids": IDS, "padding_mask": MASK}, "token_ids is missing and 'inputs_ids' is unknown"),
    ],
)
def test_missing_and_unknown_entries_are_named(inputs, words):
    with pytest.raises(ValueError, match=words):
        forward(PARAMS, inputs)


@clause("IN-KEYS")
@pytest.mark.parametrize(
    "names", [("input_ids", "attention_mask"), ("input_ids", "padding_mask"), ("token_ids", "attention_mask")]
)
def test_the_names_of_hugging_face_are_taken_too(names):
    ours = models.inputs_of(IDS, MASK)
    theirs = UserDict(zip(names, ours.values(), strict=True))  # what a Hugging Face tokenizer returns is one
    expected = forward(PARAMS, ours)
    assert (forward(PARAMS, theirs) == expected).all()
    theirs["token_type_ids"] = np.zeros_like(IDS)
    assert (forward(PARAMS, theirs) == expected).all()
    assert "token_type_ids" in theirs


@clause("IN-KEYS")
@pytest.mark.parametrize(("ours", "theirs"), [("token_ids", "input_ids"), ("padding_mask", "attention_mask")])
def test_both_names_of_one_input_are_refused(ours, theirs):
    inputs = models.inputs_of(IDS, MASK)
    with pytest.raises(ValueError, match=f"must have {ours} or {theirs}.*got both: leave one out"):
        forward(PARAMS, inputs | {theirs: inputs[ours]})


@clause("IN-KEYS")
def test_token_types_that_are_not_zeros_are_refused():
    with pytest.raises(ValueError, match=r"token_type_ids must be zeros.*got 1: leave them out"):
        forward(PARAMS, models.inputs_of(IDS, MASK) | {"token_type_ids": [[0, 0, 1], [0, 0, 0]]})


@clause("IN-KEYS")
@pytest.mark.parametrize("types", [[[0, 0, 0]], [[0, 0], [0, 0]], [[0]], np.zeros((2, 4), int), np.zeros((0, 3), int)])
def test_token_types_of_another_shape_are_refused(types):
    with pytest.raises(ValueError, match=r"^token_type_ids must have the shape of token_ids, \(2, 3\), or be left out"):
        forward(PARAMS, models.inputs_of(IDS, MASK) | {"token_type_ids": types})


@clause("IN-KEYS")
def test_inputs_that_are_no_mapping_are_refused():
    with pytest.raises(TypeError, match="must be a mapping with token_ids and padding_mask; got list"):
        forward(PARAMS, IDS)


@clause("NUM-DTYPE")
@pytest.mark.parametrize(
    ("dtype", "error"),
    [("float8", ValueError), ("mixed_float32", ValueError), (int, ValueError), (7, TypeError), ("", ValueError)],
)
def test_an_unknown_type_to_compute_in_is_refused(dtype, error):
    with pytest.raises(error, match=r"dtype must be 'float16' or .* or 'mixed_bfloat16'; got"):
        forward(PARAMS, models.inputs_of(IDS, MASK), dtype=dtype)


@pytest.mark.parametrize("params", ["deberta_v3_base_en", None, {}, CONFIG])
def test_what_is_no_params_is_refused(params):
    with pytest.raises(TypeError, match=r"params must be a deberta_ref\.Params"):
        forward(params, models.inputs_of(IDS, MASK))


def test_python_and_numpy_integers_in_object_arrays_are_served():
    ids = np.array([[1, np.int64(2), 3]], object)
    assert (forward(PARAMS, models.inputs_of(ids)) == forward(PARAMS, models.inputs_of([[1, 2, 3]]))).all()


@clause("REL-LONG")
def test_a_length_without_buckets_is_refused_before_anything_is_computed(monkeypatch):
    params = init(models.TINY)
    monkeypatch.setattr("deberta_ref.model.embed", lambda *_: pytest.fail("computed something"))
    with pytest.raises(ValueError, match="shorten the sequence to 129 tokens"):
        forward(params, models.inputs_of([[1] * 130]), allow_long=True)


def test_inputs_are_never_changed():
    given = {name: np.array(rows) for name, rows in models.inputs_of(IDS, MASK).items()}
    before = {name: rows.copy() for name, rows in given.items()}
    forward(PARAMS, given)
    trace(PARAMS, given)
    assert given.keys() == before.keys()
    assert all((given[name] == before[name]).all() for name in before)


def test_read_only_and_strided_inputs_are_served():
    ids = np.asfortranarray(np.array(IDS))
    ids.flags.writeable = False
    y = forward(PARAMS, {"token_ids": ids, "padding_mask": np.array(MASK)[:, ::1]})
    assert (y == forward(PARAMS, models.inputs_of(IDS, MASK))).all()
