"""The four reports: what they say of hand-made verdicts, and of golden cases that a mutant has answered wrongly."""

import base64
import io
import json
import math
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from rich.text import Text

from deberta_ref.conformance.cases.corpus import corpus
from deberta_ref.conformance.cases.noise import Size
from deberta_ref.conformance.mistakes.mistake import CHAPTERS
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.reports import as_json, html, junit, lines, pictures, terminal, words
from deberta_ref.conformance.verdict import LIMIT, Finding, Match, Report, Verdict

CASES = {case.id: case for case in corpus()}
SCHEMA = json.loads(files("deberta_ref.conformance.reports").joinpath("report.schema.json").read_text("utf-8"))
JUDGED = ("model/demo", "model/holes", "model/one-token", "layer/last", "ops/gather-p2c", "tokenizer/pairs")

FLIPPED = Match(
    "p2c-index-flipped", "ATT-P2C", 0.7, "The p2c term reads the row of the opposite distance.", "04-attention.md",
    ("nntrainer#3982", "FlashDeBERTa 0.0.1"),
)  # fmt: skip

PASSED = Verdict("model/whole", "model", "pass", 0.71, {"output": 0.71}, seconds=0.5)
FAILED = Verdict(
    "model/demo", "model", "fail", 3.14e5, {"embeddings": 0.4, "layers.0.output": 3.14e5, "output": 12.0},
    first_tap="layers.0.output", last_tap_within="embeddings", local=(0, 120.0),
    reproduce="deberta-ref check port.py:load --case model/demo", seconds=1.25,
)  # fmt: skip
INFINITE = Verdict("ops/gelu", "ops", "fail", math.inf, {"result": math.inf}, "result", notes=("NaN in result.",))
BROKEN = Verdict("ops/linear", "ops", "error", notes=("The port stopped with exit code 3.",))
SKIPPED = Verdict("tokenizer/cut", "tokenizer", "skip", notes=("The port has no tokenizer.",))
EXPECTED = Verdict("long/small", "long", "xfail", 40.0, {"output": 40.0}, "output")
WRONG = Report(
    "port.py:load", (PASSED, FAILED, INFINITE, BROKEN, SKIPPED, EXPECTED), (FLIPPED,),
    ("They have more than 16 tokens.",),
    ("2 of 5 cases are over the limit.", "1 of 5 cases is without a usable answer."), seconds=3.0,
)  # fmt: skip
RIGHT = Report("port.py:load", (PASSED, SKIPPED))

HAS = Finding("gelu-tanh", "GELU-ERF", "GELU is the tanh approximation.", "has", 31.0, 0.2)
ACCEPTED = Finding("variance-over-d-minus-1", "NORM-VARIANCE", "The variance divides by D - 1.", "has", 12.0, 0.6)
EXCLUDED = tuple(Finding(f"mistake-{n}", "ATT-P2C", f"It errs so: {n}.", "excluded", 1e9, 9.5) for n in range(7))
UNDECIDED = Finding("epsilon-1e-6", "NORM-EPSILON", "Epsilon is 1e-6.", "undecided", 0.0, 1e-5)
HALF = Report(
    "half.py:load", (replace(PASSED, id="precision/wide", suite="precision"),), (replace(FLIPPED, mutant="gelu-tanh"),),
    reasons=("It has the mistake gelu-tanh.",), precision="bfloat16", evidence=(HAS, ACCEPTED, *EXCLUDED, UNDECIDED),
    accepted=("variance-over-d-minus-1",),
)  # fmt: skip
"""Judged in bfloat16: every value is within the limit, and it has two known mistakes, one of them accepted."""


