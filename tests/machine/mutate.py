"""Mutants of any module, made by machine: its syntax tree with one small change, as a person may make it by mistake.

A mutant is known by its function, its statement, the kind of the change, and a number among those that share all three.
The same source gives the same mutants in the same order.
"""

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType

LONGEST = 100
"""Characters of a statement, in an id and where it is printed."""


@dataclass
class Place:
    """Where a node is in a tree: a field of its parent, or an element of a list there."""

    parent: ast.AST
    name: str
    index: int | None = None

    @property
    def node(self):
        held = getattr(self.parent, self.name)
        return held if self.index is None else held[self.index]

    @node.setter
    def node(self, node):
        if self.index is None:
            setattr(self.parent, self.name, node)
        else:
            getattr(self.parent, self.name)[self.index] = node


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of a tree."""

    id: str
    function: str
    kind: str
    before: str  # the statement, on one line
    after: str
    tree: ast.Module = field(repr=False)
    place: Place = field(repr=False)
    node: ast.AST = field(repr=False)

    def code(self, filename: str) -> CodeType:
        """The changed module, compiled; the tree is then as it was."""
        old, self.place.node = self.place.node, self.node
        try:
            return compile(ast.fix_missing_locations(self.tree), filename, "exec")
        finally:
            self.place.node = old


@dataclass(frozen=True)
class Scope:
    """What can stand where a statement is, instead of what does."""

    names: frozenset[str]  # that have a value before the statement
    attributes: dict[str, frozenset[str]]  # by the name whose attributes they are
    roles: tuple[frozenset[str], ...]  # names that are of one role though they do not look like it

    def others(self, name: str, among: frozenset[str]) -> list[str]:
        """Those that play the same role: they share their first or their last word, as query_layer and key_layer do."""
        words = name.strip("_").split("_")

        def alike(other):
            theirs = other.strip("_").split("_")
            return words[0] == theirs[0] or words[-1] == theirs[-1] or any({name, other} <= role for role in self.roles)

        return sorted(other for other in among if other != name and alike(other))


def parsed(source: str, *, without: tuple[str, ...] = ()) -> ast.Module:
    """The tree of a source, without the decorators whose text contains one of these."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.decorator_list = [d for d in node.decorator_list if not any(w in ast.unparse(d) for w in without)]
    return tree


def mutants(tree: ast.Module, lines: set[int], roles: tuple[frozenset[str], ...] = ()) -> list[Mutant]:
    """Every mutant of the statements in functions that are on one of these lines, those that run."""
    found, numbers = [], Counter()
    for name, function, owner in _functions(tree):
        for place in _statements(function):
            statement = place.node
            if lines.isdisjoint(range(statement.lineno, _last_line(statement) + 1)):
                continue
            before = shown(statement)
            texts = {before}
            for kind, where, node in _changes(place, _scope(tree, owner, function, statement, roles)):
                old, where.node = where.node, node
                after = shown(place.node)
                where.node = old
                if after in texts:
                    continue
                texts.add(after)
                start = name, before[:LONGEST], kind
                numbers[start] += 1
                identity = " | ".join([*start, str(numbers[start])])
                found.append(Mutant(identity, name, kind, before, after, tree, where, node))
    return found


def shown(statement: ast.stmt) -> str:
    """A statement on one line; of a compound one, the head."""
    if isinstance(statement, ast.Pass):
        return "(nothing)"
    if isinstance(statement, (ast.If, ast.For, ast.While, ast.With)):
        statement = copy.copy(statement)
        statement.body = [ast.Pass()]
        if isinstance(statement, ast.If):
            statement.orelse = []
        return ast.unparse(statement).partition("\n")[0]
    return " ".join(ast.unparse(statement).split())


