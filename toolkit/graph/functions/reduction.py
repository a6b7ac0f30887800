"""Bodies of gradients that sum: un-broadcasting, softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder, constant_of, static_dims
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


@composite("toolkit.grad", "SumToShape", "dy shape", "dx")
def sum_to_shape(b: Builder, a: Attributes, dy: V, shape: V) -> V:
    """The sum of dy over the axes along which `shape` was broadcast to it."""
    rank = None if dy.shape is None else len(dy.shape)
    length = static_dims(shape)
    if rank is not None and length is not None:
        lead = rank - length[0]
        if lead:
            dy = b.ReduceSum(dy, list(range(lead)), keepdims=0)
        return _sum_ones(b, dy, shape)
    lead = b.Shape(b.Shape(dy)) - b.Shape(shape)
    ones = b.ConstantOfShape(lead, value=ir.tensor(np.array([1], np.int64)))
    summed = _sum_ones(b, dy, b.Concat(ones, shape, axis=0))
    return b.Reshape(summed, shape, allowzero=1)


def _sum_ones(b: Builder, dy: V, shape: V) -> V:
    """The sum over the axes where `shape`, as long as the rank of dy, has a one."""
    known = constant_of(shape)
    if known is not None:
        ones = [i for i, n in enumerate(known.tolist()) if n == 1]
        return b.ReduceSum(dy, ones, keepdims=1) if ones else dy
    axes = b.Reshape(b.NonZero(b.Equal(shape, 1)), [-1])
    return b.ReduceSum(dy, axes, keepdims=1, noop_with_empty_axes=1)


@composite("toolkit.grad", "SoftmaxGrad", "y dy", "dx")
def softmax_grad(b: Builder, a: Attributes, y: V, dy: V) -> V:
    """y (dy - sum(y dy)) along axis."""
    return y * (dy - b.ReduceSum(y * dy, [a.get("axis", -1)]))


@composite("toolkit.grad", "LogSoftmaxGrad", "y dy", "dx")
def log_softmax_grad(b: Builder, a: Attributes, y: V, dy: V) -> V:
    """dy - e^y sum(dy) along axis."""
    return dy - b.Exp(y) * b.ReduceSum(dy, [a.get("axis", -1)])
