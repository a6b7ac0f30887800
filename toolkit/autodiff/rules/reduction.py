"""Gradients of reductions: the cotangent spreads back over the axes that were reduced."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.autodiff.registry import Vjp, vjp
from toolkit.autodiff.rules._common import constant_ints, count, named_like, rank_of
from toolkit.graph.build import Builder, static_dims

V = Any  # An ir.Value under `arithmetic`.

_ONE = ir.tensor(np.array([1], np.int64))


def _is_identity(c: Vjp) -> bool:
    """Whether the node reduces nothing, by noop_with_empty_axes."""
    return bool(c.attr("noop_with_empty_axes")) and _axes(c) == []


def _axes(c: Vjp) -> list[int] | None:
    """The axes as given, [] for none; None where they are known only at run time."""
    axes = c.input(1)
    if axes is None or static_dims(axes) == (0,):
        return []
    return constant_ints(axes)


def _again(c: Vjp, op_type: str, v: V) -> V:
    """Another reduction of `v` over the node's axes, which are kept as ones."""
    noop = c.attr("noop_with_empty_axes")
    return c.b.call(
        "", op_type, [v, c.input(1)], {"keepdims": 1, "noop_with_empty_axes": noop or None}
    )


def _kept(c: Vjp, v: V) -> V:
    """An array of the output's shape with the reduced axes put back as ones."""
    b, x = c.b, c.inputs[0]
    assert x is not None
    if c.attr("keepdims") or _is_identity(c):
        return v
    axes = _axes(c)
    if axes:
        return b.Unsqueeze(v, axes)
    if axes == []:
        if x.shape is not None:
            return b.Reshape(v, [1] * rank_of(c, x))
        return b.Reshape(v, b.ConstantOfShape(b.Shape(b.Shape(x)), value=_ONE))
    return b.Reshape(v, _kept_shape(c, b, x), allowzero=1)


def _kept_shape(c: Vjp, b: Builder, x: V) -> V:
    """The shape of `x` with ones at axes that are known only at run time."""
    shape, axes = b.shape(x), c.inputs[1]
    size = b.Shape(axes)
    ones = b.ConstantOfShape(size, value=_ONE)
    some = b.ScatterElements(shape, axes, ones, axis=0)
    if c.attr("noop_with_empty_axes"):
        return some
    return b.Where(b.Equal(size, 0), b.const([1]), some)


def _spread(c: Vjp, v: V) -> V:
    """An array of the output's shape repeated over the reduced axes to the shape of x."""
    x = c.inputs[0]
    assert x is not None
    if _is_identity(c):
        return v
    return named_like(c.b.Expand(_kept(c, v), c.b.shape(x)), x)