def judged(model, ids=JUDGED, taps=lambda _name: True, dtype="float32"):
    """The report on a port that computes as ``model`` does, and shows the taps that ``taps`` lets through."""
    verdicts = []
    for case in map(CASES.get, ids):
        found = {name: value for name, value in case.evaluate(model, dtype).items() if name in case.expected}
        found = {name: value for name, value in found.items() if name in case.required or taps(name)}
        scores = case.scores(found)
        scores = {name: scores[name] for name in case.order if name in scores}
        over = [name for name, score in scores.items() if score > LIMIT]
        within = list(scores)[: list(scores).index(over[0])] if over else []
        verdicts.append(
            Verdict(
                case.id, case.suite, "fail" if over else "pass", max(scores.values()), scores, *over[:1],
                last_tap_within=within[-1] if within else None, seconds=0.25, found=found,
                reproduce=f"deberta-ref check my_port.py:load --case {case.id}",
            )
        )  # fmt: skip
    failing = [verdict for verdict in verdicts if verdict.status == "fail"]
    reasons = (f"{len(failing)} of {len(verdicts)} cases are over the limit.",) if failing else ()
    return Report("my_port.py:load", tuple(verdicts), (FLIPPED,) if failing else (), (), reasons, seconds=12.0)


@pytest.fixture(scope="module")
def flipped():
    return judged(mutants["p2c-index-flipped"].model())


def shown(report, **options):
    stream = io.StringIO()
    terminal.show(report, stream, **options)
    return stream.getvalue()


def parsed(report):
    return ET.fromstring(junit.document(report))  # noqa: S314 - our own


def numbers(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# Words


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (None, "-"), (0.0, "0"), (3e-5, "<0.001"), (0.0321, "0.03"), (0.7, "0.7"), (0.96, "1.0"), (4.04, "4.0"),
        (9.96, "10"), (12.3, "12"), (9999.0, "9999"), (9999.9, "1.0e4"), (314159.0, "3.1e5"),
        (1e100, "1.0e100"), (math.inf, "inf"),
        (math.nan, "inf"),
    ],
)  # fmt: skip
def test_a_score_is_printed_in_a_few_letters(score, word):
    assert words.readable(score) == word


def test_control_characters_are_escaped():
    assert words.printable("a\x1b[2Jb\r\tc\u202ed\ud800é\n") == "a\\x1b[2Jb  c\\u202ed\\ud800é\n"


# The terminal


def test_the_verdict_is_the_last_line():
    last = "port.py:load conforms: 1 case within the limit, worst score 0.7; 1 skipped."
    assert shown(RIGHT).splitlines()[-1] == last
    few = Report("port.py:load", (PASSED,), reasons=("15 of the 16 cases were not judged.",))
    assert shown(few).splitlines()[-1] == "port.py:load does not conform: 15 of the 16 cases were not judged."


def test_where_all_that_was_judged_passes_there_is_no_verdict():
    missing = "15 of the 16 cases that a verdict needs were not judged: a, b, c …."
    part = Report("port.py:load", (PASSED,), reasons=(missing,), undecided=True)
    assert " ".join(shown(part).split()).endswith(
        "port.py:load passes the case that was judged, worst score 0.7. A verdict on the port needs the whole suite "
        f"model: {missing}"
    )
    two = Report("p", (PASSED, PASSED, SKIPPED), reasons=(missing,), undecided=True)
    assert "p passes the 2 cases that were judged" in shown(two)
    document = as_json.document(part)
    assert (document["conforms"], document["undecided"]) == (False, True)
    (test,) = parsed(part).findall(".//testcase[@name='conforms']/failure")
    assert test.attrib["message"].startswith("passes what was judged: 15 of the 16")
    page = html.page(part, {})
    assert "<title>port.py:load passes what was judged</title>" in page
    assert '"conclusion":"passes what was judged"' in page


def test_several_reasons_are_a_list_at_the_end():
    assert shown(WRONG).splitlines()[-3:] == [
        "port.py:load does not conform:",
        "  2 of 5 cases are over the limit.",
        "  1 of 5 cases is without a usable answer.",
    ]


def test_passes_are_a_count_and_every_other_case_a_line():
    text = shown(WRONG)
    assert "model  1 of 2 pass, worst score 0.7 (model/whole)" in text
    assert text.count("model/whole") == 1
    for verdict, status in ((FAILED, "FAIL"), (INFINITE, "FAIL"), (BROKEN, "ERROR"), (SKIPPED, "skipped")):
        (line,) = [line for line in text.splitlines() if line.split()[:2] == [status, verdict.id]]
        assert words.readable(verdict.score) in line
    assert "NaN in result." in text
    assert "The port stopped with exit code 3." in text
    assert "Layer 0, fed the reference's values, scores 120: the mistake is inside it." in text


