"""Normalizations as onnxruntime trains them: they give their statistics to their gradients."""

from __future__ import annotations

from typing import Any

from toolkit.graph.contrib.registry import Call, contrib
from toolkit.graph.functions.normalization import channelwise

V = Any  # An ir.Value under `arithmetic`.


@contrib("BatchNormInternal")
def batch_norm_internal(
    c: Call, x: V, scale: V, bias: V, running_mean: V, running_var: V
) -> tuple[V, ...]:
    """BatchNormalization; besides the batch's mean and 1 / sqrt(variance + epsilon)."""
    b, rank = c.b, c.rank(x)
    operands, how = [x, scale, bias, running_mean, running_var], c.taken("epsilon", "momentum")
    if not c.attr("training_mode", 0):
        y = b.BatchNormalization(*operands, **how)
        return y, running_mean, running_var, running_mean, _inverse(c, running_var)
    results = b.BatchNormalization(*operands, training_mode=1, _outputs=3, **how)
    axes = [0, *range(2, rank)]
    mean = b.ReduceMean(x, axes, keepdims=0)
    centered = x - channelwise(b, mean, rank)
    return *results, mean, _inverse(c, b.ReduceMean(centered * centered, axes, keepdims=0))


def _inverse(c: Call, variance: V) -> V:
    return c.b.Reciprocal(c.b.Sqrt(variance + c.attr("epsilon", 1e-5)))


@contrib("BatchNormalizationGrad")
def batch_normalization_grad(c: Call, dy: V, x: V, scale: V, mean: V, inverse: V) -> tuple[V, ...]:
    """toolkit.grad.BatchNormalizationGrad, which takes the statistics of x itself."""
    epsilon = c.attr("epsilon", 1e-5)
    return tuple(c.grad("BatchNormalizationGrad", x, scale, dy, outputs=3, epsilon=epsilon))


@contrib("LayerNormalization")
def layer_normalization(c: Call, x: V, scale: V, bias: V = None) -> tuple[V, ...]:
    """Before opset 17 the operator is onnxruntime's own."""
    attributes = c.taken("axis", "epsilon", "stash_type")
    outputs = max(len(c.node.outputs), 1)
    results = c.b.LayerNormalization(x, scale, bias, _outputs=outputs, **attributes)
    return tuple(results) if outputs > 1 else (results,)


@contrib("LayerNormalizationGrad")
def layer_normalization_grad(c: Call, dy: V, x: V, scale: V, mean: V, inverse: V) -> tuple[V, ...]:
    """toolkit.grad.LayerNormalizationGrad, which takes the statistics of x itself."""
    attributes = {"axis": c.attr("axis", -1), "epsilon": c.attr("epsilon", 1e-5)}
    return tuple(c.grad("LayerNormalizationGrad", x, scale, dy, outputs=3, **attributes))


@contrib("InvertibleLayerNormalizationGrad")
def invertible_layer_normalization_grad(
    c: Call, dy: V, y: V, scale: V, bias: V, inverse: V
) -> tuple[V, ...]:
    """As LayerNormalizationGrad, with h = (y - bias) / scale."""
    return (*_grads(c, dy, (y - bias) / scale, scale, inverse, centered=True),)


@contrib("SimplifiedLayerNormalization")
def simplified_layer_normalization(c: Call, x: V, scale: V) -> tuple[V, ...]:
    """x / sqrt(mean(x^2) + epsilon) scale, and the factor of x."""
    b, rank = c.b, c.rank(x)
    axes = list(range(c.attr("axis", -1) % rank, rank))
    y = b.RMSNormalization(x, scale, **c.taken("axis", "epsilon", "stash_type"))
    return y, _inverse(c, b.ReduceMean(x * x, axes))


@contrib("SimplifiedLayerNormalizationGrad")
def simplified_layer_normalization_grad(
    c: Call, dy: V, x: V, scale: V, inverse: V
) -> tuple[V, ...]:
    """dx = r (g - h mean(g h)) with g = dy scale, h = x r; dscale = sum of dy h."""
    return (*_grads(c, dy, x * inverse, scale, inverse, centered=False)[:2],)


def _grads(c: Call, dy: V, h: V, scale: V, r: V, centered: bool) -> tuple[V, V, V]:
    """(dx, dscale, dbias) from the standardized h and its factor r."""
    b, rank = c.b, c.rank(h)
    axis = c.attr("axis", -1) % rank
    axes, others = list(range(axis, rank)), list(range(axis))
    g = dy * scale
    less = h * b.ReduceMean(g * h, axes)
    dx = (g - (less + b.ReduceMean(g, axes) if centered else less)) * r
    if not others:
        return dx, dy * h, dy
    return dx, b.ReduceSum(dy * h, others, keepdims=0), b.ReduceSum(dy, others, keepdims=0)
