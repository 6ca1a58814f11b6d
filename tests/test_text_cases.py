"""The golden cases of text: the reference gives exactly what they hold, and they reject every mistake of chapter 12."""

import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_spec import CLAUSES

from deberta_ref import Tokenizer
from deberta_ref.conformance.cases.corpus import corpus, tokenized
from deberta_ref.conformance.cases.variants import Edit, copied
from deberta_ref.conformance.mistakes.mutants.text import MUTANTS, TEXT

clause = pytest.mark.clause

DEMO = "deberta_v3_demo_en"
CASES = {case.id: case for case in corpus(Path(__file__).parents[1] / "golden" / "cases") if case.suite == "tokenizer"}
NAMES = [mutant.id for mutant in MUTANTS]
OF_MASK = [mutant.id for mutant in MUTANTS if mutant.clause == "TOK-MASK"]  # no text has [MASK], by TOK-TYPED


@cache
def mutants():
    """A tokenizer with each mistake."""
    return {m.id: copied(TEXT, *m.of(Edit)).Tokenizer.from_preset(DEMO) for m in MUTANTS}


@cache
def given(name, case):
    """The ids and masks that a mutant gives for a case; nothing where it cannot fit them in."""
    try:
        return {key: rows.tolist() for key, rows in tokenized(mutants()[name], CASES[case].inputs).items()}
    except ValueError:
        return {}


def rejected(name, case):
    return given(name, case) != {key: rows.tolist() for key, rows in CASES[case].expected.items()}


@clause("TOK-PIECES", "TOK-TYPED", "TOK-SPECIAL", "TOK-CUT", "TOK-PAD")
@pytest.mark.parametrize("name", CASES)
def test_the_reference_gives_exactly_the_ids_and_the_mask_of_a_case(name):
    found = tokenized(Tokenizer.from_preset(DEMO), CASES[name].inputs)
    expected = CASES[name].expected
    assert found.keys() == expected.keys() == {"token_ids", "padding_mask"}
    for key, rows in expected.items():
        assert rows.dtype == np.int64
        assert np.array_equal(found[key], rows)


@pytest.mark.parametrize("name", CASES)
def test_a_case_rejects_exactly_the_mistakes_that_its_manifest_names(name):
    assert [mutant for mutant in NAMES if rejected(mutant, name)] == CASES[name].manifest["catches"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_MASK])
def test_a_mistake_in_text_is_rejected_by_a_case(name):
    assert any(rejected(name, case) for case in CASES)


@clause("TOK-MASK")
def test_the_mask_token_comes_after_the_last_piece_and_no_mistake_does_that():
    size = Tokenizer.from_preset(DEMO).processor.get_piece_size()
    wanted = [[1, size, 2]]
    ask = lambda tokenizer: tokenizer("[MASK]", special_tokens=True)["token_ids"].tolist()
    assert ask(Tokenizer.from_preset(DEMO)) == wanted
    assert len(OF_MASK) == 2
    for name in OF_MASK:
        assert ask(mutants()[name]) != wanted
        assert not any(rejected(name, case) for case in CASES)


def test_no_two_mistakes_in_text_look_the_same():
    visible = [name for name in NAMES if name not in OF_MASK]
    alike = lambda one, other: all(given(one, case) == given(other, case) for case in CASES)
    assert [pair for pair in itertools.combinations(visible, 2) if alike(*pair)] == []


def test_every_clause_of_text_has_a_mistake_and_a_case():
    family = {name for name in CLAUSES if name.startswith("TOK-")}
    assert {mutant.clause for mutant in MUTANTS} == family
    assert set().union(*(case.manifest["clauses"] for case in CASES.values())) == family - {"TOK-MASK"}


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_agreed_on_and_whoever_differs_makes_a_known_mistake(name):
    manifest = CASES[name].manifest
    agreeing = {witness["implementation"] for witness in manifest["witnesses"] if witness["agrees"]}
    assert agreeing >= {"keras-hub", "deberta", "sentencepiece"}
    assert agreeing & {"transformers", "tokenizers"} or "TOK-TYPED" in manifest["clauses"]
    for witness in manifest["witnesses"]:
        if not witness["agrees"]:
            assert re.search(r"the mutant (\S+) gives$", witness["why"])[1] in manifest["catches"]
