"""Mistakes that a machine makes in transformers' source: what the cases reject, and what the diagnosis names.

Run with ``pytest -m ports -rP`` and DEBERTA_REF_PORTS_PYTHON naming an interpreter that has ports/requirements.txt.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "machine"))

import mutate
import run

SOURCE = """
class Layer:
    @compiled
    def forward(self, query_layer, key_layer):
        score = query_layer - key_layer[1:]
        if score.max() > 2:
            score = torch.ceil(score)
        return self.key_proj(score) + self.query_proj(score)
"""

STEP = 17
"""Of the mutants that are possible, every 17th is made; some 30 of these compute something else, each in its way."""


def made(lines=range(1, 10)):
    return mutate.mutants(mutate.parsed(SOURCE, without=("compiled",)), set(lines))


def test_a_mutant_changes_the_one_statement_that_it_says():
    right = mutate.parsed(SOURCE, without=("compiled",))
    texts = ast.unparse(right).splitlines()
    for mutant in made():
        old, mutant.place.node = mutant.place.node, mutant.node
        others = ast.unparse(mutant.tree).splitlines()
        mutant.place.node = old
        changed = [(a.strip(), b.strip()) for a, b in zip(texts, others, strict=True) if a != b]
        assert changed == [(mutant.before, "pass" if mutant.after == "(nothing)" else mutant.after)]


def test_a_compiled_mutant_leaves_the_tree_as_it_was():
    mutants = made()
    before = ast.unparse(mutants[0].tree)
    codes = [mutant.code("layer.py") for mutant in mutants]
    assert len(codes) > 30
    assert {ast.unparse(mutant.tree) for mutant in mutants} == {before}


def test_mutants_have_ids_of_their_own_which_are_the_same_each_time():
    ids = [mutant.id for mutant in made()]
    assert len(set(ids)) == len(ids)
    assert ids == [mutant.id for mutant in made()]
    assert "Layer.forward | score = query_layer - key_layer[1:] | operands exchanged | 1" in ids


@pytest.mark.parametrize(
    "after",
    [
        "score = query_layer + key_layer[1:]",
        "score = key_layer[1:] - query_layer",
        "score = query_layer - key_layer[2:]",
        "score = query_layer - query_layer[1:]",
        "score = torch.floor(score)",
        "score = score",
        "(nothing)",
        "if not score.max() > 2:",
        "if score.min() > 2:",
        "return self.query_proj(score) + self.query_proj(score)",
        "return score + self.query_proj(score)",
    ],
)
def test_a_change_that_a_person_may_make_is_made(after):
    assert after in {mutant.after for mutant in made()}


def test_statements_that_do_not_run_are_not_changed():
    assert {mutant.before for mutant in made({7})} == {"score = torch.ceil(score)"}


@pytest.mark.ports
def test_mistakes_that_a_machine_makes_are_rejected_and_some_are_named(tmp_path, capsys):
    record = tmp_path / "machine.pkl"
    command = [os.environ["DEBERTA_REF_PORTS_PYTHON"], run.__file__]
    command += ["--sample", str(STEP), "--save", str(record), "--undiagnosed"]
    package = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, env=package)
    count = run.main(["--from", str(record)])
    print(capsys.readouterr().out)
    assert count["possible"] >= 2000
    assert count["made"] >= 100
    assert count["named"] + count["unnamed"] >= 30
    assert count["slow"] == 0
    assert count["escaped"] == 0
    assert count["named"] / (count["named"] + count["unnamed"]) >= 0.75