def test_a_failing_case_names_the_first_tap_over_the_limit_and_the_last_within():
    line = "  FAIL     model/demo     3.1e5  layers.0.output           embeddings"
    assert line in shown(WRONG).splitlines()
    assert "last tap within it: embeddings" in shown(WRONG, width=60)


@pytest.mark.parametrize(
    ("first", "last", "short"),
    [
        ("layers.0.attention.p2c", "layers.0.attention.c2p", "…c2p"),
        ("layers.11.feedforward.inner", "layers.11.attention.output", "…attention.output"),
        ("layers.1.attention.query", "layers.0.output", "layers.0.output"),
        ("layers.0.attention.query", "relative_row", "relative_row"),
        ("output", "layers.1.output", "layers.1.output"),
    ],
)
def test_the_last_tap_leaves_out_what_it_shares_with_the_first(first, last, short):
    verdict = Verdict("model/demo", "model", "fail", 9.0, first_tap=first, last_tap_within=last)
    (line,) = [line for line in shown(Report("p", (verdict,), reasons=("r",))).splitlines() if "FAIL" in line]
    assert line.split()[-2:] == [first, short]


def test_the_diagnosis_names_the_mistake_its_clause_and_where_it_was_seen():
    text = shown(WRONG)
    assert "The likely mistake\n  1. p2c-index-flipped\n" in text
    assert "     It reproduces your output to within float32 rounding (score 0.7).\n" in text
    assert "On attention: ATT-P2C in spec/04-attention.md; seen in nntrainer#3982, FlashDeBERTa 0.0.1.\n" in text
    far = Report("p", (FAILED,), (Match("tanh-gelu", "NUM-GELU", 900.0, "s", "spec/06-numerics.md"),), (), ("r",))
    assert "none of them reproduces your output" in shown(far)
    assert "It does not reproduce your output (score 900).\n" in shown(far)
    assert "On numerics: NUM-GELU in spec/06-numerics.md.\n" in shown(far)


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (FLIPPED, "reproduces your output to within float32 rounding (score 0.7)"),
        (replace(FLIPPED, score=0.0), "reproduces your output exactly"),
        (replace(FLIPPED, score=85.0), "does not reproduce your output (score 85)"),
        (replace(FLIPPED, score=1.3, by_size=True), "predicts the size of your errors to within a factor of 1.3"),
    ],
)
def test_every_report_says_in_the_same_words_how_well_a_mistake_explains_the_port(match, said):
    report = Report("p", (FAILED,), (match,), reasons=("r",))
    for text in (shown(report), junit.document(report).decode(), html.page(report, {})):
        assert said in text
    half = replace(report, precision="bfloat16")
    for text in (shown(half), junit.document(half).decode(), html.page(half, {})):
        assert said.replace("float32", "bfloat16") in text


def test_every_chapter_that_a_mistake_can_be_of_has_a_topic_and_a_file():
    assert {*CHAPTERS.values()} == {*words.TOPICS}
    spec = Path(__file__).parents[1] / "spec"
    assert all((spec / name).is_file() for name in words.TOPICS)
    two = replace(FLIPPED, clause="ATT-P2C + GELU-ERF", chapter="04-attention.md and spec/06-numerics.md", seen=())
    assert words.origin(two) == (
        "On attention and numerics: ATT-P2C + GELU-ERF in spec/04-attention.md and spec/06-numerics.md"
    )


def test_a_score_is_explained_where_it_is_first_mentioned():
    unit = "times the float32 rounding error of a right implementation"
    assert f"is an error of 4 {unit}." in " ".join(shown(WRONG).split("\n")[1:3])
    assert unit in junit.document(WRONG).decode()
    assert unit in html.page(WRONG, {})


@pytest.mark.parametrize(("number", "line"), [(3, "ops/2"), (31, "31 cases")])
def test_a_note_that_many_cases_share_is_said_once(number, line):
    note = ("The port offers no operations.",)
    skipped = tuple(Verdict(f"ops/{n}", "ops", "skip", notes=note) for n in range(number))
    text = shown(Report("p", (PASSED, *skipped)))
    assert text.count("offers no operations") == 1
    (row,) = [row for row in text.splitlines() if line in row]
    assert row.split()[0] == "skipped"
    assert f"ops  {number} skipped" in text


