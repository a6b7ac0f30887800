"""Gradients of pooling."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Vjp, vjp
from toolkit.autodiff.rules._common import count, dims_vector, named_like, rank_of, reshape_like
from toolkit.graph.build import Builder

V = Any  # An ir.Value under `arithmetic`.


@vjp("MaxPool")
def max_pool(c: Vjp, x: V) -> V:
    """dx = dy added to each window's first maximum: toolkit.grad.MaxPoolGrad."""
    attributes = {k: v for k, v in c.attributes.items() if k != "storage_order"}
    return c.grad("MaxPoolGrad", x, c.dy, **attributes)


@vjp("AveragePool")
def average_pool(c: Vjp, x: V) -> V:
    """dx = dy / n added to each window's elements: toolkit.grad.AveragePoolGrad."""
    return named_like(c.grad("AveragePoolGrad", c.dy, c.b.shape(x), **c.attributes), x)


@vjp("GlobalAveragePool")
def global_average_pool(c: Vjp, x: V) -> V:
    """dx = dy / n, repeated over the space."""
    return named_like(c.b.Expand(c.dy / count(c.b, x, c.y, x.dtype), c.b.shape(x)), x)


@vjp("GlobalMaxPool")
def global_max_pool(c: Vjp, x: V) -> V:
    """dx = dy at the first maximum of the space, zeros elsewhere."""
    b = c.b
    flat = b.Reshape(x, [0, 0, -1])
    best = b.ArgMax(flat, axis=2, keepdims=1)
    length = b.Squeeze(b.dim(flat, 2), [0])
    here = b.Equal(b.Range(b.const(0), length, b.const(1)), best)
    return reshape_like(b, b.Where(here, b.Reshape(c.dy, [0, 0, 1]), 0.0), x)


def _power_slope(b: Builder, x: V, p: int) -> V:
    """The derivative of |x|^p / p: sign(x) |x|^(p-1)."""
    if p == 1:
        return b.Sign(x)
    return x if p == 2 else b.Sign(x) * b.Pow(b.Abs(x), float(p - 1))


def _norm_slope(b: Builder, dy: V, y: V, p: int) -> V:
    """dy y^(1-p), zero where y = 0."""
    if p == 1:
        return dy
    zero = b.Equal(y, 0.0)
    safe = b.Where(zero, 1.0, y)
    return b.Where(zero, 0.0, dy / (safe if p == 2 else b.Pow(safe, float(p - 1))))


@vjp("GlobalLpPool")
def global_lp_pool(c: Vjp, x: V) -> V:
    """dx = dy y^(1-p) sign(x) |x|^(p-1)."""
    p = c.attr("p")
    return _norm_slope(c.b, c.dy, c.y, p) * _power_slope(c.b, x, p)


@vjp("LpPool")
def lp_pool(c: Vjp, x: V) -> V:
    """dx = sign(x) |x|^(p-1) times dy y^(1-p) added up over the windows that hold x.

    Adding up over windows is the transpose of a convolution with ones, channel by channel.
    """
    b, p, space = c.b, c.attr("p"), rank_of(c, x) - 2
    kernel = c.attr("kernel_shape")
    strides = c.attr("strides", (1,) * space)
    names = ("auto_pad", "dilations", "strides")
    attributes = {k: v for k, v in c.attributes.items() if k in names}
    pads = list(c.attr("pads", (0,) * (2 * space)))
    if c.attr("ceil_mode"):
        pads = [n + (strides[i - space] - 1 if i >= space else 0) for i, n in enumerate(pads)]
    if c.attr("auto_pad") in (None, "NOTSET"):
        attributes["pads"] = ir.AttrInt64s("pads", pads)
    ones = b.full(b.ints([1, 1, *kernel]), 1, x.dtype)
    slope = _norm_slope(b, c.dy, c.y, p)
    tall = b.Reshape(slope, dims_vector(b, [-1, 1, *(b.dim(c.y, 2 + i) for i in range(space))]))
    target = dims_vector(
        b, [b.dim(x, 0) * b.dim(x, 1), 1, *(b.dim(x, 2 + i) for i in range(space))]
    )
    spread = c.grad("ConvGradInput", tall, ones, target, **attributes)
    return reshape_like(b, spread, x) * _power_slope(b, x, p)
