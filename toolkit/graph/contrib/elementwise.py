"""Scaled sums, Div's gradient, and the un-broadcasting of gradients by shapes at run time."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import known_dims
from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("Scale")
def scale(c: Call, x: V, factor: V) -> V:
    """x factor, or x / factor with scale_down; the factor may be of another type."""
    factor = c.b.cast(factor, x.dtype)
    return x / factor if c.attr("scale_down", 0) else x * factor


@contrib("BatchScale")
def batch_scale(c: Call, x: V) -> tuple[V, ...]:
    """x times each of scale_0, scale_1, scale_2."""
    return tuple(x * c.attr(f"scale_{i}", 1.0) for i in range(len(c.node.outputs)))


@contrib("ScaledSum")
def scaled_sum(c: Call, *inputs: V) -> V:
    """The sum of the inputs times scale_0, scale_1, scale_2."""
    total = inputs[0] * c.attr("scale_0", 1.0)
    for i, x in enumerate(inputs[1:], 1):
        total = total + x * c.attr(f"scale_{i}", 1.0)
    return total


@contrib("DivGrad")
def div_grad(c: Call, dy: V, x: V, divisor: V) -> tuple[V, ...]:
    """(dy / b, -dy a / b^2), each summed to its operand's shape."""
    return (
        _summed(c, dy / divisor, x) if c.wants(0) else None,
        _summed(c, -dy * x / (divisor * divisor), divisor) if c.wants(1) else None,
    )


def _summed(c: Call, dy: V, like: V) -> V:
    dims = known_dims(like)
    if dims is not None and dims == known_dims(dy) and all(d is not None for d in dims):
        return dy
    return c.grad("SumToShape", dy, c.b.shape(like))


@contrib("BroadcastGradientArgs")
def broadcast_gradient_args(c: Call, a: V, other: V) -> tuple[V, V]:
    """The axes along which each of two shapes was broadcast to the other's."""
    b = c.b
    rank = b.Max(b.Shape(a), b.Shape(other))
    wide, tall = (b.Concat(_ones(c, rank - b.Shape(s)), s, axis=0) for s in (a, other))
    differ = b.Not(b.Equal(wide, tall))
    return (
        b.Reshape(b.NonZero(b.And(differ, b.Equal(wide, 1))), [-1]),
        b.Reshape(b.NonZero(b.And(differ, b.Equal(tall, 1))), [-1]),
    )


def _ones(c: Call, count: V) -> V:
    return c.b.ConstantOfShape(count, value=ir.tensor(np.array([1], np.int64)))


@contrib("ReduceSumTraining")
def reduce_sum_training(c: Call, x: V, axes: V) -> V:
    """ReduceSum, whose axes were an attribute before opset 13."""
    how = c.taken("keepdims", "noop_with_empty_axes")
    return c.b.ReduceSum(x, axes, **how)


@contrib("ReduceAllL2")
def reduce_all_l2(c: Call, *inputs: V) -> V:
    """The norm of all inputs together."""
    b = c.b
    parts = [b.ReduceSumSquare(x, keepdims=0) for x in inputs]
    return b.Sqrt(b.Sum(*parts))
