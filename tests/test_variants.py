"""An edit: what it is known by, that it is found exactly once, and what several of one statement make together."""

import ast

import numpy as np
import pytest

from deberta_ref import model, ops
from deberta_ref.conformance.cases.variants import Edit, combined, copied, edited
from deberta_ref.params import Norm

SOURCE = """
ONE: int = 1
TWO = 2

class Pair:
    left: int = 3

    def sum(self, other):
        def twice(x):
            return 2 * x
        a, b = self.left, other  # two at once
        total = a
        total += b
        if total:
            print(total)
        for n, part in enumerate([a, b]):
            total -= part
        shown = tap("sum", a + b)
        return twice(shown)

def shows(x):
    return tap("output", x)
"""


def after(*edits):
    """The module above with these edits, as it would be written."""
    return ast.unparse(edited(ast.parse(SOURCE), edits))


@pytest.mark.parametrize(
    ("function", "statement", "new", "before", "now"),
    [
        ("ops", "ONE", "_ + 1", "ONE: int = 1", "ONE: int = 1 + 1"),
        ("ops", "TWO", "4", "TWO = 2", "TWO = 4"),
        ("ops.Pair", "left", "5", "left: int = 3", "left: int = 5"),
        ("ops.Pair.sum", "a, b", "(1, _[1])", "a, b = self.left, other", "a, b = (1, (self.left, other)[1])"),
        ("ops.Pair.sum", "total", "_ ** 2", "total = a", "total = a ** 2"),
        ("ops.Pair.sum", "total +=", "-_", "total += b", "total += -b"),
        ("ops.Pair.sum", "total -=", "0", "total -= part", "total -= 0"),
        ("ops.Pair.sum", "print", "None", "print(total)", "None"),
        ("ops.Pair.sum", "for n, part", "list(_)[:1]", "enumerate([a, b])", "list(enumerate([a, b]))[:1]"),
        ("ops.Pair.sum", "sum", "_ * 2", "a + b", "(a + b) * 2"),
        ("ops.Pair.sum", "return", "_ + 1", "twice(shown)", "twice(shown) + 1"),
        ("ops.Pair.sum.twice", "return", "(lambda x: _)(-x)", "2 * x", "(lambda x: 2 * x)(-x)"),
        ("ops.shows", "output", "x + 1", 'tap("output", x)', 'tap("output", x + 1)'),
    ],
)
def test_a_statement_is_known_by_what_it_shows_or_assigns_or_does(function, statement, new, before, now):
    assert SOURCE.count(before) == 1
    assert after(Edit(function, statement, new)) == ast.unparse(ast.parse(SOURCE.replace(before, now)))


def test_an_edit_of_the_whole_stands_in_place_of_the_tap():
    edit = Edit("ops.Pair.sum", "sum", "(_, tap('sum', 0))[0]", whole=True)
    assert "shown = (a + b, tap('sum', 0))[0]" in after(edit)


@pytest.mark.parametrize(
    ("function", "statement", "times"),
    [
        ("ops.Pair.sum", "difference", 0),
        ("ops.Pair.difference", "return", 0),
        ("ops.Pair.sum", "x", 0),  # a tap's name comes before what is assigned
        ("ops.shows", "return", 0),  # and before the word return
        ("ops", "total", 0),  # a function's statements are not the module's
    ],
)
def test_what_is_not_there_is_refused(function, statement, times):
    with pytest.raises(ValueError, match=rf"^{statement} must stand exactly once in {function}; it is found {times} t"):
        after(Edit(function, statement, "0"))


def test_what_is_there_twice_is_refused():
    twice = ast.parse("def f(x):\n    if x:\n        return 1\n    return 2\n")
    with pytest.raises(ValueError, match=r"^return must stand exactly once in ops\.f; it is found 2 times\.$"):
        edited(twice, [Edit("ops.f", "return", "0")])


