"""Chapter 13, JUDGE-SHOWN: a tap that is mislabelled is told from one that is computed wrongly."""

import io
import json

import numpy as np
import pytest
from kit import CASES

from deberta_ref import model
from deberta_ref.conformance.judging import judge
from deberta_ref.conformance.judging.mislabelled_taps import agreed
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.ports.protocol import NotOffered
from deberta_ref.conformance.reports import as_json, html, junit, terminal

clause = pytest.mark.clause

IDS = ("model/holes", "model/one-token", "model/huge-scores", "model/log-buckets", "layer/last")
"""In the second the softmax has nothing to choose, in the third it gives one-hot, and the fourth holds no pairs."""


class Port:
    """Computes as ``module`` does, and hands over what ``change`` makes of its taps."""

    name = "showing.py:load"

    def __init__(self, change, module=model):
        self.change, self.module = change, module

    def answer(self, case):
        return self.change(case.evaluate(self.module, "float32"))

    def layer(self, _case, _n, _inputs):
        raise NotOffered("no layers here")


def showing(kind, change, module=model):
    """A port that shows what ``change`` makes of all taps and a layer's prefix as that layer's ``kind``."""
    ends = f".attention.{kind}"
    shown = lambda taps: {n: change(taps, n.removesuffix(kind)) if n.endswith(ends) else x for n, x in taps.items()}
    return Port(shown, module)


UNSCALED = showing("scores", lambda taps, layer: taps[f"{layer}scores"] * np.float32(5))
TRANSPOSED = showing("probs", lambda taps, layer: taps[f"{layer}probs"].swapaxes(-1, -2))
CONFUSED = showing("key", lambda taps, layer: taps[f"{layer}query"])


def report(port, ids=IDS):
    return judge.judge(port, [CASES[name] for name in ids], needed=ids)


def shown(found):
    stream = io.StringIO()
    terminal.show(found, stream)
    return " ".join(stream.getvalue().split())


@clause("JUDGE-SHOWN", "JUDGE-FIRST")
@pytest.mark.parametrize(("port", "kind"), [(UNSCALED, "scores"), (TRANSPOSED, "probs"), (CONFUSED, "key")])
def test_a_tap_that_is_mislabelled_fails_and_is_no_wrong_operation(port, kind):
    verdict = judge.verdict_on(port, CASES["model/holes"])
    assert verdict.status == "fail"
    assert verdict.first_tap == f"layers.0.attention.{kind}"
    assert verdict.mislabelled_taps == (f"layers.0.attention.{kind}", f"layers.1.attention.{kind}")
    assert verdict.first_operation is None


def test_every_report_says_that_the_port_itself_may_be_right():
    found = report(UNSCALED)
    sentence = (
        "layers.n.attention.scores is mislabelled: the port hands over something else under that name. In all failing "
        "cases it is wrong, while everything computed from it is right. Nothing else is wrong: the port itself may be "
        "right."
    )
    assert not found.conforms
    assert found.common == (sentence,)
    assert found.diagnosis == ()
    assert sentence in shown(found)
    assert "No known mistake explains this" not in shown(found)
    entry = as_json.document(found)["cases"][0]
    assert entry["first_operation"] is None
    assert entry["shown_wrongly"][0] == entry["first_tap"] == "layers.0.attention.scores"
    assert "The port may be right." in entry["notes"][-1]
    assert json.dumps(entry["notes"][-1])[1:-1] in html.page(found, CASES)
    assert "The port may be right." in junit.document(found).decode()


@clause("JUDGE-FIRST")
def test_the_first_wrong_operation_is_the_first_wrong_tap_that_is_not_mislabelled():
    port = Port(UNSCALED.change, mutants["gelu-tanh"].model())
    verdict = judge.verdict_on(port, CASES["model/holes"])
    assert verdict.first_tap == "layers.0.attention.scores"
    assert verdict.mislabelled_taps == ("layers.0.attention.scores",)  # in layer 1 what is computed from them is wrong
    assert verdict.first_operation == "layers.0.feedforward.inner"
    assert verdict.remarks[-1].endswith("The first other wrong value is layers.0.feedforward.inner.")
    found = report(port)
    assert "In 3 of the 5 failing cases it is wrong" in found.common[0]
    assert "may be right" not in shown(found)
    assert found.diagnosis[0].mutant == "gelu-tanh"


def test_the_next_tap_is_used_if_a_downstream_one_is_missing_or_mislabelled():
    left = lambda taps: {name: tap for name, tap in taps.items() if not name.endswith(("probs", "context"))}
    port = Port(lambda taps: left(UNSCALED.change(taps)))
    assert judge.verdict_on(port, CASES["model/holes"]).first_operation is None
    both = Port(lambda taps: TRANSPOSED.change(UNSCALED.change(taps)))
    assert len(judge.verdict_on(both, CASES["model/holes"]).mislabelled_taps) == 4


def moved(tap):
    """A right port that shows this tap off by one."""
    return Port(lambda taps: {name: x + 1 if name == tap else x for name, x in taps.items()})


def test_the_output_itself_is_never_mislabelled():
    verdict = judge.verdict_on(moved("output"), CASES["model/holes"])
    assert (verdict.first_tap, verdict.first_operation, verdict.mislabelled_taps) == ("output", "output", ())


@pytest.mark.parametrize("tap", [name for name in CASES["model/holes"].order if name != "output"])
def test_every_other_tap_can_be_mislabelled(tap):
    verdict = judge.verdict_on(moved(tap), CASES["model/holes"])
    assert (verdict.mislabelled_taps, verdict.first_operation) == ((tap,), None)


@clause("JUDGE-SHOWN")
@pytest.mark.parametrize("name", [m.id for m in mutants.values() if m.shows == "output"])
def test_what_is_computed_wrongly_is_not_called_mislabelled(name):
    port, cases = Port(dict, mutants[name].model()), [CASES[name] for name in IDS]
    try:
        verdicts = agreed(cases, [judge.verdict_on(port, case) for case in cases])
    except (ValueError, IndexError, TypeError):
        return  # the mutant cannot compute it
    for verdict in verdicts:
        assert verdict.mislabelled_taps == ()
        assert verdict.first_operation == verdict.first_tap


def test_a_small_error_that_is_diluted_is_a_wrong_operation():
    floor = CASES["model/holes"].floors["layers.0.attention.context"].max
    port = showing("context", lambda taps, layer: taps[f"{layer}context"] + np.float32(9 * floor))
    verdict = judge.verdict_on(port, CASES["model/holes"])
    assert verdict.first_operation == verdict.first_tap == "layers.0.attention.context"


def test_a_case_of_one_token_cannot_tell_and_follows_the_others():
    one = CASES["model/one-token"]
    assert judge.verdict_on(UNSCALED, one).mislabelled_taps == ()
    verdicts = {verdict.id: verdict for verdict in report(UNSCALED).verdicts}
    assert verdicts["model/one-token"].first_operation is None
    unbiased = report(Port(dict, mutants["bias-scale-without-root"].model()))
    assert {v.mislabelled_taps for v in unbiased.verdicts} == {()}
