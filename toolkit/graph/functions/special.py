"""Bodies of elementary functions that ONNX lacks: precise forms, sign and magnitude, logarithms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.scan import loop

V = Any  # An ir.Value under `arithmetic`.
SPECIAL = "toolkit.special"
INF, NAN = math.inf, math.nan


def polynomial(x: V, coefficients: tuple[float, ...]) -> V:
    """Horner's rule, the highest power first."""
    total = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total


def negative(b: Builder, x: V) -> V:
    """Whether the sign is minus, also of zero."""
    return b.Or(b.Less(x, 0.0), b.And(b.Equal(x, 0.0), b.Less(b.Reciprocal(x), 0.0)))


def same_sign(b: Builder, size: V, x: V) -> V:
    """A magnitude with the sign of x."""
    return b.Where(negative(b, x), -size, size)


@composite(SPECIAL, "Log1p", "x", "y")
def log1p(b: Builder, a: Attributes, x: V) -> V:
    """log(1 + x), near 0 by 2 atanh(x / (2 + x))."""
    small = b.Less(b.Abs(x), 0.5)
    near, far = b.Where(small, x, 0.0), b.Where(small, 0.0, x)
    return b.Where(small, b.Atanh(near / (near + 2.0)) * 2.0, b.Log(far + 1.0))


@composite(SPECIAL, "Expm1", "x", "y")
def expm1(b: Builder, a: Attributes, x: V) -> V:
    """exp(x) - 1, near 0 by tanh(x / 2) (exp(x) + 1)."""
    small = b.Less(b.Abs(x), 1.0)
    near, far = b.Where(small, x, 0.0), b.Where(small, 0.0, x)
    return b.Where(small, b.Tanh(near * 0.5) * (b.Exp(near) + 1.0), b.Exp(far) - 1.0)


@composite(SPECIAL, "Exp2", "x", "y")
def exp2(b: Builder, a: Attributes, x: V) -> V:
    """2^x."""
    return b.Pow(b.const(2.0, x.dtype), x)


@composite(SPECIAL, "Log2", "x", "y")
def log2(b: Builder, a: Attributes, x: V) -> V:
    """ln(x) / ln 2."""
    return b.Log(x) * (1 / math.log(2))


@composite(SPECIAL, "Log10", "x", "y")
def log10(b: Builder, a: Attributes, x: V) -> V:
    """ln(x) / ln 10."""
    return b.Log(x) * (1 / math.log(10))


@composite(SPECIAL, "Trunc", "x", "y")
def trunc(b: Builder, a: Attributes, x: V) -> V:
    """The integer part."""
    return b.Sign(x) * b.Floor(b.Abs(x))


@composite(SPECIAL, "Copysign", "x sign", "y")
def copysign(b: Builder, a: Attributes, x: V, sign: V) -> V:
    """|x| with the sign of the other; the sign of a NaN counts as plus."""
    return same_sign(b, b.Abs(x), sign)


@composite(SPECIAL, "Hypot", "x y", "z")
def hypot(b: Builder, a: Attributes, x: V, y: V) -> V:
    """m sqrt(1 + r^2), m the larger and r m the smaller magnitude."""
    x, y = b.Abs(x), b.Abs(y)
    large = b.Max(x, y)
    ratio = b.Min(x, y) / b.Where(b.Equal(large, 0.0), 1.0, large)
    plain = large * b.Sqrt(ratio * ratio + 1.0)
    return b.Where(b.Or(b.IsInf(x), b.IsInf(y)), INF, plain)


@composite(SPECIAL, "Atan2", "y x", "angle")
def atan2(b: Builder, a: Attributes, y: V, x: V) -> V:
    """The angle of the point (x, y): atan |y / x| in its quadrant."""
    up, out = b.Abs(y), b.Abs(x)
    both = b.And(b.IsInf(up), b.IsInf(out))
    ratio = b.Where(both, 1.0, up / b.Where(b.Equal(up, 0.0), 1.0, out))
    angle = b.Atan(ratio)
    angle = b.Where(negative(b, x), math.pi - angle, angle)
    nan = b.Or(b.IsNaN(x), b.IsNaN(y))
    return b.Where(nan, NAN, same_sign(b, angle, y))


