"""Gradients of convolutions and pools."""

from __future__ import annotations

import re
from typing import Any

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.
_GRADIENT = re.compile(r"_grad(_\d+)?$")
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@contrib("ConvGrad")
def conv_grad(c: Call, dy: V, x: V, w: V) -> tuple[V, ...]:
    """toolkit.grad.ConvGradInput and ConvGradWeight; db sums dy."""
    b, how = c.b, c.taken(*_WINDOW)
    return (
        c.grad("ConvGradInput", dy, w, b.shape(x), **how) if c.wants(0) else None,
        c.grad("ConvGradWeight", x, dy, b.shape(w), **how) if c.wants(1) else None,
        _bias(c, dy) if c.wants(2) else None,
    )


@contrib("ConvTransposeGrad")
def conv_transpose_grad(c: Call, dy: V, x: V, w: V) -> tuple[V, ...]:
    """dx = Conv(dy, w), dw = toolkit.grad.ConvGradWeight(dy, x), db sums dy."""
    b = c.b
    if (
        c.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        or "output_shape" in c.node.attributes
    ):
        raise c.fail("pads as numbers are required", "auto_pad or output_shape")
    how = c.taken("dilations", "group", "kernel_shape", "pads", "strides")
    return (
        b.Conv(dy, w, **how) if c.wants(0) else None,
        c.grad("ConvGradWeight", dy, x, b.shape(w), **how) if c.wants(1) else None,
        _bias(c, dy) if c.wants(2) else None,
    )


def _bias(c: Call, dy: V) -> V:
    return c.b.ReduceSum(dy, [0, *range(2, c.rank(dy))], keepdims=0)


@contrib("MaxPoolGrad")
def max_pool_grad(c: Call, dy: V, places: V) -> V:
    """dy added at the places of the maxima, which MaxPool gave."""
    b, pool = c.b, places.producer()
    if pool is not None and pool.op_type == "MaxPool" and not c.attr("storage_order", 0):
        names = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
        return c.grad("MaxPoolGrad", pool.inputs[0], dy, **c.taken(*names))
    shape = b.shape(_input(c))
    zeros = b.zeros(b.ReduceProd(shape, keepdims=1), dy.dtype)
    flat = b.ScatterElements(
        zeros, b.Reshape(places, [-1]), b.Reshape(dy, [-1]), axis=0, reduction="add"
    )
    return b.Reshape(flat, shape, allowzero=1)


@contrib("AveragePoolGrad")
def average_pool_grad(c: Call, dy: V) -> V:
    """toolkit.grad.AveragePoolGrad."""
    names = (*_WINDOW, "ceil_mode", "count_include_pad")
    return c.grad("AveragePoolGrad", dy, c.b.shape(_input(c)), **c.taken(*names))


def _input(c: Call) -> V:
    """The pool's input, which only the name of its gradient says."""
    name = _GRADIENT.sub("", c.node.outputs[0].name or "")
    assert c.node.graph is not None
    for node in c.node.graph:
        for value in node.outputs:
            if value.name == name:
                return value
    raise c.fail("a gradient named after the pool's input is required", f"none of '{name}'")
