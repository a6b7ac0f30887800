"""Batching of normalizations."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching

V = Any  # An ir.Value under `arithmetic`.


@batching("LayerNormalization", "RMSNormalization")
def layer_norm(c: Batch) -> Any:
    """Shared scale and bias; others are the body's."""
    if not c.only(0):
        return NotImplemented
    axis = c.attr("axis", -1)
    made = c.emit(*(c.value(i) for i in range(len(c.operands))), axis=c.axis(axis))
    return made if len(c.node.outputs) > 1 else (made,)


@batching("InstanceNormalization", "GroupNormalization")
def instance_norm(c: Batch) -> V:
    """Shared scale and bias: more images."""
    if not c.only(0):
        return NotImplemented
    return c.unfold(c.emit(c.fold(0), c.value(1), c.value(2)))


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
    rest = [
        None if v.name == "" else c.b.Reshape(v, c.vector(c.count, -1)) for v in results[1:]
    ]
    return first, *rest


@batching("BatchNormalizationGrad", domain="toolkit.grad")
def batch_norm_grad(c: Batch) -> Any:
    """As BatchNormTraining."""
    scale = c.b.Reshape(c.full(1), [-1])
    made = c.emit(c.fold_channels(0), scale, c.fold_channels(2))
    results = list(made) if len(c.node.outputs) > 1 else [made]
    first = None if results[0].name == "" else c.unfold_channels(results[0], c.rank(0))
    rest = [
        None if v.name == "" else c.b.Reshape(v, c.vector(c.count, -1)) for v in results[1:]
    ]
    return first, *rest
