"""Mutants of a module: a sign flipped, a term or factor dropped, a gradient left out.

Nothing is written: a mutant is a code object that takes the place of a function's own for a while.
Absent: integer division, sets, lists, error messages.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import gc
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

ROOT = Path(__file__).parents[2]
_OPPOSITE = {"Add": "Sub", "Sub": "Add"}
# A statement or lambda: its module, line and column.
Place = tuple[str, int, int]
_WRITTEN = ("Add", "Sub", "Mul", "Div", "Neg", "Sum")
_LISTS = (ast.List, ast.Tuple, ast.ListComp, ast.JoinedStr)


@dataclass(frozen=True)
class Mutant:
    """One change of one expression.

    Attributes:
        file: The module, relative to the repository.
        line: The expression's line.
        place: Where the statement or lambda begins that holds it.
        function: The outermost function around it.
        before: The expression.
        after: What it becomes; "pass" for a statement that is dropped.
        original: The module's code.
        mutated: The code with the change.
    """

    file: str
    line: int
    place: Place
    function: str
    before: str
    after: str
    original: CodeType
    mutated: CodeType

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.before}  ->  {self.after}"

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The live functions run the mutant's code."""
        with exchanged(ROOT / self.file, self.original, self.mutated) as swapped:
            assert swapped, f"no function runs {self}"
            yield


@contextmanager
def exchanged(path: Path, original: CodeType, other: CodeType) -> Iterator[list[Any]]:
    """The live functions of a module run other code; those that do."""
    swapped: list[Any] = []
    live = _live(path)
    try:
        for old, new in _changed(original, other):
            for function in live.get(old, ()):
                if function.__code__.co_freevars == new.co_freevars:
                    swapped.append((function, old))
                    function.__code__ = new
        yield swapped
    finally:
        for function, old in swapped:
            function.__code__ = old


