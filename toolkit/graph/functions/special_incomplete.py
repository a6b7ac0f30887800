"""Bodies of the incomplete gamma functions: a series and a continued fraction, each in a Loop."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.scan import loop
from toolkit.graph.functions.special import NAN, SPECIAL
from toolkit.graph.functions.special_gamma import lgamma

V = Any  # An ir.Value under `arithmetic`.
_ROUNDS = 4000  # The series takes some sqrt(a) terms where x is about a.
_EPS = 1e-16


def _series(b: Builder, a: V, x: V) -> V:
    """The sum of x^k / ((a + 1) … (a + k))."""
    one = x * 0.0 + 1.0

    def step(inner: Builder, k: V, states: list[V]) -> tuple[V, list[V]]:
        term, total, n = states
        n = n + 1.0
        term = term * x / n
        total = total + term
        open_ = inner.Greater(inner.Abs(term), inner.Abs(total) * _EPS)
        return _any(inner, open_), [term, total, n]

    return loop(b, [one, one, a + x * 0.0], _ROUNDS, step)[1]


def _fraction(b: Builder, a: V, x: V) -> V:
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - …)) by Lentz' algorithm."""
    first = x + 1.0 - a
    zero = x * 0.0
    inverse = b.Reciprocal(first)

    def step(inner: Builder, k: V, states: list[V]) -> tuple[V, list[V]]:
        c, d, h, base = states
        n = inner.Cast(k, to=int(ir.DataType.DOUBLE)) + 1.0
        an = (a - n) * n
        base = base + 2.0
        d = inner.Reciprocal(_apart(inner, an * d + base))
        c = _apart(inner, base + an / c)
        factor = c * d
        return _any(inner, inner.Greater(inner.Abs(factor - 1.0), 3e-16)), [c, d, h * factor, base]

    return loop(b, [zero + 1e300, inverse, inverse, first], _ROUNDS, step)[2]


def _apart(b: Builder, x: V) -> V:
    """x, or a tiny number in the place of 0."""
    return b.Where(b.Less(b.Abs(x), 1e-300), 1e-300, x)


def _any(b: Builder, x: V) -> V:
    # A number behind them: some runtimes reduce nothing to nothing.
    flat = b.Reshape(b.Cast(x, to=int(ir.DataType.INT32)), [-1])
    most = b.ReduceMax(b.Concat(flat, b.Cast(b.ints([0]), to=6), axis=0), keepdims=0)
    return b.Cast(most, to=int(ir.DataType.BOOL))


def _incomplete(b: Builder, a: V, x: V, upper: bool) -> V:
    kind = x.dtype
    a, x = (b.cast(v, ir.DataType.DOUBLE) for v in (a, x))
    zero = b.Where(b.IsNaN(a + x), 0.0, 0.0 * (b.Max(b.Min(a, 1.0), 0.0) + b.Min(x, 1.0)))
    plain = b.And(b.Greater(a, 0.0), b.Greater(x, 0.0))
    plain = b.And(plain, b.Not(b.Or(b.IsInf(a), b.IsInf(x))))
    p, y = b.Where(plain, a, zero + 1.0), b.Where(plain, x, zero + 1.0)
    below = b.Less(y, p + 1.0)
    scale = b.Exp(p * b.Log(y) - y - lgamma(b, {}, p))
    lower = scale / p * _series(b, p, b.Where(below, y, zero))
    rest = scale * _fraction(b, b.Where(below, zero + 1.0, p), b.Where(below, zero + 2.0, y))
    value = b.Where(below, 1.0 - lower, rest) if upper else b.Where(below, lower, 1.0 - rest)
    full = b.Or(b.IsInf(x), b.Equal(a, 0.0))  # All of the mass lies below x.
    none = b.Or(b.Equal(x, 0.0), b.IsInf(a))
    low, high = (1.0, 0.0) if upper else (0.0, 1.0)
    value = b.Where(full, high, value)
    value = b.Where(none, low, value)
    bad = b.Or(b.Or(b.Less(a, 0.0), b.Less(x, 0.0)), b.And(b.Equal(a, 0.0), b.Equal(x, 0.0)))
    bad = b.Or(bad, b.And(b.IsInf(a), b.IsInf(x)))
    return b.cast(b.Where(b.Or(bad, b.IsNaN(a + x)), NAN, value), kind)


@composite(SPECIAL, "Igamma", "a x", "y")
def igamma(b: Builder, attributes: Attributes, a: V, x: V) -> V:
    """The regularised lower incomplete gamma function."""
    return _incomplete(b, a, x, False)


@composite(SPECIAL, "Igammac", "a x", "y")
def igammac(b: Builder, attributes: Attributes, a: V, x: V) -> V:
    """The regularised upper incomplete gamma function."""
    return _incomplete(b, a, x, True)