def test_a_note_that_names_its_case_is_the_same_for_many():
    declined = tuple(Verdict(f"ops/{n}", "ops", "skip", notes=(f"It declined ops/{n}.",)) for n in range(31))
    text = shown(Report("p", (PASSED, *declined)))
    assert "skipped  31 cases" in text
    assert text.count("It declined each of them.") == text.count("declined") == 1
    text = shown(Report("p", (PASSED, *declined[:2])))
    assert "It declined ops/0." in text
    assert "as above" in text


def test_many_cases_without_an_answer_share_a_line_and_are_named():
    broken = tuple(Verdict(f"model/{n}", "model", "error", notes=(f"It must answer model/{n}.",)) for n in range(17))
    text = shown(Report("p", (PASSED, *broken), reasons=("r",)))
    assert "ERROR    17 cases" in text
    assert "0, 1, 2, 3, 4, 5 and 11 more, which --json and --html list" in text
    missing = tuple(Verdict(f"a/{n}", "a", "error", notes=(f"DIR must hold a/{n}.safetensors.",)) for n in range(5))
    assert "DIR must hold the file of each of them." in shown(Report("p", missing, reasons=("r",)))


def test_three_commands_are_shown_and_the_rest_is_named():
    failing = tuple(Verdict(f"ops/{n}", "ops", "fail", 9.0, reproduce=f"check --case ops/{n}") for n in range(5))
    text = shown(Report("p", failing, reasons=("r",)))
    assert text.count("check --case") == 3
    assert "2 more, one for each failing case, are in the files that --json and --html write." in text


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_lines_keep_to_the_width(width):
    for line in lines.lines(WRONG, width):
        assert len("".join(text for text, _ in line)) <= max(width, 100)


def test_colours_change_nothing_but_colours():
    text = shown(WRONG, colour=True)
    assert "\x1b[" in text
    assert "\x1b[" not in shown(WRONG)
    assert Text.from_ansi(text).plain.splitlines() == [line.rstrip() for line in shown(WRONG).splitlines()]