def _changed(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects that differ, from the outside to the inside."""
    if old == new:
        return
    yield old, new
    inner = [[k for k in c.co_consts if isinstance(k, CodeType)] for c in (old, new)]
    if len(inner[0]) == len(inner[1]):
        for pair in zip(*inner, strict=True):
            yield from _changed(*pair)


_LIVE: dict[str, dict[CodeType, list[FunctionType]]] = {}


def _live(path: Path) -> dict[CodeType, list[FunctionType]]:
    """The functions of a module that exist, by their code."""
    if not _LIVE:
        for thing in gc.get_objects():
            if type(thing) is FunctionType:  # isinstance asks some objects, which then warn.
                by_code = _LIVE.setdefault(thing.__code__.co_filename, {})
                by_code.setdefault(thing.__code__, []).append(thing)
    return _LIVE.get(str(path), {})


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(path.read_text(), str(path))
    original = compile(tree, str(path), "exec", dont_inherit=True)
    file = str(path.relative_to(ROOT))
    for parent, name, index, node, function, place in _places(tree):
        for changed in _variants(node):
            ast.fix_missing_locations(ast.copy_location(changed, node))
            _put(parent, name, index, changed)
            mutated = compile(tree, str(path), "exec", dont_inherit=True)
            _put(parent, name, index, node)
            if mutated != original:
                yield Mutant(
                    file, node.lineno, (file, *place), function,
                    _text(node), _text(_meant(changed)), original, mutated,
                )  # fmt: skip


def _put(parent: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, Any, str, tuple[int, int]]]:
    """Each expression and statement inside a function, and where it hangs."""

    def visit(node: ast.AST, function: str, place: tuple[int, int]) -> Iterator[Any]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "args") and not isinstance(
                node, ast.Call
            ):
                continue
            children = value if isinstance(value, list) else [value]
            for k, child in enumerate(children):
                if not isinstance(child, ast.AST) or isinstance(child, (ast.Raise, ast.Assert)):
                    continue
                inside = place
                if isinstance(child, (ast.stmt, ast.Lambda)):
                    inside = (child.lineno, child.col_offset)
                index = k if isinstance(value, list) else None
                if function:
                    yield node, name, index, child, function, inside
                name_of = function
                if not function and isinstance(child, (ast.FunctionDef, ast.Lambda)):
                    name_of = _called(child)
                yield from visit(child, name_of, inside)

    yield from visit(tree, "", (0, 0))


def _called(node: ast.FunctionDef | ast.Lambda) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else "lambda"


def _drop(kept: ast.expr, dropped: ast.expr) -> ast.expr:
    """`kept`, in a function that still closes over what `dropped` names."""
    return ast.IfExp(ast.Constant(True), kept, dropped)


def _meant(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.IfExp) and isinstance(node.test, ast.Constant):
        return node.body
    return node


def _variants(node: ast.AST) -> Iterator[Any]:
    if isinstance(node, ast.BinOp) and not _is_list(node):
        yield from _binary(type(node.op).__name__, node.left, node.right)
    elif isinstance(node, ast.AugAssign) and not _is_list(node.value):
        kind = type(node.op).__name__
        if kind in _OPPOSITE:
            opposite = getattr(ast, _OPPOSITE[kind])()
            yield ast.AugAssign(node.target, opposite, node.value)
            yield ast.Pass()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    elif isinstance(node, ast.Call) and _is_builder(node.func):
        yield from _built(node)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        for k, item in enumerate(node.value.elts):
            if not isinstance(item, (ast.Constant, ast.Starred)):
                rest = copy.copy(node.value.elts)
                rest[k] = _drop(ast.Constant(None), item)
                yield ast.Return(ast.Tuple(rest, ast.Load()))


def _binary(kind: str, left: ast.expr, right: ast.expr) -> Iterator[ast.expr]:
    """A term's sign flipped; a term or factor dropped."""
    if kind in _OPPOSITE:
        yield ast.BinOp(left, getattr(ast, _OPPOSITE[kind])(), right)
    if kind in ("Add", "Sub", "Mult", "Mul", "Div"):
        yield _drop(left, right)
    if kind in ("Add", "Mult", "Mul"):
        yield _drop(right, left)
    if kind == "Sub":
        yield _drop(ast.UnaryOp(ast.USub(), right), left)


def _is_builder(function: ast.expr) -> bool:
    """Whether it is `b.Op` or the like, `c.b.Op`, `self.b.Op`."""
    if not isinstance(function, ast.Attribute):
        return False
    owner = function.value
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return name in ("b", "inner", "body") and function.attr in _WRITTEN


def _built(node: ast.Call) -> Iterator[ast.expr]:
    assert isinstance(node.func, ast.Attribute)
    kind, args = node.func.attr, node.args
    if any(isinstance(a, ast.Starred) for a in args):
        return
    if kind == "Neg":
        yield args[0]
    elif kind == "Sum":
        for k in range(len(args)):
            yield ast.Call(node.func, [*args[:k], *args[k + 1 :]], node.keywords)
    else:
        if kind in _OPPOSITE:
            function = ast.Attribute(node.func.value, _OPPOSITE[kind], ast.Load())
            yield ast.Call(function, args, node.keywords)
        for k in range(2 if kind in ("Add", "Mul") else 1):
            yield _drop(args[k], args[1 - k])
        if kind == "Sub":
            negated = ast.Attribute(node.func.value, "Neg", ast.Load())
            yield _drop(ast.Call(negated, [args[1]], []), args[0])


def _is_list(node: ast.expr) -> bool:
    """Whether an expression joins or repeats lists or strings."""
    if isinstance(node, ast.BinOp):
        return _is_list(node.left) or _is_list(node.right)
    return isinstance(node, _LISTS) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


class _Marking(ast.NodeTransformer):
    """Statements and lambdas inside functions say that they run."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.depth = 0

    def _mark(self, node: ast.stmt | ast.Lambda) -> ast.expr:
        where = ast.Constant((self.file, node.lineno, node.col_offset))
        return ast.Call(ast.Name(_MARK, ast.Load()), [where], [])

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        """`lambda: x` as `lambda: mark() or x`."""
        self.depth += 1
        node = self.generic_visit(node)  # type: ignore[assignment]
        self.depth -= 1
        node.body = ast.BoolOp(ast.Or(), [self._mark(node), node.body])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self.depth += 1
        marked = self.generic_visit(node)
        self.depth -= 1
        return [ast.Expr(self._mark(node)), marked] if self.depth else marked

    def visit(self, node: ast.AST) -> Any:
        inside = self.depth and isinstance(node, ast.stmt)
        if inside and not isinstance(node, ast.FunctionDef):
            return [ast.Expr(self._mark(node)), super().visit(node)]
        return super().visit(node)


_MARK = "_mutation_reached"


@contextmanager
def reached(paths: Iterable[Path]) -> Iterator[set[Place]]:
    """Collects the statements and lambdas of some modules that run; to be cleared at will."""
    places: set[Place] = set()
    setattr(builtins, _MARK, places.add)
    try:
        with ExitStack() as stack:
            for path in paths:
                stack.enter_context(exchanged(path, *_marked(path)))
            yield places
    finally:
        delattr(builtins, _MARK)


@functools.cache
def _marked(path: Path) -> tuple[CodeType, CodeType]:
    tree = ast.parse(path.read_text(), str(path))
    original = compile(tree, str(path), "exec", dont_inherit=True)
    marked = ast.fix_missing_locations(_Marking(str(path.relative_to(ROOT))).visit(tree))
    return original, compile(marked, str(path), "exec", dont_inherit=True)
