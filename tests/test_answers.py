"""What a port may return, and what is said of everything else."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deberta_ref import Config, Params, model, trace
from deberta_ref.conformance.cases.corpus import Case, corpus
from deberta_ref.conformance.cases.summary import summarised
from deberta_ref.conformance.judging.answers import checked
from deberta_ref.conformance.ports.tensors import Tensor, as_tensor, read_tensors
from deberta_ref.positions import relative_row
from deberta_ref.recipe import from_recipe, recipe_ids
from deberta_ref.taps import tap_axes

clause = pytest.mark.clause

CASES = {case.id: case for case in corpus()}
HOLES = CASES["model/holes"]
"""B = 3, T = 16, D = 24, H = 2, with holes in the mask."""

OUTPUT = HOLES.expected["output"].astype(np.float32)


def valid_of(case):
    return case.inputs["padding_mask"].astype(bool)


def faults_of(raw, case=HOLES):
    return list(checked(case, raw).faults)


def only_fault(raw, case=HOLES):
    (fault,) = faults_of(raw, case)
    return fault


def preset_case(directory):
    """A case as the suite presets has them, of a small model."""
    config = Config(60, num_layers=2, num_heads=2, hidden_dim=24, intermediate_dim=32)
    params: Params = from_recipe(config)
    inputs = {"token_ids": recipe_ids(config, 2, 7), "padding_mask": np.array([[1] * 7, [1] * 4 + [0] * 3])}
    taps = trace(params, inputs, "float64")
    save_file(inputs, directory / "inputs.safetensors")
    save_file(summarised(taps), directory / "expected.safetensors")
    return Case(directory, {"id": "presets/small", "config": vars(config), "parameters": {"recipe": {"seed": 0}}}), taps


@pytest.mark.parametrize("name", ["model/holes", "long/small", "layer/last", "ops/softmax-holes", "ops/rows-7-20"])
def test_what_the_reference_gives_is_an_answer(name):
    case = CASES[name]
    answer = checked(case, case.evaluate(model, "float32"))
    assert answer.faults == answer.notes == ()
    assert list(answer.values) == case.order
    assert all(x.dtype.name in {"float64", "int64"} for x in answer.values.values())
    assert max(case.scores(answer.values).values()) < 2


def test_what_is_not_judged_becomes_zero():
    values = checked(HOLES, {"output": OUTPUT}).values
    assert (values["output"][valid_of(HOLES)] == OUTPUT[valid_of(HOLES)]).all()
    assert (values["output"][~valid_of(HOLES)] == 0).all()


def test_an_answer_may_leave_out_all_but_the_output():
    assert faults_of({"output": OUTPUT}) == []
    taps = {"embeddings": HOLES.expected["embeddings"], "layers.0.output": HOLES.expected["layers.0.output"]}
    assert only_fault(taps) == (
        "output is missing: an answer to model/holes must hold it; it holds embeddings, layers.0.output."
    )
    assert only_fault({}) == "output is missing: an answer to model/holes must hold it; it holds nothing."


def test_other_names_may_be_required():
    taps = {"embeddings": HOLES.expected["embeddings"]}
    assert checked(HOLES, taps, required=("embeddings",)).faults == ()


def test_an_unknown_name_is_a_fault_that_names_the_nearest_known():
    assert only_fault({"output": OUTPUT, "layers.0.attn.c2p": OUTPUT}) == (
        "layers.0.attn.c2p is unknown; layers.0.attention.c2p is the nearest that is known: rename it, or leave it out."
    )
    assert "last_hidden_state is unknown; it is called output here: rename it output." in faults_of(
        {"last_hidden_state": OUTPUT}
    )
    assert "known are embeddings, relative_embeddings" in only_fault({"output": OUTPUT, "???": OUTPUT})
    assert "known are embeddings" in only_fault({"output": OUTPUT, 7: OUTPUT})
    assert "known are result" in only_fault({"result": np.zeros(641), "q": 1}, CASES["ops/gelu"])


@clause("VEC-FILES")
def test_inputs_may_be_handed_back_but_not_those_of_another_case():
    assert faults_of({"output": OUTPUT, **HOLES.inputs}) == []
    as_bool = {"padding_mask": valid_of(HOLES)}
    assert faults_of({"output": OUTPUT, **as_bool}) == []
    assert only_fault({"output": OUTPUT, "token_ids": HOLES.inputs["token_ids"] + 1}) == (
        "token_ids must be what was asked in model/holes, if it is there; this answers something else."
    )


def test_a_wrong_shape_is_said_in_letters_and_numbers():
    c2p = HOLES.expected["layers.0.attention.c2p"]
    assert only_fault({"output": OUTPUT, "layers.0.attention.c2p": c2p[:, 0]}) == (
        "layers.0.attention.c2p must be (B, H, T, T) = (3, 2, 16, 16); got (3, 16, 16)."
    )
    assert "got (6, 16, 16), which has as many numbers: reshape it, or exchange its axes." in only_fault(
        {"output": OUTPUT, "layers.0.attention.c2p": c2p.reshape(6, 16, 16)}
    )
    assert only_fault({"output": OUTPUT[0, 0, 0]}) == "output must be (B, T, D) = (3, 16, 24); got ()."
    assert only_fault({"result": np.zeros((9, 9))}, CASES["ops/gather-c2p"]) == "result must be (2, 9, 9); got (9, 9)."


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floating_point_types_are_taken(dtype):
    answer = checked(HOLES, {"output": OUTPUT.astype(dtype)})
    assert answer.faults == ()
    assert answer.values["output"].dtype == np.float64


@pytest.mark.parametrize(
    ("dtype", "came"), [("int64", "int64"), ("complex64", "complex64"), ("bool", "bool"), ("U", "str"), ("V4", "void")]
)
def test_other_types_are_faults(dtype, came):
    fault = only_fault({"output": OUTPUT.view("V4") if dtype == "V4" else OUTPUT.astype(dtype)})
    assert fault.startswith("output must be float16, bfloat16, float32 or float64; got " + came)
    assert fault.endswith(": cast it to float32.")


@pytest.mark.parametrize("value", [None, object(), [[1.0], [1.0, 2.0]], np.ma.masked_array(OUTPUT), {"a": 1}])
def test_a_value_that_is_not_an_array_is_a_fault(value):
    assert only_fault({"output": value}).startswith("output must be an array, (B, T, D) = (3, 16, 24); got a ")


def test_integers_must_be_integers_of_any_width():
    row = HOLES.expected["relative_row"]
    for dtype in ("uint8", "int16", "int32", "uint64"):
        assert faults_of({"output": OUTPUT, "relative_row": row.astype(dtype)}) == []
    assert only_fault({"output": OUTPUT, "relative_row": row.astype("float32")}) == (
        "relative_row must be integers, (T, T) = (16, 16); got float32."
    )


def test_half_precision_is_noted_once_a_type():
    half = {"output": OUTPUT.astype(np.float16), "embeddings": HOLES.expected["embeddings"].astype(np.float16)}
    assert checked(HOLES, half).notes == (
        "2 of 2 tensors came in float16, but are judged as float32: return float32 instead.",
    )


def test_nan_at_a_valid_position_is_a_fault_and_the_value_stays():
    bad = OUTPUT.copy()
    b, t = np.argwhere(valid_of(HOLES))[-1]
    bad[b, t, 5] = np.nan
    bad[b, t, 7] = -np.inf
    answer = checked(HOLES, {"output": bad})
    (fault,) = answer.faults
    assert fault == (
        f"output must be finite at valid positions; 2 of {valid_of(HOLES).sum() * 24} numbers there are NaN or "
        f"infinite, the first, nan, at [{b}, {t}, 5]."
    )
    assert HOLES.scores(answer.values) == {"output": np.inf}


@clause("PAD-OUTPUT")
def test_nan_at_padded_positions_and_pairs_is_ignored():
    padded = ~valid_of(HOLES)
    taps = HOLES.evaluate(model, "float32")
    for name, axes in tap_axes(HOLES.config).items():
        if axes in {"BTD", "BTF"}:
            taps[name][padded] = np.nan
        if axes == "BHTd":
            taps[name].swapaxes(1, 2)[padded] = np.nan
        if axes == "BHTT":
            taps[name].swapaxes(1, 3)[padded] = np.inf
            taps[name].swapaxes(1, 2)[padded] = np.inf
    answer = checked(HOLES, taps)
    assert answer.faults == answer.notes == ()
    assert max(HOLES.scores(answer.values).values()) < 2
    softmax = CASES["ops/softmax-holes"]
    result = np.where(softmax.inputs["mask"], softmax.expected["result"], np.nan)
    assert faults_of({"result": result}, softmax) == []


def test_taps_that_the_case_does_not_hold_are_checked_and_counted():
    case = CASES["model/log-buckets"]
    taps = case.evaluate(model, "float32")
    answer = checked(case, taps)
    assert answer.faults == ()
    assert answer.values.keys() == case.expected.keys()
    aside = len(taps) - len(case.expected)
    assert aside > 3
    assert answer.notes == (
        f"{aside} more taps have the right shape and are finite, but this case has no values to compare them with.",
    )
    assert "must be (B, H, T, T) = (2, 1, 160, 160)" in only_fault(taps | {"layers.0.attention.c2c": np.zeros(3)}, case)
    taps["layers.0.attention.probs"][0, 0, 0, 0] = np.nan
    assert "layers.0.attention.probs must be finite where both tokens are valid" in only_fault(taps, case)


def test_a_layer_alone_has_the_names_of_that_layer():
    taps = HOLES.evaluate(model, "float32")
    layer = {name: x for name, x in taps.items() if name.startswith("layers.1.")}
    answer = checked(HOLES, layer, layer=1)
    assert answer.faults == ()
    assert set(answer.values) == set(layer)
    assert "layers.0.output is missing" in checked(HOLES, layer, layer=0).faults[0]
    assert "output is unknown; layers.2.output is the nearest" in only_fault(
        {"layers.2.output": CASES["layer/last"].expected["layers.2.output"], "output": OUTPUT}, CASES["layer/last"]
    )


def test_another_number_of_tokens_is_a_wrong_tokenization_and_no_fault():
    case = CASES["tokenizer/blanks"]
    assert faults_of(case.expected, case) == []
    longer = {name: np.pad(x, ((0, 0), (0, 1))) for name, x in case.expected.items()}
    answer = checked(case, longer)
    assert answer.faults == ()
    assert set(case.scores(answer.values).values()) == {np.inf}
    assert only_fault(case.expected | {"token_ids": longer["token_ids"][0]}, case) == (
        "token_ids must be (B, T) = (7, 10); got (11,)."
    )
    lists = {name: x.tolist() for name, x in case.expected.items()}
    assert faults_of(lists | {"padding_mask": case.expected["padding_mask"].astype(bool)}, case) == []
    assert "token_ids must be integers" in only_fault(
        case.expected | {"token_ids": case.expected["token_ids"] * 1.0}, case
    )


@clause("REL-ROW")
@pytest.mark.parametrize("name", ["model/log-buckets", "long/published", "presets/small-en"])
def test_rows_are_compared_where_the_file_leaves_them_out(name):
    case = CASES[name]
    assert "relative_row" not in load_file(case.directory / "expected.safetensors")
    output = case.expected["output"].astype(np.float32)
    row = relative_row(output.shape[1], case.config).copy()
    answer = checked(case, {"output": output, "relative_row": row})
    assert answer.notes == ()
    assert case.scores(answer.values)["relative_row"] == 0
    row[0, -1] += 1
    assert case.scores(checked(case, {"output": output, "relative_row": row}).values)["relative_row"] == np.inf


@clause("VEC-SUMMARY")
def test_published_sizes_take_layer_outputs_or_their_summaries(tmp_path):
    case, taps = preset_case(tmp_path)
    for given in (taps, summarised(taps)):
        answer = checked(case, given)
        assert answer.faults == ()
        summaries = [name for name in answer.values if name != "relative_row"]
        assert summaries == ["layers.0.output.summary", "layers.1.output.summary", "output"]
        valid = valid_of(case)
        for name in summaries:
            x = answer.values[name]
            assert abs(x - case.expected[name])[valid].max() < 1e-12  # the same sums in another order
    assert checked(case, {"output": taps["output"]}).notes == ()
    assert only_fault(taps | {"layers.1.output": taps["output"][0]}, case) == (
        "layers.1.output must be (B, T, D) = (2, 7, 24); got (7, 24)."
    )


def test_bfloat16_in_a_file_is_read_exactly(tmp_path):
    bits = np.array([[0x3F80, 0xC2F7, 0x0001]], np.uint16)
    header = b'{"output":{"dtype":"BF16","shape":[1,3],"data_offsets":[0,6]}}'
    path = tmp_path / "bf16.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    tensor = read_tensors(path)["output"]
    assert tensor.dtype == "bfloat16"
    assert tensor.values.tolist() == [[1.0, -123.5, 2.0**-133]]
    values = {"output": Tensor(OUTPUT, "bfloat16")}
    assert "1 of 1 tensors came in bfloat16" in checked(HOLES, values).notes[0]


def test_files_hold_integers_of_any_width_empty_tensors_and_types_that_are_refused(tmp_path):
    path = tmp_path / "all.safetensors"
    save_file({"a": np.zeros((0, 3), np.uint16), "b": np.array([-1], np.int8), "c": np.array([True])}, path)
    found = read_tensors(path)
    assert {name: (x.values.tolist(), x.dtype) for name, x in found.items()} == {
        "a": ([], "uint16"),
        "b": ([-1], "int8"),
        "c": ([True], "bool"),
    }
    header = b'{"output":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    assert "got F8_E4M3: cast it to float32." in only_fault(read_tensors(path))


class TorchLike:
    """As much of PyTorch's tensor as is asked of it: NumPy has to wait for ``detach`` and ``cpu``."""

    def __init__(self, values, dtype):
        self.values, self.dtype, self.ready = values, dtype, 0

    def detach(self):
        self.ready += 1
        return self

    def cpu(self):
        self.ready += 1
        return self

    def float(self):
        return TorchLike(self.values, "torch.float32").detach().cpu()

    def numpy(self):
        if self.ready < 2 or self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


def test_a_torch_tensor_is_detached_brought_to_the_cpu_and_widened():
    assert as_tensor(TorchLike(OUTPUT, "torch.float32")).dtype == "float32"
    wide = as_tensor(TorchLike(OUTPUT, "torch.bfloat16"))
    assert wide.dtype == "bfloat16"
    assert wide.values.dtype == np.float32


def test_a_value_that_cannot_be_read_is_a_fault():
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("the device\nis gone")

    assert only_fault({"output": Lazy()}) == (
        "output must be an array, (B, T, D) = (3, 16, 24); got a Lazy that NumPy cannot read (the device is gone)."
    )
