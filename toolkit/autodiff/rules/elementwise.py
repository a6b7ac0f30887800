"""Gradients of elementwise arithmetic: a page of calculus."""

from __future__ import annotations

import math
from typing import Any

from toolkit.autodiff.registry import Result, Vjp, derivative, linear, not_differentiable, vjp
from toolkit.graph.build import Builder, constant_of

V = Any  # An ir.Value under `arithmetic`.

derivative("Abs")(lambda b, x, y: b.Sign(x))
derivative("Acos")(lambda b, x, y: -b.Reciprocal(b.Sqrt(1.0 - x * x)))
derivative("Acosh")(lambda b, x, y: b.Reciprocal(b.Sqrt(x * x - 1.0)))
derivative("Asin")(lambda b, x, y: b.Reciprocal(b.Sqrt(1.0 - x * x)))
derivative("Asinh")(lambda b, x, y: b.Reciprocal(b.Sqrt(x * x + 1.0)))
derivative("Atan")(lambda b, x, y: b.Reciprocal(x * x + 1.0))
derivative("Atanh")(lambda b, x, y: b.Reciprocal(1.0 - x * x))
derivative("Cos")(lambda b, x, y: -b.Sin(x))
derivative("Cosh")(lambda b, x, y: b.Sinh(x))
derivative("Erf")(lambda b, x, y: b.Exp(-(x * x)) * (2.0 / math.sqrt(math.pi)))
derivative("Exp")(lambda b, x, y: y)
derivative("Sin")(lambda b, x, y: b.Cos(x))
derivative("Sinh")(lambda b, x, y: b.Cosh(x))
derivative("Sqrt")(lambda b, x, y: 0.5 / y)
derivative("Tan")(lambda b, x, y: y * y + 1.0)
derivative("Reciprocal")(lambda b, x, y: -(y * y))

linear("Neg", lambda c: -c.dy)
linear("Identity", lambda c: c.dy)
linear("Cast", lambda c: c.dy)  # The walk casts back.
linear("CastLike", lambda c: c.dy)

not_differentiable(
    "Ceil", "Floor", "Round", "Sign", reason="Piecewise constant: zero wherever it exists."
)
not_differentiable(
    "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "BitCast",
    reason="Acts on bits.",
)  # fmt: skip


@vjp("Log")
def log(c: Vjp, x: V) -> V:
    """dx = dy / x."""
    return c.dy / x


@vjp("Add", broadcasts=True)
def add(c: Vjp, x: V, y: V) -> Result:
    """da = dy, db = dy."""
    return c.dy, c.dy


@vjp("Sub", broadcasts=True)
def sub(c: Vjp, x: V, y: V) -> Result:
    """da = dy, db = -dy."""
    return c.dy, lambda: -c.dy


@vjp("Mul", broadcasts=True)
def mul(c: Vjp, x: V, y: V) -> Result:
    """da = dy b, db = dy a."""
    return lambda: c.dy * y, lambda: c.dy * x


@vjp("Div", broadcasts=True)
def div(c: Vjp, x: V, y: V) -> Result:
    """da = dy / b, db = -(dy / b) (a / b)."""
    return lambda: c.dy / y, lambda: -(c.dy / y) * c.y


@vjp("Pow", broadcasts=True)
def power(c: Vjp, x: V, e: V) -> Result:
    """dx = dy e x^(e-1), zero where e = 0; de = dy y ln x, zero where x = 0 and e >= 0."""
    b = c.b

    def base() -> V:
        number = constant_of(e)
        exponent = b.cast(e, x.dtype)
        if number is not None and number.size == 1:
            n = float(number.reshape(()))
            if n == 0.0:
                return None
            if n == 1.0:
                return c.dy
            if n == 2.0:
                return c.dy * (x * 2.0)
            return c.dy * (b.Pow(x, exponent - 1.0) * exponent)
        safe = b.Where(b.Equal(exponent, 0.0), 1.0, exponent)
        return c.dy * (exponent * b.Pow(x, safe - 1.0))

    def exponent() -> V:
        flat = b.And(b.Equal(x, 0.0), b.Not(b.Less(b.cast(e, x.dtype), 0.0)))
        return b.Where(flat, 0.0, c.dy * c.y * b.Log(b.Where(flat, 1.0, x)))

    return base, exponent


@vjp("Mod", broadcasts=True)
def mod(c: Vjp, x: V, y: V) -> Result:
    """da = dy, db = -dy q, q = (a - mod(a, b)) / b the integer quotient."""
    return c.dy, lambda: -c.dy * c.b.Round((x - c.y) / y)


@vjp("Sum", broadcasts=True)
def total(c: Vjp, *xs: V) -> Result:
    """dx_i = dy."""
    return (c.dy,) * len(xs)


@vjp("Mean", broadcasts=True)
def mean(c: Vjp, *xs: V) -> Result:
    """dx_i = dy / n."""
    return (c.dy * (1.0 / len(xs)),) * len(xs)


@vjp("Max", "Min", broadcasts=True)
def extremum(c: Vjp, *xs: V) -> Any:
    """dx_i = dy [x_i = y] / #{j : x_j = y}: operands that tie share, as torch.maximum's do."""
    b = c.b
    if len(xs) == 1:
        return c.dy
    if len(xs) == 2:
        shared = b.Where(b.Equal(*xs), c.dy * 0.5, c.dy)
        loses = b.Less if c.node.op_type == "Max" else b.Greater
        return (
            lambda: b.Where(loses(xs[0], xs[1]), 0.0, shared),
            lambda: b.Where(loses(xs[1], xs[0]), 0.0, shared),
        )
    hits = [b.cast(b.Equal(x, c.y), x.dtype) for x in xs]
    share = c.dy / b.Sum(*hits)
    return tuple(share * hit for hit in hits)


@vjp("Where", broadcasts=True)
def where(c: Vjp, condition: V, x: V, y: V) -> Result:
    """da = dy where the condition holds, else 0; db the other way round."""
    return (
        None,
        lambda: c.b.Where(condition, c.dy, 0.0),
        lambda: c.b.Where(condition, 0.0, c.dy),
    )


@vjp("Clip", broadcasts=True)
def clip(c: Vjp, x: V, low: V = None, high: V = None) -> Result:
    """dx = dy where low <= x <= high, dlow = sum of dy where x < low <= high.

    dhigh = sum of dy where x > high or low > high.
    """
    b = c.b

    def inside() -> V:
        masks = [] if low is None else [b.Less(x, low)]
        masks += [] if high is None else [b.Greater(x, high)]
        return b.Where(_any(b, *masks), 0.0, c.dy) if masks else c.dy

    def lower() -> V:
        below = b.Less(x, low)
        if high is not None:
            below = b.And(below, b.LessOrEqual(low, high))
        return b.Where(below, c.dy, 0.0)

    def upper() -> V:
        above = b.Greater(x, high)
        if low is not None:
            above = b.Or(above, b.Greater(low, high))
        return b.Where(above, c.dy, 0.0)

    return inside, lower, upper


def _any(b: Builder, first: V, *rest: V) -> V:
    for mask in rest:
        first = b.Or(first, mask)
    return first