def _functions(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node, None
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{f.name}", f, node) for f in node.body if isinstance(f, ast.FunctionDef))


def _statements(block) -> Iterator[Place]:
    for name in ("body", "orelse"):
        for index, statement in enumerate(getattr(block, name, [])):
            if not isinstance(statement, (ast.Raise, ast.Import, ast.ImportFrom, ast.FunctionDef)):
                yield Place(block, name, index)
                yield from _statements(statement)


def _last_line(statement):
    body = getattr(statement, "body", None)
    return body[0].lineno - 1 if body else statement.end_lineno


def _scope(tree, owner, function, statement, roles):
    arguments = function.args
    given = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    stored = [
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.lineno < statement.lineno
    ]
    attributes = {
        name: frozenset(
            node.attr
            for node in ast.walk(within)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
        )
        for name, within in (("self", owner), ("config", tree))
        if within
    }
    return Scope(frozenset([*given, *stored]) - {"self", "config"}, attributes, roles)


def _changes(place: Place, scope: Scope) -> Iterator[tuple[str, Place, ast.AST]]:
    """Kind, place and what comes there, for a statement and for the expressions in it, but not for its block."""
    for kind, rule in STATEMENT_RULES.items():
        yield from ((kind, place, node) for node in rule(place.node, scope))
    for where in _expressions(place.node):
        for kind, rule in RULES.items():
            yield from ((kind, where, node) for node in rule(where.node, scope))


def _expressions(node) -> Iterator[Place]:
    """The expressions that are computed there, outer ones first."""
    for name, value in ast.iter_fields(node):
        if name in {"body", "orelse", "annotation", "returns", "ctx"} and isinstance(node, ast.stmt):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.expr):
                if isinstance(getattr(child, "ctx", None), ast.Store) or isinstance(child, ast.JoinedStr):
                    continue
                yield Place(node, name, index)
            if isinstance(child, (ast.expr, ast.keyword, ast.comprehension)):
                yield from _expressions(child)


