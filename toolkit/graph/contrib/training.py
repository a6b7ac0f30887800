"""Dropout, quantization-aware training, and what holds a training graph of onnxruntime together."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("DropoutGrad", "BitmaskDropoutGrad")
def dropout_grad(c: Call, dy: V, mask: V, ratio: V = None, training: V = None) -> V:
    """dy / (1 - ratio) where the mask is, dy itself outside of training."""
    b = c.b
    kept = 0.5 if ratio is None else 1.0 - b.cast(ratio, dy.dtype)
    dx = b.Where(mask, dy / kept, 0.0)
    return dx if training is None else b.Where(training, dx, dy)


@contrib("BitmaskDropout")
def bitmask_dropout(c: Call, x: V, ratio: V = None, training: V = None) -> tuple[V, ...]:
    """Dropout. The mask, which only the gradient reads, is one of booleans here."""
    return tuple(c.b.Dropout(x, ratio, training, _outputs=2, **c.taken("seed")))


@contrib("BiasDropout")
def bias_dropout(
    c: Call, x: V, bias: V, residual: V = None, ratio: V = None, training: V = None
) -> tuple[V, ...]:
    """Dropout(x + bias) + residual."""
    y, mask = c.b.Dropout(x + bias, ratio, training, _outputs=2, **c.taken("seed"))
    return (y if residual is None else y + residual), mask


@contrib("FakeQuant")
def fake_quant(c: Call, x: V, scale: V, zero_point: V) -> tuple[V, V]:
    """x on the grid of a quantization, and where it lies inside of it."""
    b = c.b
    low, high = float(c.attr("quant_min", 0)), float(c.attr("quant_max", 255))
    level = b.Round(x / scale) + zero_point
    inside = b.And(b.GreaterOrEqual(level, low), b.LessOrEqual(level, high))
    limits = (b.const(v, x.dtype) for v in (low, high))
    return (b.Clip(level, *limits) - zero_point) * scale, inside


@contrib("FakeQuantGrad")
def fake_quant_grad(c: Call, dy: V, inside: V) -> V:
    """dy inside of the grid, else 0."""
    return c.b.Where(inside, dy, 0.0)


@contrib("InPlaceAccumulator")
def in_place_accumulator(c: Call, total: V, value: V, update: V = None) -> V:
    """total + value, total itself where nothing is to be added."""
    new = total + c.b.cast(value, total.dtype)
    return new if update is None else c.b.Where(update, new, total)


@contrib("ZeroGradient")
def zero_gradient(c: Call, old: V, reset: V) -> V:
    """Zeros in the shape of the gradient."""
    return c.b.zeros(c.b.shape(old), old.dtype)


@contrib("PassThrough")
def pass_through(c: Call, *inputs: V) -> tuple[V, ...]:
    """The inputs."""
    return inputs[: len(c.node.outputs)]


@contrib("Group")
def group(c: Call, *inputs: V) -> V:
    """True, once the inputs are there."""
    return c.b.const(np.array([True]))


@contrib("IsFinite")
def is_finite(c: Call, x: V) -> V:
    """Neither infinite nor NaN."""
    return c.b.Not(c.b.Or(c.b.IsInf(x), c.b.IsNaN(x)))


@contrib("IsAllFinite")
def is_all_finite(c: Call, *inputs: V) -> V:
    """Whether no element of all the inputs is infinite or NaN."""
    b = c.b
    found = []
    for x in inputs:
        wrong = b.Or(b.IsInf(x), b.IsNaN(x))
        if c.attr("isinf_only", 0):
            wrong = b.IsInf(x)
        elif c.attr("isnan_only", 0):
            wrong = b.IsNaN(x)
        found.append(b.ReduceSum(b.cast(wrong, ir.DataType.INT64), keepdims=0))
    return b.Equal(b.Sum(*(b.cast(v, ir.DataType.DOUBLE) for v in found)), 0.0)


@contrib("MixedPrecisionScale")
def mixed_precision_scale(c: Call, scale: V, *inputs: V) -> tuple[V, ...]:
    """Each input times the scale, as another type; one vector of all with fuse_outputs."""
    b, to = c.b, c.attr("to", 1)
    scaled = [b.cast(b.cast(x, scale.dtype) * scale, to) for x in inputs]
    if c.attr("fuse_outputs", 0):
        return (b.Concat(*(b.Reshape(x, [-1]) for x in scaled), axis=0),)
    return tuple(scaled)