@pytest.mark.parametrize(
    ("function", "statement", "times"),
    [("ops.softmax", "row", 0), ("fast.folding.folded.once", "return", 2), ("recipe.factor", "return", 3)],
)
def test_what_the_package_does_not_have_exactly_once_is_refused(function, statement, times):
    edit = Edit(function, statement, "0")
    with pytest.raises(ValueError, match=rf"^{statement} must stand exactly once in {function}; it is found {times} t"):
        copied(edit.module, edit)


def test_edits_of_one_statement_compose_where_all_but_one_adapt_what_was_there():
    plus, times = Edit("ops.Pair.sum", "sum", "_ + 1"), Edit("ops.Pair.sum", "sum", "_ * 2")
    assert "tap('sum', (a + b + 1) * 2)" in after(plus, times)
    assert "tap('sum', (a + b) * 2 + 1)" in after(times, plus)
    other = Edit("ops.Pair.sum", "sum", "a - b")
    assert after(plus, other) == after(other, plus)
    assert "tap('sum', a - b + 1)" in after(plus, other)
    whole = Edit("ops.Pair.sum", "sum", "(_, tap('sum', 0))[0]", whole=True)
    assert after(whole, plus) == after(plus, whole)
    assert "shown = (a + b + 1, tap('sum', 0))[0]" in after(plus, whole)
    assert after(plus, Edit("ops.Pair.sum", "total", "b")) == after(Edit("ops.Pair.sum", "total", "b"), plus)


@pytest.mark.parametrize(
    "edits",
    [
        [Edit("ops.shows", "output", "0"), Edit("ops.shows", "output", "1")],
        [Edit("ops.shows", "output", "0"), Edit("ops.shows", "output", "1"), Edit("ops.shows", "output", "_ + 1")],
        [Edit("ops.shows", "output", "_ + 1"), Edit("ops.shows", "output", "0", whole=True)],
        [Edit("ops.shows", "output", "_", whole=True), Edit("ops.shows", "output", "_ + 1", whole=True)],
    ],
)
def test_edits_of_one_statement_that_leave_nothing_of_each_other_contradict(edits):
    with pytest.raises(ValueError, match=r"^Edits of output in ops\.shows contradict each other: '[^']+' and '"):
        after(*edits)


def test_edits_that_compose_compute_one_after_another():
    x = np.array([[0.0, 1.0]])
    double, more = Edit("ops.softmax", "return", "2 * _"), Edit("ops.softmax", "return", "_ + 1")
    assert copied("deberta_ref.ops", double, more).softmax(x).tolist() == (2 * model.softmax(x) + 1).tolist()
    nothing = Edit("ops.softmax", "return", "0 * exp")
    assert copied("deberta_ref.ops", double, nothing, more).softmax(x).tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match=r"^Edits of return in ops\.softmax contradict each other"):
        copied("deberta_ref.ops", nothing, Edit("ops.softmax", "return", "exp"))


def test_a_variant_has_the_edits_of_several_modules_and_the_reference_has_none():
    x, p = np.float64([[1.0, 2.0, 6.0]]), Norm(np.ones(3), np.zeros(3))
    right = model.layer_norm(x, p)
    variant = combined(
        Edit("ops.layer_norm", "normalised *=", "_ * 2"),
        Edit("ops.mT", "return", "x"),
        Edit("model.embed", "return", "x"),
    )
    assert np.array_equal(variant.layer_norm(x, p), 2 * right)
    assert variant.mT(x) is x
    assert variant.gelu is model.gelu
    assert variant.embed.__code__.co_code != model.embed.__code__.co_code
    assert np.array_equal(model.layer_norm(x, p), right)
    assert ops.mT(x).shape == (3, 1)


def test_what_is_edited_is_used_inside_its_module_too():
    halved = copied("deberta_ref.ops", Edit("ops.matmul", "return", "_ / 2"))
    x = np.ones((1, 2, 2))
    assert np.array_equal(halved.relative_products(x, x, np.zeros((2, 2), int)), np.ones((1, 2, 2)))


def test_a_module_that_the_package_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"^There is no module deberta_ref\.opps\.$"):
        copied("deberta_ref.opps")
