"""Gradients of the special functions (`toolkit.special`)."""

from __future__ import annotations

import math
from typing import Any

from toolkit.autodiff.registry import Result, Vjp, derivative, not_differentiable, vjp
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder
from toolkit.graph.functions.special import SPECIAL

V = Any  # An ir.Value under `arithmetic`.
_SQRT_PI = math.sqrt(math.pi)


def special(b: Builder, name: str, *inputs: V) -> V:
    """A call of a special function."""
    return b.call(SPECIAL, name, inputs)


def _sinc(b: Builder, x: V, y: V) -> V:
    """(cos(pi x) - y) / x, 0 at 0."""
    zero = b.Equal(x, 0.0)
    safe = b.Where(zero, 1.0, x)
    return b.Where(zero, 0.0, (b.Cos(x * math.pi) - y) / safe)


derivative("Log1p", SPECIAL)(lambda b, x, y: b.Reciprocal(x + 1.0))
derivative("Expm1", SPECIAL)(lambda b, x, y: y + 1.0)
derivative("Exp2", SPECIAL)(lambda b, x, y: y * math.log(2))
derivative("Log2", SPECIAL)(lambda b, x, y: b.Reciprocal(x * math.log(2)))
derivative("Log10", SPECIAL)(lambda b, x, y: b.Reciprocal(x * math.log(10)))
derivative("Erfc", SPECIAL)(lambda b, x, y: b.Exp(-(x * x)) * (-2 / _SQRT_PI))
derivative("Erfcx", SPECIAL)(lambda b, x, y: x * y * 2.0 - 2 / _SQRT_PI)
derivative("ErfInv", SPECIAL)(lambda b, x, y: b.Exp(y * y) * (_SQRT_PI / 2))
derivative("Ndtri", SPECIAL)(lambda b, x, y: b.Exp(y * y * 0.5) * math.sqrt(2 * math.pi))
derivative("LogNdtr", SPECIAL)(
    lambda b, x, y: math.sqrt(2 / math.pi) / special(b, "Erfcx", x * -math.sqrt(0.5))
)
derivative("Lgamma", SPECIAL)(lambda b, x, y: special(b, "Digamma", x))
derivative("Entr", SPECIAL)(lambda b, x, y: -(b.Log(x) + 1.0))
derivative("Sinc", SPECIAL)(_sinc)

not_differentiable("Trunc", domain=SPECIAL, reason="Piecewise constant: zero wherever it exists.")
not_differentiable("Nextafter", domain=SPECIAL, reason="Acts on bits.")


@derivative("Digamma", SPECIAL)
def digamma(b: Builder, x: V, y: V) -> V:
    """The trigamma function: zeta(2, x); below 1/2 by pi^2 / sin^2(pi x) - zeta(2, 1 - x)."""
    low = b.Less(x, 0.5)
    value = special(b, "Zeta", b.const(2.0, x.dtype), b.Where(low, 1.0 - x, x))
    sine = b.Sin(x * math.pi)
    return b.Where(low, math.pi**2 / (sine * sine) - value, value)


@vjp("Zeta", domain=SPECIAL, broadcasts=True)
def zeta(c: Vjp, s: V, q: V) -> Result:
    """dq = -dy s zeta(s + 1, q); none in s, as in torch."""
    return None, lambda: -c.dy * s * special(c.b, "Zeta", s + 1.0, q)


def _incomplete(c: Vjp, a: V, x: V, sign: float) -> Result:
    b = c.b

    def first() -> V:
        raise UnsupportedOperatorError(
            f"{c.node.op_type}: a gradient in x only is defined, got one asked for in a."
        )

    def second() -> V:
        log = (a - 1.0) * b.Log(x) - x - special(b, "Lgamma", a)
        return c.dy * (b.Exp(log) * sign)

    return first, second


@vjp("Igamma", domain=SPECIAL, broadcasts=True)
def igamma(c: Vjp, a: V, x: V) -> Result:
    """dx = dy x^(a-1) e^-x / gamma(a); in a it is refused, as by torch."""
    return _incomplete(c, a, x, 1.0)


@vjp("Igammac", domain=SPECIAL, broadcasts=True)
def igammac(c: Vjp, a: V, x: V) -> Result:
    """dx = -dy x^(a-1) e^-x / gamma(a); in a it is refused, as by torch."""
    return _incomplete(c, a, x, -1.0)


