"""Golden cases and ports for the tests of the kit, and what is asserted of both."""

import textwrap

import pytest

from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.judging.answers import checked
from deberta_ref.conformance.ports.protocol import PortError

CASES = {case.id: case for case in corpus()}
HOLES = CASES["model/holes"]
ONE_A_SUITE = ["model/holes", "long/small", "layer/last", "ops/softmax-holes", "ops/rows-7-20", "tokenizer/cut-pairs"]

IMPORTS = """
    import sys
    from deberta_ref import Tokenizer, forward, from_preset, model
    from deberta_ref.conformance.cases.operations import operation
    from deberta_ref.tracing import record_layer
"""
"""What a port that answers every suite begins with."""


def write(path, source):
    """The path, at which the source now is, without its indentation."""
    path.write_text(textwrap.dedent(source), "utf-8")
    return path


def score(port, case):
    answer = checked(case, port.answer(case))
    assert answer.faults == ()
    return max(case.scores(answer.values).values())


def refusal(port, case=HOLES):
    with pytest.raises(PortError) as raised:
        port.answer(case)
    return str(raised.value)


def unusable(make, *arguments):
    with pytest.raises(ValueError, match=r"must") as raised:
        make(*arguments)
    return str(raised.value)


def golden_layer(n):
    """What goes into layer n of model/holes."""
    x = HOLES.expected["embeddings" if n == 0 else f"layers.{n - 1}.output"]
    relative = HOLES.expected["relative_embeddings"]
    return {"x": x, "relative_embeddings": relative, "padding_mask": HOLES.inputs["padding_mask"]}


def layer_score(port, n):
    answer = checked(HOLES, port.layer(HOLES, n, golden_layer(n)), layer=n)
    assert answer.faults == ()
    return HOLES.scores(answer.values)[f"layers.{n}.output"]
