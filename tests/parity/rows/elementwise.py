"""Elementwise functions: values, promotion of integers, layouts, empty inputs, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.core import ALL, FLOATS, NUMBERS, Row, d, rows

_UNARY = ["exp", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "atan", "sinh", "cosh", "asinh",
          "expm1", "floor", "abs", "neg"]  # fmt: skip
_BINARY = ["add", "sub", "mul", "maximum", "minimum", "eq", "lt"]


def named(name: str) -> Callable[..., Any]:
    """The function of that name, called with all inputs."""
    return lambda m, *inputs: getattr(m, name)(*inputs)


ROWS = [
    *rows("unary", {n: named(n) for n in _UNARY}, d(3, 5), dtypes=FLOATS),
    *rows("binary", {n: named(n) for n in _BINARY}, d(3, 1), d(4), dtypes=NUMBERS),
    Row("add/bool", lambda m, x, y: x + y, [d(3, dtype="bool"), d(3)], dtypes=ALL),
    Row("mul/transposed", lambda m, x: x * x, [d(3, 4, layout="transposed")]),
    Row("exp/empty", lambda m, x: m.exp(x), [d(0, 3)]),
    Row("add/shapes", lambda m, x, y: x + y, [d(3), d(4)], error=True),
]