@vjp("Atan2", domain=SPECIAL, broadcasts=True)
def atan2(c: Vjp, y: V, x: V) -> Result:
    """d angle = (x dy - y dx) / (x^2 + y^2), 0 at the origin."""
    square = x * x + y * y
    factor = c.dy / c.b.Where(c.b.Equal(square, 0.0), 1.0, square)
    return lambda: factor * x, lambda: -(factor * y)


@vjp("Hypot", domain=SPECIAL, broadcasts=True)
def hypot(c: Vjp, x: V, y: V) -> Result:
    """dx = dz x / z, dy = dz y / z."""
    return lambda: c.dy * (x / c.y), lambda: c.dy * (y / c.y)


@vjp("Copysign", domain=SPECIAL, broadcasts=True)
def copysign(c: Vjp, x: V, sign: V) -> Result:
    """dx = dy, turned where the sign was, 0 at 0; none in the sign."""
    zero = c.b.Equal(x, 0.0)
    ratio = c.b.Where(zero, 0.0, c.y / c.b.Where(zero, 1.0, x))
    return lambda: c.dy * ratio, None


@vjp("Xlogy", domain=SPECIAL, broadcasts=True)
def xlogy(c: Vjp, x: V, y: V) -> Result:
    """dx = dz ln y, 0 where x = 0 and y <= 0; dy = dz x / y."""
    b = c.b

    def left() -> V:
        flat = b.And(b.Equal(x, 0.0), b.LessOrEqual(y, 0.0))
        return b.Where(flat, 0.0, c.dy * b.Log(b.Where(flat, 1.0, y)))

    return left, lambda: c.dy * x / y


@vjp("Xlog1py", domain=SPECIAL, broadcasts=True)
def xlog1py(c: Vjp, x: V, y: V) -> Result:
    """dx = dz ln(1 + y), 0 where x = 0 and y <= -1; dy = dz x / (1 + y)."""
    b = c.b

    def left() -> V:
        flat = b.And(b.Equal(x, 0.0), b.LessOrEqual(y, -1.0))
        return b.Where(flat, 0.0, c.dy * special(b, "Log1p", b.Where(flat, 0.0, y)))

    return left, lambda: c.dy * x / (y + 1.0)


@vjp("LogAddExp", domain=SPECIAL, broadcasts=True)
def log_add_exp(c: Vjp, x: V, y: V) -> Result:
    """dx = dz sigmoid(x - y), dy = dz sigmoid(y - x)."""
    return lambda: c.dy * c.b.Sigmoid(x - y), lambda: c.dy * c.b.Sigmoid(y - x)


@vjp("LogAddExp2", domain=SPECIAL, broadcasts=True)
def log_add_exp2(c: Vjp, x: V, y: V) -> Result:
    """As of LogAddExp, of the arguments times ln 2."""
    slope = (x - y) * math.log(2)
    return lambda: c.dy * c.b.Sigmoid(slope), lambda: c.dy * c.b.Sigmoid(-slope)


def _quotient(b: Builder, y: V, x: V, at_zero: float) -> V:
    """y / x, and its limit at 0."""
    zero = b.Equal(x, 0.0)
    return b.Where(zero, at_zero, y / b.Where(zero, 1.0, x))


derivative("I0", SPECIAL)(lambda b, x, y: special(b, "I1", x))
derivative("I1", SPECIAL)(lambda b, x, y: special(b, "I0", x) - _quotient(b, y, x, 0.5))
derivative("I0e", SPECIAL)(lambda b, x, y: special(b, "I1e", x) - b.Sign(x) * y)
derivative("I1e", SPECIAL)(
    lambda b, x, y: special(b, "I0e", x) - b.Sign(x) * y - _quotient(b, y, x, 0.5)
)
derivative("K0", SPECIAL)(lambda b, x, y: -special(b, "K1", x))
derivative("K1", SPECIAL)(lambda b, x, y: -special(b, "K0", x) - y / x)
derivative("K0e", SPECIAL)(lambda b, x, y: y - special(b, "K1e", x))
derivative("K1e", SPECIAL)(lambda b, x, y: y - special(b, "K0e", x) - y / x)
derivative("BesselJ0", SPECIAL)(lambda b, x, y: -special(b, "BesselJ1", x))
derivative("BesselJ1", SPECIAL)(lambda b, x, y: special(b, "BesselJ0", x) - _quotient(b, y, x, 0.5))
derivative("BesselY0", SPECIAL)(lambda b, x, y: -special(b, "BesselY1", x))
derivative("BesselY1", SPECIAL)(lambda b, x, y: special(b, "BesselY0", x) - y / x)
