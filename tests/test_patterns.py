"""What failing cases have in common: each sentence is true of every case that fails, and of none that passes."""

from functools import cache

import numpy as np
import pytest
from kit import CASES

from deberta_ref import model
from deberta_ref.conformance.diagnosis.patterns import in_common
from deberta_ref.conformance.judging import judge
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.ports.protocol import NotOffered, PortError
from deberta_ref.conformance.verdict import LIMIT

MODELS = [case for case in CASES.values() if case.suite in {"model", "long"}]


@cache
def judged(name):
    """The cases of whole models that pass with a mistake, and those that fail, with the output that it gives."""
    passing, failing = [], []
    for case in MODELS:
        output = case.evaluate(mutants[name].model(), "float32")["output"].astype(np.float64)
        wrong = case.scores({"output": output})["output"] > LIMIT
        (failing.append((case, {"output": output})) if wrong else passing.append(case))
    return passing, failing


ALONE = "Even one-token inputs fail, so the error is not only in scores or positions."
WHOLE = ["Every whole model fails.", ALONE]

PUBLISHED = "at bucket_size 256 and max_sequence_length 512"

ODD = "Only model/odd-buckets fails. An odd number of buckets, whose middle is rounded down."

SENTENCES = {
    "buckets-not-logarithmic": [
        f"Only tokens with another valid token more than 131 positions away are wrong, {PUBLISHED}.",
        "Only cases with distances in logarithmic buckets fail.",
    ],
    "bucket-multiplied-first": [
        "Only tokens with another valid token more than 510 positions away are wrong.",
        "Only the first token of an example is wrong.",
        f"Only model/bucket-64-of-512 fails. {CASES['model/bucket-64-of-512'].manifest['exercises']}",
    ],
    "bucket-half-rounded-up": ["Only cases with an odd bucket_size fail.", ODD],
    "row-wraps": [
        f"Only tokens with another valid token more than 511 positions away are wrong, {PUBLISHED}.",
        "Only cases with more tokens than max_sequence_length fail.",
        "Only cases of the suite long fail.",
    ],
    "padding-heard": [
        "Only examples with padding are wrong.",
        "Of models with a hidden_dim of 8 or more, only cases with padding fail.",
        "Of models with a hidden_dim of 8 or more, only batches whose examples have different padding masks fail.",
    ],
    "mask-of-the-first-example": [
        "Only the examples of a batch after the first are wrong.",
        "Only examples with padding are wrong.",
        "Of models with a hidden_dim of 8 or more, only cases with padding fail.",
    ],
    "holes-collapse": ["Only cases with padding between valid tokens fail."],
    "id-0-is-padding": [
        "Only examples in which a valid token has the id 0 are wrong.",
        "Only cases in which a valid token has the id 0 fail.",
    ],
    "softmax-unshifted": ["Only cases with attention scores beyond ±20.4 fail."],
    "heads-interleaved": ["Of models with a hidden_dim of 8 or more, only models with several heads fail.", ALONE],
    "probs-of-the-next-head": [
        "Of models with a hidden_dim of 8 or more, only cases with several heads and several positions fail."
    ],
    "first-layer-repeated": ["Only models with several layers fail.", ALONE],
    "p2c-index-flipped": ["Of models with a hidden_dim of 8 or more, only cases with several positions fail."],
    "attention-without-residual": WHOLE,
    "gelu-tanh": [ALONE],
    "epsilon-1e-6": [],
}
"""What is said of a mistake when it is judged by its output alone."""


@pytest.mark.parametrize("name", SENTENCES)
def test_what_failing_cases_have_in_common_is_said(name):
    assert in_common(*judged(name)) == SENTENCES[name]


def padded(case):
    return not case.inputs["padding_mask"].all()


def holes(case):
    return any("01" in "".join(map(str, row)).lstrip("0") for row in case.inputs["padding_mask"].tolist())


def id_0(case):
    return bool(((case.inputs["token_ids"] == 0) & (case.inputs["padding_mask"] == 1)).any())


def apart(case):
    """The largest distance of two valid tokens."""
    positions = [np.flatnonzero(row) for row in case.inputs["padding_mask"] if row.any()]
    return max(int(t - s) for row in positions for t in row for s in row)


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("bucket-half-rounded-up", lambda case: case.config.bucket_size % 2 == 1),
        ("row-wraps", lambda case: case.inputs["token_ids"].shape[1] > case.config.max_sequence_length),
        ("holes-collapse", holes),
        ("id-0-is-padding", id_0),
        ("padding-heard", lambda case: padded(case) and case.config.hidden_dim > 2),
        ("first-layer-repeated", lambda case: case.config.num_layers > 1),
        ("heads-interleaved", lambda case: case.config.num_heads > 1 and case.config.hidden_dim > 2),
        ("p2c-index-flipped", lambda case: case.inputs["token_ids"].shape[1] > 1 and case.config.hidden_dim > 2),
        ("buckets-not-logarithmic", lambda case: apart(case) > case.config.bucket_size // 2 + 1),
    ],
)
def test_what_is_said_is_true_of_all_that_fail_and_of_none_that_passes(name, holds):
    passing, failing = judged(name)
    assert all(holds(case) for case, _ in failing)
    assert not any(holds(case) for case in passing)


def test_the_distance_that_is_said_is_where_buckets_begin_to_differ():
    case = CASES["model/longest"]
    row = model.relative_row(512, case.config)[:, 0]
    clipped = np.clip(np.arange(512) + case.config.bucket_size, 0, case.config.num_relative - 1)
    assert int(np.flatnonzero(row != clipped)[0]) == 132  # more than 131


def test_nothing_is_said_of_failing_cases_that_have_nothing_in_common():
    for names in (("whole", "one-head"), ("holes", "bucket-64-of-512", "tail-padding"), ("demo", "longest")):
        failing = [CASES[f"model/{name}"] for name in names]
        moved = [(case, {"output": case.expected["output"] + 1.0}) for case in failing]
        assert in_common([case for case in MODELS if case not in failing], moved) == []


def test_no_sentence_is_said_that_is_true_of_a_passing_case():
    passing, failing = judged("bucket-half-rounded-up")
    odd = CASES["model/odd-buckets"]
    assert in_common([*passing, odd], failing) == [ODD]  # what it tests, and nothing else


def test_which_operations_are_wrong_is_said_where_others_are_right():
    ops = [case for case in CASES.values() if case.suite == "ops"]
    wrong = [case for case in ops if case.manifest["operation"] in {"gelu", "softmax"}]
    right = [case for case in ops if case not in wrong]
    assert in_common(right, [(case, {}) for case in wrong])[0] == (
        "Of the single operations, only gelu and softmax are wrong."
    )
    assert in_common([], [(case, {}) for case in ops]) == []


def test_cases_without_a_usable_answer_have_something_in_common_too():
    class Broken:
        name = "broken.py:load"

        def answer(self, case):
            if padded(case):
                raise PortError("it broke")
            return case.evaluate(model, "float32")

        def layer(self, _case, _n, _inputs):
            raise NotOffered("no layers")

    everything = [(case, {}) for case in MODELS]
    assert in_common([], everything) == []  # nothing is computed, so nothing is computed wrongly
    report = judge.judge(Broken(), MODELS, needed=())
    assert report.common[0] == "Only cases with padding fail."
    assert report.diagnosis == ()
