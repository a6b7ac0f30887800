"""Bodies of the Bessel and Airy functions: polynomials near 0, amplitude and phase beyond.

The polynomials (`special_tables`) interpolate at Chebyshev's points; 1e-15 of the largest value.
"""

from __future__ import annotations

import math
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions import special_tables as tables
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.special import INF, NAN, SPECIAL, polynomial

V = Any  # An ir.Value under `arithmetic`.


def _scaled_i(b: Builder, size: V, order: int) -> V:
    """exp(-x) I(x) for x >= 0: in x up to 8, beyond in 1 / x over the root."""
    near_table = (tables.I0_NEAR, tables.I1_NEAR)[order]
    far_table = (tables.I0_FAR, tables.I1_FAR)[order]
    low, high = b.Min(size, 8.0), b.Max(size, 8.0)
    near = polynomial(low * 0.25 - 1.0, near_table)
    near = near * low if order else near
    far = polynomial(16.0 / high - 1.0, far_table) * b.Reciprocal(b.Sqrt(high))
    return b.Where(b.IsNaN(size), NAN, b.Where(b.Greater(size, 8.0), far, near))


@composite(SPECIAL, "I0e", "x", "y")
def i0e(b: Builder, a: Attributes, x: V) -> V:
    """exp(-|x|) I0(x)."""
    return _scaled_i(b, b.Abs(x), 0)


@composite(SPECIAL, "I1e", "x", "y")
def i1e(b: Builder, a: Attributes, x: V) -> V:
    """exp(-|x|) I1(x), an odd function."""
    value = _scaled_i(b, b.Abs(x), 1)
    return b.Where(b.Less(x, 0.0), -value, value)


@composite(SPECIAL, "I0", "x", "y")
def i0(b: Builder, a: Attributes, x: V) -> V:
    """The modified Bessel function of the first kind, order 0."""
    return b.Exp(b.Abs(x)) * i0e(b, {}, x)


@composite(SPECIAL, "I1", "x", "y")
def i1(b: Builder, a: Attributes, x: V) -> V:
    """The modified Bessel function of the first kind, order 1."""
    return b.Exp(b.Abs(x)) * i1e(b, {}, x)


def _scaled_k(b: Builder, x: V, order: int) -> V:
    """exp(x) K(x): up to 2 by the logarithm times I and a polynomial in x^2, beyond in 1 / x."""
    near_table = (tables.K0_NEAR, tables.K1_NEAR)[order]
    far_table = (tables.K0_FAR, tables.K1_FAR)[order]
    low, high = b.Max(b.Min(x, 2.0), 0.0), b.Max(x, 2.0)
    rest = polynomial(low * low * 0.5 - 1.0, near_table)
    modified = _scaled_i(b, low, order) * b.Exp(low)
    safe = b.Where(b.Greater(low, 0.0), low, 1.0)
    log = b.Log(safe * 0.5) * modified
    near = (rest / safe + log if order else rest - log) * b.Exp(low)
    far = polynomial(4.0 / high - 1.0, far_table) * b.Reciprocal(b.Sqrt(high))
    return _right(b, x, b.Where(b.Greater(x, 2.0), far, near), INF)


def _right(b: Builder, x: V, value: V, pole: float) -> V:
    """A function of positive numbers: its pole at 0, NaN below."""
    value = b.Where(b.Equal(x, 0.0), pole, value)
    return b.Where(b.Or(b.Less(x, 0.0), b.IsNaN(x)), NAN, value)


@composite(SPECIAL, "K0e", "x", "y")
def k0e(b: Builder, a: Attributes, x: V) -> V:
    """exp(x) K0(x)."""
    return _scaled_k(b, x, 0)


@composite(SPECIAL, "K1e", "x", "y")
def k1e(b: Builder, a: Attributes, x: V) -> V:
    """exp(x) K1(x)."""
    return _scaled_k(b, x, 1)


@composite(SPECIAL, "K0", "x", "y")
def k0(b: Builder, a: Attributes, x: V) -> V:
    """The modified Bessel function of the second kind, order 0."""
    return b.Exp(-x) * k0e(b, {}, x)


@composite(SPECIAL, "K1", "x", "y")
def k1(b: Builder, a: Attributes, x: V) -> V:
    """The modified Bessel function of the second kind, order 1."""
    return b.Exp(-x) * k1e(b, {}, x)


def _near(b: Builder, x: V, table: tuple[float, ...]) -> V:
    """A polynomial in x^2 on [0, 8]."""
    return polynomial(x * x * (1 / 32) - 1.0, table)


