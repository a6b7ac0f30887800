"""Bodies of normalization gradients and of training-mode batch normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


def channelwise(b: Builder, v: V, rank: int) -> V:
    """A vector of one number a channel, shaped to meet (N, C, d1, …)."""
    return b.Unsqueeze(v, list(range(1, rank - 1))) if rank > 2 else v


def standardize(b: Builder, x: V, axes: Sequence[int], epsilon: float) -> tuple[V, V]:
    """(h, r): h = (x - mean) r with r = 1 / sqrt(variance + epsilon), statistics over `axes`."""
    centered = x - b.ReduceMean(x, axes)
    r = b.Reciprocal(b.Sqrt(b.ReduceMean(centered * centered, axes) + epsilon))
    return centered * r, r


def standardize_grad(b: Builder, g: V, h: V, r: V, axes: Sequence[int]) -> V:
    """The transpose of `standardize` at h, r: r (g - mean(g) - h mean(g h))."""
    return (g - b.ReduceMean(g, axes) - h * b.ReduceMean(g * h, axes)) * r


@composite("toolkit.grad", "LayerNormalizationGrad", "x scale dy", "dx dscale dbias")
def layer_normalization_grad(b: Builder, a: Attributes, x: V, scale: V, dy: V) -> tuple[V, V, V]:
    """dx = r (g - mean(g) - h mean(g h)) with g = dy scale; dscale, dbias: sums of dy h and dy."""
    rank = len(x.shape)
    axis = a.get("axis", -1) % rank
    axes, others = list(range(axis, rank)), list(range(axis))
    h, r = standardize(b, x, axes, a.get("epsilon", 1e-5))
    dx = standardize_grad(b, dy * scale, h, r, axes)
    if not others:
        return dx, dy * h, dy
    return dx, b.ReduceSum(dy * h, others, keepdims=0), b.ReduceSum(dy, others, keepdims=0)


@composite("toolkit.grad", "BatchNormalizationGrad", "x scale dy", "dx dscale dbias")
def batch_normalization_grad(b: Builder, a: Attributes, x: V, scale: V, dy: V) -> tuple[V, V, V]:
    """dx = r scale (dy - mean(dy) - h mean(dy h)); dscale, dbias: sums of dy h and dy."""
    rank = len(x.shape)
    axes = [0, *range(2, rank)]
    h, r = standardize(b, x, axes, a.get("epsilon", 1e-5))
    dx = standardize_grad(b, dy, h, r * channelwise(b, scale, rank), axes)
    return dx, b.ReduceSum(dy * h, axes, keepdims=0), b.ReduceSum(dy, axes, keepdims=0)


@composite(
    "toolkit.nn",
    "BatchNormTraining",
    "x scale bias running_mean running_var",
    "y new_mean new_var",
)
def batch_norm_training(
    b: Builder, a: Attributes, x: V, scale: V, bias: V, running_mean: V, running_var: V
) -> tuple[V, V, V]:
    """y = (x - mean) r scale + bias with the batch's statistics, which move the running ones.

    new_mean = (1 - momentum) running_mean + momentum mean, new_var alike with the unbiased
    variance.
    """
    rank = len(x.shape)
    axes = [0, *range(2, rank)]
    momentum = a.get("momentum", 0.1)
    mean = b.ReduceMean(x, axes)
    centered = x - mean
    var = b.ReduceMean(centered * centered, axes)
    r = b.Reciprocal(b.Sqrt(var + a.get("epsilon", 1e-5)))
    y = centered * (r * channelwise(b, scale, rank)) + channelwise(b, bias, rank)
    n = b.Div(b.Size(x), b.Size(mean))
    unbiased = b.cast(n, x.dtype) / b.cast(b.Max(n - 1, 1), x.dtype)
    new_mean = running_mean * (1.0 - momentum) + _vector(b, mean, running_mean) * momentum
    new_var = running_var * (1.0 - momentum) + _vector(b, var * unbiased, running_var) * momentum
    return y, new_mean, new_var


def _vector(b: Builder, v: V, like: V) -> V:
    return b.cast(b.Reshape(v, [-1]), like.dtype)
