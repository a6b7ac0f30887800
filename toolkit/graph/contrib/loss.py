"""Cross-entropies and their gradients, which read the logarithms of the probabilities."""

from __future__ import annotations

from typing import Any

from toolkit.graph.build import constant_of
from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("SoftmaxCrossEntropyLossInternal")
def softmax_cross_entropy_loss_internal(
    c: Call, scores: V, labels: V, weights: V = None, ignore_index: V = None
) -> tuple[V, V]:
    """SoftmaxCrossEntropyLoss, whose ignore_index is an input."""
    how = {"reduction": c.attr("reduction", "mean"), "ignore_index": _ignored(c, ignore_index)}
    loss, log_prob = c.b.call("", "SoftmaxCrossEntropyLoss", [scores, labels, weights], how, 2)
    output = c.attr("output_type", None)
    return (loss, log_prob) if output is None else (c.b.cast(loss, output), log_prob)


@contrib("SoftmaxCrossEntropyLossGrad", "SoftmaxCrossEntropyLossInternalGrad")
def softmax_cross_entropy_loss_grad(
    c: Call,
    dy: V,
    log_prob: V,
    labels: V,
    weights: V = None,
    ignore_index: V = None,
    more: V = None,
) -> V:
    """toolkit.grad.SoftmaxCrossEntropyLossGrad: softmax(log softmax(x)) = softmax(x).

    The internal operator also takes a tensor to add.
    """
    index = c.attr("ignore_index", None) if ignore_index is None else _ignored(c, ignore_index)
    how = {"reduction": c.attr("reduction", "mean"), "ignore_index": index}
    how = {name: value for name, value in how.items() if value is not None}
    dx = c.grad("SoftmaxCrossEntropyLossGrad", log_prob, labels, dy, weights, **how)
    output = c.attr("output_type", None)
    dx = dx if output is None else c.b.cast(dx, output)
    return dx if more is None else dx + c.b.Reshape(more, c.b.shape(dx), allowzero=1)


def _ignored(c: Call, value: V) -> int | None:
    if value is None:
        return None
    found = constant_of(value)
    if found is None:
        raise c.fail("a constant ignore_index is required", f"'{value.name}'")
    return int(found.reshape(-1)[0])


@contrib("SparseSoftmaxCrossEntropy")
def sparse_softmax_cross_entropy(c: Call, scores: V, labels: V, weights: V = None) -> tuple[V, V]:
    """Classes on the last axis, a weight for each label; a mean is over the sum of weights."""
    b = c.b
    log_prob = b.LogSoftmax(scores, axis=-1)
    picked = b.GatherElements(log_prob, b.Unsqueeze(labels, [-1]), axis=-1)
    losses = -b.Squeeze(picked, [-1])
    if weights is not None:
        losses = losses * weights
    loss = b.ReduceSum(losses, keepdims=0)
    if c.attr("reduction", "mean") == "mean":
        loss = loss / _count(c, losses, weights)
    return loss, log_prob


@contrib("SparseSoftmaxCrossEntropyGrad")
def sparse_softmax_cross_entropy_grad(
    c: Call, dy: V, log_prob: V, labels: V, weights: V = None
) -> V:
    """(softmax(x) - onehot(label)) w dy, over the sum of w for a mean."""
    b, depth = c.b, c.b.Squeeze(c.b.dim(log_prob, -1), [0])
    off = b.const([0, 1], log_prob.dtype)
    slope = b.Exp(log_prob) - b.OneHot(labels, depth, off, axis=-1)
    factor = dy
    if c.attr("reduction", "mean") == "mean":
        factor = factor / _count(c, log_prob, weights, labels)
    if weights is not None:
        factor = b.Unsqueeze(weights, [-1]) * factor
    return slope * factor


def _count(c: Call, like: V, weights: V, labels: V = None) -> V:
    if weights is not None:
        return c.b.ReduceSum(weights, keepdims=0)
    return c.b.cast(c.b.Size(like if labels is None else labels), like.dtype)
