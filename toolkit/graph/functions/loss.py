"""Bodies of the gradients of losses over classes."""

from __future__ import annotations

from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


def _class_weights(b: Builder, like: V, labels: V, weights: V, ignore_index: int | None) -> V:
    """The weight of each label, zero where it is ignored; None if every one is 1."""
    if ignore_index is None:
        return None if weights is None else b.Gather(weights, labels, axis=0)
    kept = b.Not(b.Equal(labels, ignore_index))
    if weights is None:
        return b.cast(kept, like.dtype)
    safe = b.Where(kept, labels, 0)
    return b.Where(kept, b.Gather(weights, safe, axis=0), 0.0)


def _per_label(
    b: Builder, like: V, labels: V, dloss: V, weights: V, ignore_index: int | None, reduction: str
) -> V:
    """d loss / d (negative log likelihood of each label), with an axis for the classes."""
    weight = _class_weights(b, like, labels, weights, ignore_index)
    if weight is None:
        factor = dloss
        if reduction == "mean":
            factor = dloss / b.Cast(b.Size(labels), to=int(like.dtype))
        if reduction != "none":
            return factor
    else:
        factor = weight * dloss
        if reduction == "mean":
            total = b.ReduceSum(weight, keepdims=0)
            factor = weight * (dloss / b.Where(b.Equal(total, 0.0), 1.0, total))
    return b.Unsqueeze(factor, [1])


def _is_label(b: Builder, scores: V, labels: V) -> V:
    """Whether a class is the label: a mask in the shape of the scores (N, C, d1, …)."""
    length = b.Squeeze(b.dim(scores, 1), [0])
    classes = b.Range(b.const(0), length, b.const(1))
    spread = b.Reshape(classes, [1, -1] + [1] * (len(scores.shape) - 2))
    return b.Equal(b.Cast(b.Unsqueeze(labels, [1]), to=7), spread)


def nll_gradient(
    b: Builder, x: V, labels: V, dloss: V, weights: V, ignore_index: int | None, reduction: str
) -> V:
    """The gradient of NegativeLogLikelihoodLoss in its input: -w dloss at the label, else 0."""
    factor = _per_label(b, x, labels, dloss, weights, ignore_index, reduction)
    return b.Where(_is_label(b, x, labels), -factor, 0.0)


@composite("toolkit.grad", "SoftmaxCrossEntropyLossGrad", "scores labels dloss weights", "dscores")
def softmax_cross_entropy_loss_grad(
    b: Builder, a: Attributes, scores: V, labels: V, dloss: V, weights: V = None
) -> V:
    """(softmax(scores) - onehot(labels)) w dloss, over the sum of w for a mean."""
    factor = _per_label(
        b, scores, labels, dloss, weights, a.get("ignore_index"), a.get("reduction", "mean")
    )
    p = b.Softmax(scores, axis=1)
    return (p - b.cast(_is_label(b, scores, labels), scores.dtype)) * factor