@composite(SPECIAL, "Nextafter", "x towards", "y")
def nextafter(b: Builder, a: Attributes, x: V, towards: V) -> V:
    """x one step of its type further: 2^(e - p), half of it down from a power of two."""
    info = np.finfo(x.dtype.numpy())
    size = b.Abs(x)
    safe = b.Where(b.Equal(size, 0.0), 1.0, b.Where(b.IsInf(size), 1.0, size))
    two = b.const(2.0, x.dtype)
    e = b.Floor(b.Log(safe) * (1 / math.log(2)))
    power = b.Pow(two, e)
    e = b.Where(b.Greater(power, safe), e - 1.0, e)
    e = b.Where(b.LessOrEqual(power * 2.0, safe), e + 1.0, e)
    e = b.Max(e, float(info.minexp))
    grows = b.Equal(b.Greater(towards, x), b.Greater(x, 0.0))
    halves = b.And(b.Not(grows), b.Equal(b.Pow(two, e), safe))
    lowest = b.Equal(e, float(info.minexp))
    step = b.Pow(two, b.Where(b.And(halves, b.Not(lowest)), e - 1.0, e) - float(info.nmant))
    moved = b.Where(grows, size + step, size - step)
    moved = b.Where(
        b.IsInf(size), b.Where(grows, b.const(INF, x.dtype), b.const(info.max, x.dtype)), moved
    )
    moved = same_sign(b, moved, x)
    first = same_sign(b, b.Pow(two, b.const(float(info.minexp - info.nmant), x.dtype)), towards)
    moved = b.Where(b.Equal(x, 0.0), first, moved)
    stays = b.Or(b.Equal(x, towards), b.Or(b.IsNaN(x), b.IsNaN(towards)))
    return b.Where(stays, b.Where(b.Equal(x, towards), towards, x + towards), moved)


@composite(SPECIAL, "Sinc", "x", "y")
def sinc(b: Builder, a: Attributes, x: V) -> V:
    """sin(pi x) / (pi x), 1 at 0."""
    zero = b.Equal(x, 0.0)
    angle = b.Where(zero, 1.0, x) * math.pi
    return b.Where(zero, 1.0, b.Sin(angle) / angle)


@composite(SPECIAL, "Xlogy", "x y", "z")
def xlogy(b: Builder, a: Attributes, x: V, y: V) -> V:
    """x ln y, 0 where x is 0, NaN where y is NaN."""
    return _times_log(b, x, y, b.Log(y))


@composite(SPECIAL, "Xlog1py", "x y", "z")
def xlog1py(b: Builder, a: Attributes, x: V, y: V) -> V:
    """x ln(1 + y), 0 where x is 0, NaN where y is NaN."""
    return _times_log(b, x, y, log1p(b, {}, y))


def _times_log(b: Builder, x: V, y: V, log: V) -> V:
    return b.Where(b.IsNaN(y), NAN, b.Where(b.Equal(x, 0.0), 0.0, x * log))


@composite(SPECIAL, "Entr", "x", "y")
def entr(b: Builder, a: Attributes, x: V) -> V:
    """-x ln x, 0 at 0, -inf below."""
    plain = -x * b.Log(x)
    return b.Where(b.Equal(x, 0.0), 0.0, b.Where(b.Less(x, 0.0), -INF, plain))


@composite(SPECIAL, "LogAddExp", "x y", "z")
def log_add_exp(b: Builder, a: Attributes, x: V, y: V) -> V:
    """ln(e^x + e^y) = max + ln(1 + e^-|x - y|)."""
    tail = log1p(b, {}, b.Exp(-b.Abs(x - y)))
    return _largest(b, x, y, tail)


@composite(SPECIAL, "LogAddExp2", "x y", "z")
def log_add_exp2(b: Builder, a: Attributes, x: V, y: V) -> V:
    """log2(2^x + 2^y)."""
    power = b.Pow(b.const(2.0, x.dtype), -b.Abs(x - y))
    return _largest(b, x, y, log1p(b, {}, power) * (1 / math.log(2)))


def _largest(b: Builder, x: V, y: V, tail: V) -> V:
    """The larger plus a tail; equal infinities stay."""
    return b.Where(b.And(b.IsInf(x), b.Equal(x, y)), x, b.Max(x, y) + tail)


@composite(SPECIAL, "Gcd", "x y", "z")
def gcd(b: Builder, a: Attributes, x: V, y: V) -> V:
    """Euclid's algorithm on int64, as long as a rest is left anywhere."""
    kind = x.dtype
    x, y = (b.Abs(b.cast(v, ir.DataType.INT64)) for v in (x, y))
    zero = b.Mul(b.Add(x, y), 0)
    x, y = b.Add(x, zero), b.Add(y, zero)  # Both in the common shape.

    def step(inner: Builder, i: V, states: list[V]) -> tuple[V, list[V]]:
        m, n = states
        done = inner.Equal(n, 0)
        rest = inner.Mod(m, inner.Where(done, 1, n))
        rest = inner.Where(done, 0, rest)
        some = inner.ReduceMax(inner.Cast(inner.Not(inner.Equal(rest, 0)), to=6), keepdims=0)
        return inner.Cast(some, to=9), [inner.Where(done, m, n), rest]

    return b.cast(loop(b, [x, y], 96, step)[0], kind)