def test_without_rich_the_lines_are_plain(monkeypatch):
    for name in ("rich", "rich.console", "rich.text"):
        monkeypatch.setitem(sys.modules, name, None)
    assert shown(WRONG, colour=True) == shown(WRONG)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_colours_unless_its_owner_wants_none(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    terminal.show(WRONG, coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.show(WRONG, plain)
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()


def test_a_port_s_name_cannot_command_the_terminal():
    assert "\x1b" not in shown(Report("\x1b]0;owned\x07", (BROKEN,), reasons=("\x1b[2J",)))


@pytest.mark.parametrize("rich", [True, False])
def test_progress_says_how_many_are_wrong_on_a_terminal_and_nothing_elsewhere(monkeypatch, rich):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr("deberta_ref.progress.REFRESH_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    for stream, expected in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with terminal.progress(2) as running:
            running.advance("model/whole", "pass")
            running.advance("model/demo", "fail")
            if not rich and expected:
                while "2 of 2" not in stream.getvalue():
                    pass
        assert ("2 of 2 cases, 1 wrong, the last model/demo" in stream.getvalue()) == expected
        assert expected or not stream.getvalue()


# JSON


@pytest.mark.parametrize(
    "report",
    [
        WRONG,
        RIGHT,
        HALF,
        Report("p", (PASSED,), reasons=("r",), undecided=True),
        Report("empty", (), reasons=("No case was judged.",)),
    ],
)
def test_the_json_follows_its_schema(report):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(as_json.document(report), allow_nan=False)), SCHEMA)


def test_the_json_holds_the_verdict_the_cases_and_the_diagnosis():
    document = as_json.document(WRONG)
    assert document["conforms"] is False
    assert document["counts"] == {"pass": 1, "fail": 2, "error": 1, "skip": 1, "xfail": 1}
    assert document["cases"][1].items() >= {
        "id": "model/demo", "suite": "model", "status": "fail", "score": 3.14e5, "infinite": False,
        "first_tap": "layers.0.output", "last_tap_within": "embeddings",
    }.items()  # fmt: skip
    assert document["cases"][1]["local"] == {"layer": 0, "score": 120.0, "infinite": False}
    assert (
        document["diagnosis"][0].items() >= {"mutant": "p2c-index-flipped", "clause": "ATT-P2C", "score": 0.7}.items()
    )


def test_an_infinite_score_is_null_and_said_to_be_infinite():
    infinite, broken = as_json.document(WRONG)["cases"][2:4]
    assert (infinite["score"], infinite["infinite"], infinite["scores"]) == (None, True, {"result": None})
    assert (broken["score"], broken["infinite"]) == (None, False)


def test_the_json_says_what_each_known_mistake_is_and_what_is_known_of_it():
    document = as_json.document(HALF)
    assert (document["precision"], document["accepted"]) == ("bfloat16", ["variance-over-d-minus-1"])
    assert document["evidence"][0] == {
        "mistake": "gelu-tanh", "clause": "GELU-ERF", "sentence": "GELU is the tanh approximation.", "state": "has",
        "sigma": 31.0, "size": 0.2,
    }  # fmt: skip


# JUnit


def test_junit_has_a_test_for_every_case_and_one_for_the_verdict():
    root = parsed(WRONG)
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == (
        "testsuites",
        "7",
        "3",
        "1",
    )
    assert [suite.attrib["name"] for suite in root] == [
        "deberta-ref.model", "deberta-ref.ops", "deberta-ref.tokenizer", "deberta-ref.long", "deberta-ref.verdict",
    ]  # fmt: skip
    for suite in root:
        tests = list(suite)
        assert suite.attrib["tests"] == str(len(tests))
        assert {test.tag for test in tests} == {"testcase"}
        assert float(suite.attrib["time"]) == sum(float(test.attrib["time"]) for test in tests)
    outcomes = {test.attrib["name"]: [child.tag for child in test] for test in root.iter("testcase")}
    assert outcomes == {
        "whole": [], "demo": ["failure"], "gelu": ["failure"], "linear": ["error"], "cut": ["skipped"],
        "small": ["skipped"], "conforms": ["failure"],
    }  # fmt: skip
    (failure,) = root.findall(".//testcase[@name='demo']/failure")
    assert failure.attrib["message"] == (
        "score 3.1e5 (times the float32 rounding error of a right implementation), limit 4: "
        "layers.0.output is the first tap over the limit"
    )
    assert "  3.1e5  layers.0.output  <-" in failure.text
    assert failure.text.endswith("$ deberta-ref check port.py:load --case model/demo")


def test_junit_has_a_test_for_every_mistake_that_the_port_has_and_what_is_known_of_all():
    root = parsed(HALF)
    assert [suite.attrib["name"] for suite in root] == [
        "deberta-ref.precision", "deberta-ref.evidence", "deberta-ref.verdict",
    ]  # fmt: skip
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["skipped"]) == ("4", "2", "1")
    tests = {test.attrib["name"]: test for test in root.iter("testcase")}
    assert {name: [child.tag for child in test] for name, test in tests.items()} == {
        "wide": [], "gelu-tanh": ["failure"], "variance-over-d-minus-1": ["skipped"], "conforms": ["failure"],
    }  # fmt: skip
    assert tests["gelu-tanh"].attrib["classname"] == "deberta-ref.evidence"
    told = (
        "GELU is the tanh approximation. In bfloat16 31 standard deviations tell it; its effect here is 0.2 times the "
        "rounding error; --accept gelu-tanh says that you know."
    )
    assert tests["gelu-tanh"][0].attrib["message"] == told
    assert tests["variance-over-d-minus-1"][0].attrib["message"].endswith("; accepted.")
    assert tests["conforms"][0].attrib["message"].startswith("does not conform in bfloat16: It has the mistake")
    properties = {entry.attrib["name"]: entry.attrib["value"] for entry in root.iter("property")}
    assert properties.pop("evidence.has.variance-over-d-minus-1").startswith("The variance divides by D - 1.")
    assert properties == {
        "precision": "bfloat16", "evidence.has": "2", "evidence.excluded": "7", "evidence.undecided": "1",
        "evidence.has.gelu-tanh": told,
    }  # fmt: skip
    assert not [*parsed(WRONG).iter("property")]


