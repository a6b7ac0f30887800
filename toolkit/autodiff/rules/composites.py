"""Gradients of gradients: most of toolkit.grad is linear in each cotangent it takes.

Composites that are not here are differentiated through their bodies.
"""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import GRAD, Result, Vjp, vjp
from toolkit.autodiff.rules._common import named_like

V = Any  # An ir.Value under `arithmetic`.


@vjp("SumToShape", domain=GRAD)
def sum_to_shape(c: Vjp, x: V, shape: V) -> V:
    """dx = dy, repeated."""
    return named_like(c.b.Expand(c.dy, c.b.shape(x)), x)


@vjp("ConvGradInput", domain=GRAD)
def conv_grad_input(c: Vjp, g: V, w: V, shape: V) -> Result:
    """Conv's transpose in g: dg = Conv(dy, w); dw = ConvGradWeight(dy, g)."""
    return (
        lambda: named_like(c.b.call("", "Conv", [c.dy, w], c.attributes), g),
        lambda: named_like(c.grad("ConvGradWeight", c.dy, g, c.b.shape(w), **c.attributes), w),
    )


@vjp("ConvGradWeight", domain=GRAD)
def conv_grad_weight(c: Vjp, x: V, g: V, shape: V) -> Result:
    """dx = ConvGradInput(g, dy), dg = Conv(x, dy)."""
    return (
        lambda: named_like(c.grad("ConvGradInput", g, c.dy, c.b.shape(x), **c.attributes), x),
        lambda: named_like(c.b.call("", "Conv", [x, c.dy], c.attributes), g),
    )


@vjp("AveragePoolGrad", domain=GRAD)
def average_pool_grad(c: Vjp, g: V, shape: V) -> V:
    """dg = AveragePool(dy)."""
    return named_like(c.b.call("", "AveragePool", [c.dy], c.attributes), g)


@vjp("MaxPoolGrad", domain=GRAD)
def max_pool_grad(c: Vjp, x: V, g: V) -> Result:
    """dg = dy where the maxima are; dx = 0."""
    attributes = {k: v for k, v in c.attributes.items() if k != "storage_order"}
    _, where = c.b.call("", "MaxPool", [x], attributes, 2)
    return None, lambda: named_like(c.b.Gather(c.b.Reshape(c.dy, [-1]), where, axis=0), g)


@vjp("SoftmaxGrad", domain=GRAD)
def softmax_grad(c: Vjp, y: V, g: V) -> Result:
    """z = y (g - sum(y g)): dg = SoftmaxGrad(y, dz), dy = dz (g - sum(y g)) - g sum(y dz)."""
    b, axis, dz = c.b, [c.attr("axis", -1)], c.dy
    return (
        lambda: dz * (g - b.ReduceSum(y * g, axis)) - g * b.ReduceSum(y * dz, axis),
        lambda: c.grad("SoftmaxGrad", y, dz, **c.attributes),
    )


@vjp("LogSoftmaxGrad", domain=GRAD)
def log_softmax_grad(c: Vjp, y: V, g: V) -> Result:
    """z = g - e^y sum(g): dg = dz - sum(dz e^y), dy = -dz e^y sum(g)."""
    b, axis, dz = c.b, [c.attr("axis", -1)], c.dy
    weighted = dz * b.Exp(y)
    return (
        lambda: -(weighted * b.ReduceSum(g, axis)),
        lambda: dz - b.ReduceSum(weighted, axis),
    )


@vjp("GatherGrad", domain=GRAD)
def gather_grad(c: Vjp, g: V, indices: V, shape: V) -> V:
    """dg = Gather(dy)."""
    return named_like(c.b.Gather(c.dy, indices, axis=c.attr("axis", 0)), g)


@vjp("SliceGrad", domain=GRAD)
def slice_grad(c: Vjp, g: V, shape: V, starts: V, ends: V, axes: V = None, steps: V = None) -> V:
    """dg = Slice(dy)."""
    return named_like(c.b.Slice(c.dy, starts, ends, axes, steps), g)


@vjp("BatchNormTraining", domain="toolkit.nn", all_outputs=True)
def batch_norm_training(c: Vjp, x: V, scale: V, bias: V, mean: V, var: V) -> Result:
    """As BatchNormalization in training; cotangents of the statistics go through the body."""
    if c.dy is None or any(d is not None for d in c.cotangents[1:]):
        return NotImplemented  # type: ignore[no-any-return]
    return tuple(
        c.grad("BatchNormalizationGrad", x, scale, c.dy, outputs=3, epsilon=c.attr("epsilon", 1e-5))
    )


@vjp("CTCLoss", domain="toolkit.nn")
def ctc_loss(c: Vjp, log_probs: V, targets: V, input_lengths: V, target_lengths: V) -> V:
    """dlog_probs = -dloss P(class at each step), zero past each input's end: CTCLossGrad."""
    dx = c.grad("CTCLossGrad", c.dy, log_probs, targets, input_lengths, target_lengths,
                **c.attributes)  # fmt: skip
    return named_like(dx, log_probs)


@vjp("CTCLossGrad", domain="toolkit.grad")
def ctc_loss_grad(
    c: Vjp, dloss: V, log_probs: V, targets: V, input_lengths: V, target_lengths: V
) -> Result:
    """ddloss = sum of ddx times CTCLossGrad of cotangents of one; by log_probs through the body."""
    if c.need(1):
        return NotImplemented  # type: ignore[no-any-return]
    one = c.b.Expand(c.b.const(1.0, dloss.dtype), c.b.shape(dloss))
    each = c.grad("CTCLossGrad", one, log_probs, targets, input_lengths, target_lengths,
                  **c.attributes)  # fmt: skip
    return c.b.ReduceSum(c.dy * named_like(each, log_probs), [0, 2], keepdims=0)  # type: ignore[no-any-return]