@vjp("ReduceSum")
def reduce_sum(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy, repeated."""
    return _spread(c, c.dy)


@vjp("ReduceMean")
def reduce_mean(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy / n, repeated."""
    return _spread(c, c.dy if _is_identity(c) else c.dy / count(c.b, x, c.y, x.dtype))


@vjp("ReduceMax", "ReduceMin")
def reduce_extremum(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy [x = y] / #{x = y}: elements that tie share, as torch.amax's do."""
    b = c.b
    if _is_identity(c):
        return c.dy
    hit = b.cast(b.Equal(x, _kept(c, c.y)), x.dtype)
    hits = _again(c, "ReduceSum", hit)
    return hit * (_kept(c, c.dy) / hits)


@vjp("ReduceProd")
def reduce_prod(c: Vjp, x: V, axes: V = None) -> V:
    """dx_i = dy prod of the others.

    p_i / x_i with zeros left out of the product; zero where another element is zero.
    """
    b = c.b
    if _is_identity(c):
        return c.dy
    zero = b.Equal(x, 0.0)
    rest = b.Where(zero, 1.0, x)
    product = _again(c, "ReduceProd", rest)
    zeros = b.cast(zero, x.dtype)
    others = _again(c, "ReduceSum", zeros) - zeros
    return b.Where(b.Greater(others, 0.0), 0.0, _kept(c, c.dy) * product / rest)


@vjp("ReduceL1")
def reduce_l1(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy sign(x)."""
    return _kept(c, c.dy) * c.b.Sign(x)


@vjp("ReduceL2")
def reduce_l2(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy x / y, zero where y = 0."""
    if _is_identity(c):
        return c.dy * c.b.Sign(x)
    b, y = c.b, _kept(c, c.y)
    zero = b.Equal(y, 0.0)
    return x * b.Where(zero, 0.0, _kept(c, c.dy) / b.Where(zero, 1.0, y))


@vjp("ReduceLogSum")
def reduce_log_sum(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy / sum(x) = dy e^-y, repeated."""
    return _spread(c, c.dy * c.b.Exp(-c.y))


@vjp("ReduceLogSumExp")
def reduce_log_sum_exp(c: Vjp, x: V, axes: V = None) -> V:
    """dx = dy e^(x - y); an infinite y is taken as 0."""
    b = c.b
    y = _kept(c, b.Where(b.IsInf(c.y), 0.0, c.y))
    return _kept(c, c.dy) * b.Exp(x - y)


@vjp("ReduceSumSquare")
def reduce_sum_square(c: Vjp, x: V, axes: V = None) -> V:
    """dx = 2 x dy."""
    return _kept(c, c.dy * 2.0) * x


@vjp("CumSum")
def cumsum(c: Vjp, x: V, axis: V) -> V:
    """dx = cumulative sum of dy from the other end."""
    return c.b.CumSum(
        c.dy, axis, exclusive=c.attr("exclusive"), reverse=0 if c.attr("reverse") else 1
    )


@vjp("CumProd")
def cumprod(c: Vjp, x: V, axis: V) -> V:
    """dx_i = sum over j of dy_j times the product of y_j's other factors.

    Before the first zero: S(dy y) / x, S the cumulative sum from the other end. At the first zero:
    S(dy y') with y' the products when that zero is left out. After it: 0.
    """
    b, way = c.b, {"exclusive": c.attr("exclusive"), "reverse": c.attr("reverse")}
    zero = b.Equal(x, 0.0)
    zeros = b.CumSum(b.cast(zero, x.dtype), axis, reverse=way["reverse"])
    first = b.And(zero, b.Equal(zeros, 1.0))
    back = {**way, "reverse": 0 if way["reverse"] else 1}
    before = b.CumSum(c.dy * c.y, axis, **back) / b.Where(zero, 1.0, x)
    without = b.CumProd(b.Where(first, 1.0, x), axis, **way)
    at = b.CumSum(c.dy * without, axis, **back)
    return b.Where(first, at, b.Where(b.Equal(zeros, 0.0), before, 0.0))


@vjp("CumMax", "CumMin", domain="toolkit.nn")
def cum_extreme(c: Vjp, x: V) -> V:
    """dx = sum of dy at the places that the extremes came from."""
    b = c.b
    zeros = b.Expand(b.const(0.0, x.dtype), b.Shape(x))
    axis = c.attr("axis", -1)
    return b.ScatterElements(zeros, c.outputs[1], c.dy, axis=axis, reduction="add")


@vjp("CumLogSumExp", domain="toolkit.nn")
def cum_log_sum_exp(c: Vjp, x: V) -> V:
    """dx_i = e^x_i times the sum over j >= i of dy_j e^-y_j, positive and negative dy in logs."""
    b, axis = c.b, c.attr("axis", -1)
    way = 0 if c.attr("reverse", 0) else 1

    def part(dy: V) -> V:
        log = b.Log(b.Max(dy, 0.0)) - c.y
        total = b.call("toolkit.nn", "CumLogSumExp", [log], {"axis": axis, "reverse": way})
        return b.Exp(total + x)

    return part(c.dy) - part(-c.dy)
