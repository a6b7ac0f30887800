"""Gradients of reductions: the cotangent spreads back over the axes that were reduced."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.autodiff.registry import Vjp, vjp
from toolkit.autodiff.rules._common import constant_ints, count, named_like, rank_of
from toolkit.graph.build import Builder

V = Any  # An ir.Value under `arithmetic`.

_ONE = ir.tensor(np.array([1], np.int64))


def _is_identity(c: Vjp) -> bool:
    """Whether the node reduces nothing, by noop_with_empty_axes."""
    axes = constant_ints(c.input(1))
    return bool(c.attr("noop_with_empty_axes")) and (c.input(1) is None or axes == [])


def _kept(c: Vjp, v: V) -> V:
    """An array of the output's shape with the reduced axes put back as ones."""
    b, x = c.b, c.inputs[0]
    assert x is not None
    if c.attr("keepdims") or _is_identity(c):
        return v
    axes = constant_ints(c.input(1))
    if axes:
        return b.Unsqueeze(v, axes)
    if c.input(1) is None or axes == []:
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
    hits = b.ReduceSum(hit, axes, keepdims=1)
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
    product = b.ReduceProd(rest, axes, keepdims=1)
    zeros = b.cast(zero, x.dtype)
    others = b.ReduceSum(zeros, axes, keepdims=1) - zeros
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
