"""A size that is known only when the traced program runs."""

from __future__ import annotations

import builtins
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.state import STATE
from toolkit.errors import DataDependentError, InvalidArgumentError


class SymInt:
    """A dynamic dimension; arithmetic with it becomes nodes of the graph when it is used."""

    __slots__ = ("axis", "source", "symbol")

    def __init__(self, source: Any, axis: int | None, symbol: str | None) -> None:
        self.source = source  # A tensor's value, or with axis None the int64 vector of length 1.
        self.axis = axis
        self.symbol = symbol

    def value(self) -> Any:
        """As an int64 vector of length 1 in the graph."""
        if self.axis is None:
            return self.source
        return _trace().dim(self.source, self.axis)

    def vector(self) -> Any:
        """As a tensor of shape (1,)."""
        return wrap(self.value())

    def tensor(self) -> Any:
        """As a 0-dim int64 tensor."""
        return wrap(_trace().recorder.builder.Squeeze(self.value(), [0]))

    def _with(self, op: str, sign: str, other: Any, swap: bool = False) -> Any:
        if not isinstance(other, (int, SymInt)):
            return NotImplemented
        if not swap and op != "Mod" and other == (0 if op in ("Add", "Sub") else 1):
            return self
        if swap and op in ("Add", "Mul") and other == (0 if op == "Add" else 1):
            return self
        b = _trace().recorder.builder
        mine = self.value()
        theirs = other.value() if isinstance(other, SymInt) else b.ints([other])
        pair = (theirs, mine) if swap else (mine, theirs)
        out = getattr(b, op)(*pair)
        names = (_name(other), self.name) if swap else (self.name, _name(other))
        return SymInt(out, None, expression(names[0], sign, names[1]))

    @property
    def name(self) -> str:
        """The symbol, or "?" where it has none."""
        return self.symbol or "?"

    def __add__(self, other: Any) -> Any:
        return self._with("Add", "+", other)

    def __radd__(self, other: Any) -> Any:
        return self._with("Add", "+", other, True)

    def __sub__(self, other: Any) -> Any:
        return self._with("Sub", "-", other)

    def __rsub__(self, other: Any) -> Any:
        return self._with("Sub", "-", other, True)

    def __mul__(self, other: Any) -> Any:
        return self._with("Mul", "*", other)

    def __rmul__(self, other: Any) -> Any:
        return self._with("Mul", "*", other, True)

    def __floordiv__(self, other: Any) -> Any:
        return self._with("Div", "//", other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._with("Div", "//", other, True)

    def __mod__(self, other: Any) -> Any:
        return self._with("Mod", "%", other)

    def __rmod__(self, other: Any) -> Any:
        return self._with("Mod", "%", other, True)

    def __neg__(self) -> Any:
        return 0 - self

    def __pow__(self, other: Any) -> Any:
        return self.tensor() ** other

    def __rpow__(self, other: Any) -> Any:
        return other ** self.tensor()

    def __truediv__(self, other: Any) -> Any:
        return self.tensor() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.tensor()

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, SymInt):
            return isinstance(other, int) and self._differs(other)
        if self.symbol and other.symbol and "?" not in self.symbol:
            return self.symbol == other.symbol
        return self.source is other.source and self.axis == other.axis

    def _differs(self, size: int) -> bool:
        """That no dynamic dimension equals a number: to the user's own code it is refused."""
        from toolkit.source_lines import in_package

        caller = sys._getframe(2)
        return False if in_package(caller) else bool(self._refuse(f"comparison with {size}"))

    def __hash__(self) -> int:
        return hash(self.symbol or (id(self.source), self.axis))

    def _refuse(self, what: str) -> Any:
        from toolkit.source_lines import at_user_line

        raise DataDependentError(
            f"{what}: a known size is required, got the dynamic dimension '{self.name}'. Python "
            "control flow cannot depend on it; leave it out of dynamic={...} to fix its size, or "
            f"use where().{at_user_line()}"
        )

    def __lt__(self, other: Any) -> Any:
        return self._refuse("comparison")

    __gt__ = __le__ = __ge__ = __lt__

    def __bool__(self) -> bool:
        return True  # Sizes in graphs are taken as positive.

    def __int__(self) -> int:
        return self._refuse("int()")

    def __index__(self) -> int:
        return self._refuse("index")

    def __float__(self) -> float:
        return self._refuse("float()")

    def __repr__(self) -> str:
        return self.name


def sym_max(a: Any, b: Any) -> Any:
    """The larger of two sizes, of which some may be symbolic."""
    return _extreme("Max", "max", a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller of two sizes, of which some may be symbolic."""
    return _extreme("Min", "min", a, b)


def _extreme(op: str, name: str, a: Any, b: Any) -> Any:
    if type(a) is not SymInt and type(b) is not SymInt:
        return max(a, b) if op == "Max" else min(a, b)
    if a == b:
        return a
    builder = _trace().recorder.builder
    parts = [v.value() if type(v) is SymInt else builder.ints([v]) for v in (a, b)]
    return SymInt(getattr(builder, op)(*parts), None, f"{name}({_name(a)}, {_name(b)})")


_PLAIN_LEN = builtins.len
_LOCK = threading.Lock()
_USERS = [0]  # Traces of all threads in which `len` may meet a symbolic size.


def _len(x: Any, /) -> Any:
    if STATE.trace is not None and isinstance(x, TensorBase):
        return type(x).__len__(x)  # type: ignore[attr-defined]
    return _PLAIN_LEN(x)


@contextmanager
def symbolic_len() -> Iterator[None]:
    """`len` of a traced tensor is its size, also where that is symbolic: Python's asks for an int.

    Another thread's `len` does what it always does.
    """
    with _LOCK:
        _USERS[0] += 1
        builtins.len = _len
    try:
        yield
    finally:
        with _LOCK:
            _USERS[0] -= 1
            if not _USERS[0]:
                builtins.len = _PLAIN_LEN


def _trace() -> Any:
    if STATE.trace is None:
        raise InvalidArgumentError("SymInt: it has a meaning inside its trace only.")
    return STATE.trace


def _name(other: Any) -> str:
    return other.name if isinstance(other, SymInt) else str(other)


_OFFSET = re.compile(r"\((.+) ([+-]) (\d+)\)")


def expression(a: str, sign: str, b: str) -> str:
    """The name of a combination of sizes; added numbers are collected: (n + 1) - 1 is n."""
    if sign == "-" and a == b and "?" not in a:
        return "0"
    if sign == "+" and a.isdigit():
        a, b = b, a
    if sign not in "+-" or not b.isdigit():
        return f"({a} {sign} {b})"
    offset = int(sign + b)
    found = _OFFSET.fullmatch(a)
    if found:
        a, offset = found[1], offset + int(found[2] + found[3])
    return a if not offset else f"({a} {'+' if offset > 0 else '-'} {abs(offset)})"


def difference(a: Any, b: Any) -> Any:
    """The name of the size a - b, None where it has none; writes no nodes."""
    if type(a) is int and type(b) is int:
        return a - b
    name = expression(_name(a), "-", _name(b))
    return None if "?" in name else name


def counts(v: Any) -> bool:
    """Whether it has a name and cannot be negative; a named dimension is at least 1."""
    if type(v) is not SymInt or "?" in v.name:
        return False
    found = _OFFSET.fullmatch(v.name)
    return "-" not in v.name or (
        found is not None and found[1].isidentifier() and found[2] + found[3] == "-1"
    )
