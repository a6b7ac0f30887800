"""Gradients of convolutions."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import constant_ints, dims_vector, named_like, rank_of

V = Any  # An ir.Value under `arithmetic`.


def _bias(c: Vjp, w: V) -> V:
    """db = dy summed over the batch and the space."""
    return c.b.ReduceSum(c.dy, [0, *range(2, rank_of(c, w))], keepdims=0)


@vjp("Conv")
def conv(c: Vjp, x: V, w: V, bias: V = None) -> Result:
    """dx = toolkit.grad.ConvGradInput(dy, w), dw = toolkit.grad.ConvGradWeight(x, dy), db = sum."""
    b, attributes = c.b, c.attributes
    return (
        lambda: named_like(c.grad("ConvGradInput", c.dy, w, b.shape(x), **attributes), x),
        lambda: named_like(c.grad("ConvGradWeight", x, c.dy, b.shape(w), **attributes), w),
        lambda: _bias(c, w),
    )


@vjp("ConvTranspose")
def conv_transpose(c: Vjp, x: V, w: V, bias: V = None) -> Result:
    """The transpose of Conv: dx = Conv(dy, w), dw = toolkit.grad.ConvGradWeight(dy, x), db = sum.

    Pads that follow from shapes unknown here are added to dy before.
    """
    b, rank = c.b, rank_of(c, w)
    names = ("dilations", "group", "kernel_shape", "strides")
    attributes = {k: v for k, v in c.attributes.items() if k in names}
    dy, pads = c.dy, _pads(c, x, w, rank - 2)
    if isinstance(pads, list):
        attributes["pads"] = ir.AttrInt64s("pads", pads)
    else:
        dy = b.Pad(dy, pads, None, list(range(2, rank)))

    def dx() -> V:
        result = b.call("", "Conv", [dy, w], attributes)
        strides = c.attr("strides", (1,) * (rank - 2))
        extra = c.attr("output_padding", (0,) * (rank - 2))
        if any(e >= s for e, s in zip(extra, strides, strict=True)):
            space = list(range(2, rank))
            result = b.Slice(result, [0] * len(space), b.Shape(x, start=2), space)
        return named_like(result, x)

    return (
        dx,
        lambda: named_like(c.grad("ConvGradWeight", dy, x, b.shape(w), **attributes), w),
        lambda: _bias(c, w),
    )


def _pads(c: Vjp, x: V, w: V, space: int) -> list[int] | V:
    """The node's pads, as numbers or, where they follow from shapes, as a vector to pad dy by."""
    auto, asked = c.attr("auto_pad"), c.attr("output_shape")
    if asked is None and auto == "VALID":
        return [0] * (2 * space)
    if asked is None and auto in (None, "NOTSET"):
        return list(c.attr("pads", (0,) * (2 * space)))
    b = c.b
    heads: list[V] = []
    tails: list[V] = []
    for i in range(space):
        stride = c.attr("strides", (1,) * space)[i]
        extra = c.attr("output_padding", (0,) * space)[i]
        reach = (b.dim(w, 2 + i) - 1) * c.attr("dilations", (1,) * space)[i] + 1
        n = b.dim(x, 2 + i)
        out = b.ints([asked[i]]) if asked is not None else n * stride
        total = b.Max((n - 1) * stride + (reach + extra) - out, 0)
        half = total / 2
        small, large = half, total - half
        heads.append(small if auto == "SAME_UPPER" else large)
        tails.append(large if auto == "SAME_UPPER" else small)
    vector = dims_vector(b, heads + tails)
    return constant_ints(vector) or vector
