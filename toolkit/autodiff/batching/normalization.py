"""Batching of normalizations."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching

V = Any  # An ir.Value under `arithmetic`.


@batching("LayerNormalization", "RMSNormalization")
def layer_norm(c: Batch) -> Any:
    """Shared scale and bias as they are; those of each example after a scale of ones."""
    b, rank = c.b, c.rank(0)
    axis = c.attr("axis", -1) % rank
    if c.only(0):
        made = c.emit(*(c.value(i) for i in range(len(c.operands))), axis=axis + 1)
        return made if len(c.node.outputs) > 1 else (made,)
    x = c.full(0)
    ones = b.full(b.Shape(x, start=axis + 1), 1.0, x.dtype)
    made = c.emit(x, ones, axis=axis + 1)
    results = list(made) if len(c.node.outputs) > 1 else [made]
    y = results[0] * c.aligned(1, rank)
    if c.operand(2) is not None:
        y = y + c.aligned(2, rank)
    return y, *results[1:]


@batching("InstanceNormalization", "GroupNormalization")
def instance_norm(c: Batch) -> V:
    """More images; scale and bias of each example after a scale of ones."""
    b, rank = c.b, c.rank(0)
    if c.only(0):
        return c.unfold(c.emit(c.fold(0), c.value(1), c.value(2)))
    x = c.fold(0)
    channels = b.Shape(x, start=1, end=2)
    y = c.unfold(c.emit(x, b.full(channels, 1.0, x.dtype), b.full(channels, 0.0, x.dtype)))
    return y * _channelwise(c, 1, rank) + _channelwise(c, 2, rank)


def _channelwise(c: Batch, i: int, rank: int) -> V:
    """A vector of one number a channel, to meet (B, N, C, ...)."""
    behind = list(range(-(rank - 2), 0))
    if not c.batched(i):
        return c.b.Unsqueeze(c.value(i), behind) if behind else c.value(i)
    return c.b.Unsqueeze(c.value(i), [1, *behind])


@batching("BatchNormalization")
def batch_norm(c: Batch) -> Any:
    """With given statistics: more images. Else, or with statistics of each: more channels."""
    training = c.attr("training_mode")
    if not training and c.only(0):
        return c.unfold(c.emit(c.fold(0), *(c.value(i) for i in range(1, 5))))
    return _by_channels(c, 5)


@batching("BatchNormTraining", domain="toolkit.nn")
def batch_norm_training(c: Batch) -> Any:
    """The statistics of each example are those of channels of its own."""
    return _by_channels(c, 5)


def _by_channels(c: Batch, inputs: int) -> Any:
    """(N, B C, ...) with vectors of B C numbers."""
    vectors = [c.b.Reshape(c.full(i), [-1]) for i in range(1, inputs)]
    made = c.emit(c.fold_channels(0), *vectors)
    results = list(made) if len(c.node.outputs) > 1 else [made]
    first = c.unfold_channels(results[0], c.rank(0))
    rest = [None if v.name == "" else c.b.Reshape(v, c.vector(c.count, -1)) for v in results[1:]]
    return first, *rest


@batching("BatchNormalizationGrad", domain="toolkit.grad")
def batch_norm_grad(c: Batch) -> Any:
    """As BatchNormTraining."""
    scale = c.b.Reshape(c.full(1), [-1])
    made = c.emit(c.fold_channels(0), scale, c.fold_channels(2))
    results = list(made) if len(c.node.outputs) > 1 else [made]
    first = None if results[0].name == "" else c.unfold_channels(results[0], c.rank(0))
    rest = [None if v.name == "" else c.b.Reshape(v, c.vector(c.count, -1)) for v in results[1:]]
    return first, *rest