def test_junit_is_red_where_no_case_fails_but_too_few_are_judged():
    root = parsed(Report("p", (PASSED,), reasons=("15 of the 16 cases were not judged.",)))
    assert root.attrib["failures"] == "1"
    assert parsed(RIGHT).attrib["failures"] == "0"


def test_junit_is_xml_whatever_a_port_says():
    note = "\x00\x1b[31m<red> & \ud800 ]]> \ufffe"
    root = parsed(Report(note, (Verdict("a/b", "a", "error", notes=(note,)),), reasons=(note,)))
    assert "<red> &" in root.find(".//error").attrib["message"]


# Pictures


def test_a_picture_holds_the_reference_and_the_error_of_the_first_wrong_tap(flipped):
    drawn = pictures.pictures(flipped, CASES)
    assert set(drawn) == {"model/demo", "model/holes", "layer/last"}
    picture, case = drawn["model/demo"], CASES["model/demo"]
    assert picture["tap"] == "layers.0.attention.p2c"
    assert picture["axes"] == ["example", "head", "query", "key"]
    assert (picture["shape"], picture["size"], picture["block"]) == ([2, 4, 27, 27], [27, 27], [1, 1])
    reference, error = (numbers(picture[name]).reshape(picture["shape"]) for name in ("reference", "error"))
    mask = case.inputs["padding_mask"].astype(bool)
    pairs = np.broadcast_to((mask[:, :, None] & mask[:, None, :])[:, None], reference.shape)
    assert (np.isnan(reference) == ~pairs).all()
    expected = case.expected[picture["tap"]]
    assert np.array_equal(reference[pairs], expected.astype(np.float32)[pairs])
    found = {v.id: v.found for v in flipped.verdicts}["model/demo"][picture["tap"]]
    assert np.array_equal(error[pairs], (found.astype(np.float64) - expected).astype(np.float32)[pairs])
    assert picture["judged"] == pairs.sum() == sum(picture["histogram"]["counts"])
    scores = {v.id: v.scores for v in flipped.verdicts}["model/demo"]
    assert max(picture["rmsScore"], picture["maxScore"]) == pytest.approx(scores[picture["tap"]])


def test_a_picture_without_room_keeps_the_worst_slices_and_the_worst_of_every_block():
    random = np.random.default_rng(1)
    reference, error = random.normal(size=(2, 3, 20, 30)), random.normal(size=(2, 3, 20, 30))
    error[1, 2, 7, 11], error[0, 1, 0, 0] = 50.0, 40.0
    names = ("example", "head", "query", "key")
    two = pictures.picture(reference, error, names, Size(1.0, 1.0), 1250)
    assert (two["slices"], two["block"]) == ([1, 5], [1, 1])
    small = pictures.picture(reference, error, names, Size(1.0, 1.0), 40)
    assert (small["slices"], small["block"], small["size"]) == ([5], [4, 4], [5, 8])
    kept, of = numbers(small["error"]).reshape(5, 8), numbers(small["reference"]).reshape(5, 8)
    assert (kept[1, 2], of[1, 2]) == (50.0, np.float32(reference[1, 2, 7, 11]))
    assert abs(kept[4, 7]) == np.float32(abs(error[1, 2, 16:, 28:]).max())
    assert len(small["worst"]) == 6
    assert small["judged"] == 3600


def test_numbers_that_are_not_finite_are_counted_and_drawn():
    error = np.array([[0.0, np.nan], [np.inf, 1.0]])
    picture = pictures.picture(np.zeros((2, 2)), error, ("token", "feature"), Size(0.5, 0.5), 100)
    assert (picture["notNumbers"], picture["differ"], picture["worst"], picture["maxScore"]) == (2, 3, [None], None)
    assert sum(picture["histogram"]["counts"]) == 2


