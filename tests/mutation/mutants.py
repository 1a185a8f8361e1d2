"""Which mistakes can be made in a file: every place, every variant, as a changed source.

Sources are first written anew from their syntax tree, so that each statement has one line of its own. Texts, messages,
docstrings, annotations, decorators, assertions and code for type checkers stay as they are: no test reads them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
PAIRS = ("min max", "any all", "floor ceil", "argmin argmax", "minimum maximum", "amin amax", "cumsum cumprod")
NAMES = {a: b for pair in PAIRS for a, b in (pair.split(), pair.split()[::-1])}
UNTURNED = set("min max minimum maximum isclose array_equal zip isinstance getattr setdefault SubElement Row".split())
"""Calls whose first two arguments may change places and mean the same, or fail at once."""
SAID = {"say", "cast", "getLogger", "write_line", "echo"}
"""Calls of which nothing is changed: messages and types."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: where (``line`` of the file as it is) and what; ``number`` and ``variant`` say how to make it."""

    path: str
    line: int
    kind: str
    before: str
    after: str
    at: int | None
    """Line of the rewritten source that has to run for it to matter; None where the file's import runs it."""
    rank: str
    """Digest that orders mutants by chance; it does not change with what else is in the file."""
    number: int
    variant: int


def rewrite(source: str) -> str:
    """Return the source from its syntax tree, one line a statement, ending in a statement that does nothing.

    Tests that hold the text of a source fail on it already, so they take no part.
    """
    return ast.unparse(ast.parse(source)) + "\npass\n"


def find_mutants(root: Path, path: str, seed: int) -> Iterator[Mutant]:
    """Yield every mutant of the file ``path`` below ``root``."""
    original = (root / path).read_text(encoding="utf-8")
    source = rewrite(original)
    lines = [getattr(node, "lineno", 0) for node, _, _ in _sites(ast.parse(original), None, False)]
    seen: dict[str, int] = {}
    for number, (node, statement, inside) in enumerate(_sites(ast.parse(source), None, False)):
        for variant, (kind, changed) in enumerate(_variants(node)):
            before, after = _brief(node), _brief(changed)
            if before == after and kind == "arguments swapped":
                continue
            what = f"{seed} {path} {ast.unparse(statement) if statement else ''} {kind} {before} {after}"
            seen[what] = seen.get(what, 0) + 1
            rank = hashlib.sha256(f"{what} {seen[what]}".encode()).hexdigest()
            at = statement.lineno if inside and statement else None
            yield Mutant(path, lines[number], kind, before, after, at, rank, number, variant)


def make_mutant(root: Path, mutant: Mutant) -> str:
    """Return the whole source of the mutant's file, rewritten and with the mistake."""
    tree = ast.parse(rewrite((root / mutant.path).read_text(encoding="utf-8")))
    old = next(node for at, (node, _, _) in enumerate(_sites(tree, None, False)) if at == mutant.number)
    new = list(_variants(old))[mutant.variant][1]

    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Swap().visit(tree))) + "\n"


def _sites(node: ast.AST, statement: ast.stmt | None, inside: bool) -> Iterator[tuple[ast.AST, ast.stmt | None, bool]]:
    """Yield the nodes that may be changed, each with its statement and whether that is in a function."""
    if isinstance(node, ast.stmt):
        statement = node
    yield node, statement, inside
    function = isinstance(node, ast.FunctionDef)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left_alone(child):
                yield from _sites(child, statement, inside or (function and name == "body"))


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Call) and _called(node) in SAID:
        return True
    if isinstance(node, ast.keyword) and node.arg == "strict" and isinstance(node.value, ast.Constant):
        return True  # zip's
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what can be put in the place of ``node``, with the name of the mistake."""
    match node:
        case ast.Compare(left, [operator], right):
            for other in COMPARISONS[type(operator)]:
                yield "comparison", ast.Compare(left, [other()], right)
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC and not _is_text(left, right):
            yield "arithmetic", ast.BinOp(left, ARITHMETIC[type(operator)](), right)
        case ast.AugAssign(target, operator, value) if type(operator) in ARITHMETIC and not _is_text(value, value):
            yield "arithmetic", ast.AugAssign(target, ARITHMETIC[type(operator)](), value)
        case ast.Constant(bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield "constant", ast.Constant(value + 1)
        case ast.BoolOp(operator, values):
            yield "and/or", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand) if not isinstance(operand, ast.Constant):
            yield "sign dropped", operand
        case ast.If(test, body, orelse):
            yield "condition negated", ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.IfExp(test, body, orelse):
            yield "branches swapped", ast.IfExp(test, orelse, body)
        case ast.Return(value) if value is not None and ast.unparse(value) != "None":
            yield "return dropped", ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call() as call) if _called(call) not in SAID:
            yield "call dropped", ast.Pass()
        case ast.Continue():
            yield "break for continue", ast.Break()
        case ast.Slice(lower, upper, step) if step is not None:
            yield "step dropped", ast.Slice(lower, upper, None)
        case ast.Slice(lower, upper, None) if lower is not None or upper is not None:
            yield "slice turned", ast.Slice(upper, lower, None)
        case ast.Call(func, [condition, first, second], keywords) if _called(node) == "where":
            yield "arguments swapped", ast.Call(func, [condition, second, first], keywords)
        case ast.Call(func, [first, second, *rest], keywords) if _called(node) not in UNTURNED:
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                yield "arguments swapped", ast.Call(func, [second, first, *rest], keywords)
        case ast.Attribute(value, name) if name in NAMES:
            yield "other function", ast.Attribute(value, NAMES[name], ast.Load())
        case ast.Name(name, ast.Load()) if name in NAMES:
            yield "other function", ast.Name(NAMES[name], ast.Load())


def _is_text(*operands: ast.AST) -> bool:
    """Whether texts, lists or types are put together: another operator fails at once."""
    plain = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp, ast.Dict, ast.DictComp, ast.Set, ast.SetComp)
    return any(
        isinstance(o, plain) or (isinstance(o, ast.Constant) and isinstance(o.value, str | None)) for o in operands
    )


def _brief(node: ast.AST) -> str:
    """The first line of a node."""
    return ast.unparse(ast.fix_missing_locations(node)).partition("\n")[0]