def changed(node, **fields):
    """A copy of a node with other fields."""
    node = copy.copy(node)
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def called(node) -> str:
    """The last name of the function that is called; nothing for another node."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name
        case ast.Call(func=ast.Subscript()):
            return "[]"
    return ""


def _swapped(items):
    """Every list in which two neighbours have changed places."""
    for i in range(len(items) - 1):
        yield [*items[:i], items[i + 1], items[i], *items[i + 2 :]]


# Statements: what stands in the place of one.


def _deleted(node, scope):
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) if name in scope.names:
            yield ast.Pass()
        case ast.AugAssign() | ast.Expr(value=ast.Call()) if "super" not in ast.unparse(node):
            yield ast.Pass()


def _augmented(node, _scope):
    if isinstance(node, ast.AugAssign):
        yield from (changed(node, op=op()) for op in OPERATORS.get(type(node.op), ()))
        yield ast.Assign([node.target], node.value, lineno=node.lineno)


def _looped(node, _scope):
    if isinstance(node, ast.For):
        for end in ("[1:]", "[:-1]", "[::-1]"):
            yield changed(node, iter=ast.parse(f"list({ast.unparse(node.iter)}){end}", mode="eval").body)


def _negated(node, _scope):
    if isinstance(node, ast.If):
        yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))


def _assigned_negative(node, _scope):
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)) and isinstance(node.value, (ast.Call, ast.BinOp)):
        yield changed(node, value=ast.UnaryOp(ast.USub(), node.value))


# Expressions: what stands in the place of one.

OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div, ast.Mult),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

FUNCTIONS = (
    ("ceil", "floor", "round", "trunc"),
    ("abs", "neg", "sign"),
    ("sqrt", "square", "rsqrt"),
    ("log", "log2", "log1p"),
    ("min", "max"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("softmax", "softmin", "log_softmax"),
    ("LayerNorm", "RMSNorm"),
)
"""Functions and limits that are taken for one another."""

PRECISIONS = {"float": ("half", "bfloat16", "double"), "float32": ("half", "bfloat16", "double"), "long": ("int8",)}

ACTIVATIONS = ("gelu_new", "relu", "silu", "tanh")

TRANSPOSITIONS = {"transpose", "permute", "swapaxes", "t"}

KEPT = {"super", "getattr", "isinstance", "len", "range", "enumerate", "list", "tuple", "contiguous", "size"}
"""Functions whose call is not left out: nothing would change, or nothing could be computed."""


def _operands_exchanged(node, _scope):
    match node:
        case ast.BinOp(op=ast.Sub() | ast.Div() | ast.FloorDiv()) | ast.BinOp(right=ast.Tuple()):
            yield changed(node, left=node.right, right=node.left)


def _operator(node, _scope):
    if isinstance(node, ast.BinOp):
        yield from (changed(node, op=op()) for op in OPERATORS.get(type(node.op), ()))


def _operand_alone(node, _scope):
    if isinstance(node, ast.BinOp):
        yield node.left
        yield node.right


def _comparison(node, _scope):
    if isinstance(node, ast.Compare):
        yield from (changed(node, ops=[op()]) for op in COMPARISONS.get(type(node.ops[0]), ()))


def _constant(node, _scope):
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield from map(ast.Constant, (value + 1, value - 1, 0, 2 * value, value // 2))
        case ast.Constant(value=float() as value):
            yield from map(ast.Constant, (0.0, 2 * value, value / 2, -value))
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            yield from map(ast.Constant, (1 - value, -value - 1, value))


def _slice(node, _scope):
    if not isinstance(node, ast.Slice):
        return
    for name, step in (("lower", ast.Add()), ("upper", ast.Sub())):
        bound = getattr(node, name)
        if bound is None:
            yield changed(node, **{name: ast.Constant(1 if name == "lower" else -1)})
        else:
            yield changed(node, **{name: None})
            yield changed(node, **{name: ast.BinOp(bound, step, ast.Constant(1))})


def _axis(node, _scope):
    if isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            if keyword.arg in {"dim", "axis"}:
                for axis in (-2, -1, 0, 1):
                    others = [*node.keywords[:i], changed(keyword, value=ast.Constant(axis)), *node.keywords[i + 1 :]]
                    yield changed(node, keywords=others)


def _transposition(node, _scope):
    if called(node) in TRANSPOSITIONS and isinstance(node.func, ast.Attribute):
        yield node.func.value
        yield from (changed(node, args=args) for args in _swapped(node.args))
    if called(node) in {"bmm", "matmul"}:
        for i, argument in enumerate(node.args):
            turned = ast.Call(
                ast.Attribute(argument, "transpose", ast.Load()), [ast.Constant(-1), ast.Constant(-2)], []
            )
            yield changed(node, args=[*node.args[:i], turned, *node.args[i + 1 :]])


def _sign(node, scope):
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield node.operand
        case ast.Call(args=arguments):
            for i, argument in enumerate(arguments):
                if isinstance(argument, ast.Name) and argument.id in scope.names:
                    negative = ast.UnaryOp(ast.USub(), argument)
                    yield changed(node, args=[*arguments[:i], negative, *arguments[i + 1 :]])


def _function(node, _scope):
    if isinstance(node, ast.Attribute):
        for names in FUNCTIONS:
            if node.attr in names:
                yield from (changed(node, attr=name) for name in names if name != node.attr)


def _precision(node, _scope):
    match node:
        case ast.Attribute(value=ast.Name(id="torch" | "np"), attr=name):
            yield from (changed(node, attr=other) for other in PRECISIONS.get(name, ()))


def _activation(node, _scope):
    match node:
        case ast.Subscript(value=ast.Name(id="ACT2FN")):
            yield from (changed(node, slice=ast.Constant(name)) for name in ACTIVATIONS)


def _name(node, scope):
    if isinstance(node, ast.Name) and node.id in scope.names:
        yield from (changed(node, id=other) for other in scope.others(node.id, scope.names))


def _attribute(node, scope):
    match node:
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in scope.attributes:
            yield from (changed(node, attr=other) for other in scope.others(name, scope.attributes[owner]))


def _call_left_out(node, _scope):
    name = called(node)
    if not name or name in KEPT or name in TRANSPOSITIONS or "dropout" in name.lower():
        return
    yield from node.args[:3]
    match node.func:
        case ast.Attribute(value=ast.Name(id="self" | "torch" | "nn" | "np")):
            pass
        case ast.Attribute(value=receiver):
            yield receiver


def _exchanged(node, _scope):
    if isinstance(node, ast.Call) and called(node) not in TRANSPOSITIONS:
        yield from (changed(node, args=args) for args in _swapped(node.args))
    elif isinstance(node, (ast.Tuple, ast.List)):
        yield from (changed(node, elts=elements) for elements in _swapped(node.elts))


def _argument_left_out(node, _scope):
    if isinstance(node, ast.Call):
        for i in range(len(node.keywords)):
            yield changed(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])
        if len(node.args) > 1:
            yield changed(node, args=node.args[:-1])


def _condition(node, _scope):
    match node:
        case ast.IfExp():
            yield changed(node, body=node.orelse, orelse=node.body)
        case ast.BoolOp():
            yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            yield from node.values


Rule = Callable[[ast.AST, Scope], Iterator[ast.AST]]

STATEMENT_RULES: dict[str, Rule] = {
    "statement deleted": _deleted,
    "operator": _augmented,
    "loop": _looped,
    "condition": _negated,
    "sign": _assigned_negative,
}

RULES: dict[str, Rule] = {
    "axis": _axis,
    "transposition": _transposition,
    "operands exchanged": _operands_exchanged,
    "operator": _operator,
    "operand alone": _operand_alone,
    "comparison": _comparison,
    "condition": _condition,
    "slice": _slice,
    "sign": _sign,
    "constant": _constant,
    "function": _function,
    "precision": _precision,
    "activation": _activation,
    "name": _name,
    "attribute": _attribute,
    "arguments exchanged": _exchanged,
    "argument left out": _argument_left_out,
    "call left out": _call_left_out,
}
"""Every kind of change, and what it makes of a node."""