@pytest.mark.parametrize("size", [1e38, 1e150, 1e300, 1.7e308])
def test_errors_that_are_too_large_for_a_score_are_drawn_too(size):
    error = np.array([[0.0, size], [-size, 1.0]])
    picture = pictures.picture(np.ones((2, 2)), error, ("token", "feature"), Size(1e-6, 1e-6), 100)
    assert (picture["notNumbers"], picture["differ"], picture["over"], picture["judged"]) == (0, 3, 3, 4)
    assert json.dumps(picture, allow_nan=False)
    assert np.isinf(numbers(picture["error"])).tolist() == [False, size > 3.5e38, size > 3.5e38, False]


def test_integers_are_right_or_wrong():
    picture = pictures.picture(np.arange(70.0), np.eye(1, 70)[0], ("row", "column"), Size(0.0, 0.0), 1000)
    assert (picture["histogram"], picture["strip"], picture["size"]) == (None, True, [2, 64])
    assert (picture["judged"], picture["differ"]) == (70, 1)
    assert np.isnan(numbers(picture["reference"])[70:]).all()


def test_room_is_shared_equally_by_those_who_need_more():
    assert pictures.shares({"a": 10, "b": 500, "c": 900}, 610) == {"a": 10, "b": 300, "c": 300}
    assert pictures.shares({"a": 10, "b": 20}, 610) == {"a": 10, "b": 20}


def test_an_answer_of_another_shape_is_not_drawn():
    verdict = Verdict("model/demo", "model", "fail", 9.0, first_tap="output", found={"output": np.zeros((1, 2, 3))})
    assert pictures.pictures(Report("p", (verdict,)), CASES) == {}


def test_every_value_of_every_case_can_be_drawn():
    for case in CASES.values():
        verdicts = [
            Verdict(case.id, case.suite, "fail", 9.0, first_tap=name, found={name: np.asarray(value) + 1})
            for name, value in case.expected.items()
        ]
        for verdict in verdicts:
            picture = pictures.pictures(Report("p", (verdict,)), {case.id: case})[case.id]
            assert len(picture["axes"]) == len(picture["shape"])
            assert len(numbers(picture["error"])) == len(picture["slices"]) * math.prod(picture["size"])


# The page


def test_the_page_is_self_contained(flipped):
    page = html.page(flipped, CASES)
    assert "{{" not in page
    for outside in ("http://", "https://", "@import", "src=", "url("):
        assert outside not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (HALF, "does not conform in bfloat16"),
        (replace(HALF, reasons=(), accepted=("a", "b")), "conforms in bfloat16, but for a and b, accepted"),
        (replace(HALF, undecided=True), "passes what was judged in bfloat16"),
        (replace(RIGHT, accepted=("a",)), "conforms, but for a, accepted"),
    ],
)
def test_a_conclusion_says_the_precision_and_what_is_accepted(report, said):
    assert words.conclusion(report) == said
    page = html.page(report, {})
    assert f"<title>{report.port} {said}</title>" in page
    assert f'"conclusion":"{said}"' in page


def test_text_in_a_report_cannot_become_html():
    attack = "</script><script>alert(1)</script><!--{{script}}\ud800&amp;"
    verdict = Verdict(attack, attack, "error", notes=(attack,), reproduce=attack)
    match = Match(attack, attack, 1.0, attack, attack)
    finding = Finding(attack, attack, attack, "has", 9.0, 9.0)
    page = html.page(Report(attack, (verdict,), (match,), (attack,), (attack,), evidence=(finding,)), {})
    assert page.count("<script") == page.count("</script") == html.page(RIGHT, {}).count("<script") == 2
    assert "<!--" not in page
    assert "alert(1)</" not in page
    assert page.encode()
    data = page.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["port"] == attack


def test_a_page_on_a_port_that_is_wrong_everywhere_stays_small():
    verdicts = []
    for case in CASES.values():
        tap = max(case.expected, key=lambda name: case.expected[name].size)
        found = {name: np.asarray(value, np.float64) + 1 for name, value in case.expected.items()}
        scores = dict.fromkeys(case.order, 1e6)
        verdicts.append(Verdict(case.id, case.suite, "fail", 1e6, scores, tap, notes=("wrong",) * 3, found=found))
    assert len(html.page(Report("p", tuple(verdicts), reasons=("all wrong",)), CASES).encode()) < 3e6