def _waves(b: Builder, x: V, order: int) -> tuple[V, V]:
    """J and Y for x >= 8: sqrt(2 / (pi x)) times P cos - Q sin and P sin + Q cos of the phase."""
    inverse = b.Reciprocal(x)
    t = inverse * inverse * 128.0 - 1.0
    p = polynomial(t, (tables.P0_FAR, tables.P1_FAR)[order])
    q = polynomial(t, (tables.Q0_FAR, tables.Q1_FAR)[order]) * inverse
    # cos and sin of x - (2 n + 1) pi / 4 by those of x, as the difference would round.
    cos, sin = b.Cos(x), b.Sin(x)
    root = b.Sqrt(inverse * (1 / math.pi))
    c, s = (cos + sin, sin - cos) if order == 0 else (sin - cos, -sin - cos)
    return root * (p * c - q * s), root * (p * s + q * c)


def _first_kind(b: Builder, x: V, order: int) -> V:
    size = b.Abs(x)
    low, high = b.Min(size, 8.0), b.Max(size, 8.0)
    near = _near(b, low, (tables.J0_NEAR, tables.J1_NEAR)[order])
    near = near * low if order else near
    value = b.Where(b.Greater(size, 8.0), _waves(b, b.Min(high, 1e30), order)[0], near)
    value = b.Where(b.IsInf(size), 0.0, b.Where(b.IsNaN(x), NAN, value))
    return b.Where(b.Less(x, 0.0), -value, value) if order else value


@composite(SPECIAL, "BesselJ0", "x", "y")
def bessel_j0(b: Builder, a: Attributes, x: V) -> V:
    """The Bessel function of the first kind, order 0."""
    return _first_kind(b, x, 0)


@composite(SPECIAL, "BesselJ1", "x", "y")
def bessel_j1(b: Builder, a: Attributes, x: V) -> V:
    """The Bessel function of the first kind, order 1."""
    return _first_kind(b, x, 1)


def _second_kind(b: Builder, x: V, order: int) -> V:
    low, high = b.Max(b.Min(x, 8.0), 0.0), b.Max(x, 8.0)
    low = b.Where(b.Greater(low, 0.0), low, 1.0)
    j = _near(b, low, (tables.J0_NEAR, tables.J1_NEAR)[order])
    near = _near(b, low, (tables.Y0_NEAR, tables.Y1_NEAR)[order])
    log = b.Log(low) * j * (2 / math.pi)
    near = (near + log) * low - (2 / math.pi) * b.Reciprocal(low) if order else near + log
    value = b.Where(b.Greater(x, 8.0), _waves(b, b.Min(high, 1e30), order)[1], near)
    return _right(b, x, b.Where(b.IsInf(x), 0.0, value), -INF)


@composite(SPECIAL, "BesselY0", "x", "y")
def bessel_y0(b: Builder, a: Attributes, x: V) -> V:
    """The Bessel function of the second kind, order 0."""
    return _second_kind(b, x, 0)


@composite(SPECIAL, "BesselY1", "x", "y")
def bessel_y1(b: Builder, a: Attributes, x: V) -> V:
    """The Bessel function of the second kind, order 1."""
    return _second_kind(b, x, 1)


@composite(SPECIAL, "AiryAi", "x", "y")
def airy_ai(b: Builder, a: Attributes, x: V) -> V:
    """The Airy function: a polynomial on [-5, 2], exponential above, a wave below."""
    middle = polynomial((b.Max(b.Min(x, 2.0), -5.0) + 5.0) * (2 / 7) - 1.0, tables.AIRY_MIDDLE)
    up = b.Max(x, 2.0)
    root = b.Sqrt(up)
    z = up * root * (2 / 3)
    decay = polynomial(b.Reciprocal(z) * (1 / 0.275) - 1.0, tables.AIRY_UP)
    decay = decay * b.Exp(-z) / (b.Sqrt(root) * (2 * math.sqrt(math.pi)))
    down = b.Max(-x, 5.0)
    root = b.Sqrt(down)
    z = down * root * (2 / 3)
    inverse = b.Reciprocal(z)
    t = inverse * inverse * 100.0 - 1.0
    p, q = polynomial(t, tables.AIRY_P), polynomial(t, tables.AIRY_Q) * inverse
    cos, sin = b.Cos(z), b.Sin(z)
    wave = (p * (cos + sin) + q * (sin - cos)) / (b.Sqrt(root) * math.sqrt(2 * math.pi))
    value = b.Where(b.Greater(x, 2.0), decay, b.Where(b.Less(x, -5.0), wave, middle))
    return b.Where(b.IsInf(x), 0.0, b.Where(b.IsNaN(x), NAN, value))
