"""Bodies of the gradients of losses over classes."""

from __future__ import annotations

from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


def _kept(b: Builder, labels: V, ignore_index: int | None) -> V:
    """Which labels count: a mask, None if all do."""
    return None if ignore_index is None else b.Not(b.Equal(labels, ignore_index))


def _class_weights(b: Builder, like: V, labels: V, weights: V, kept: V) -> V:
    """The weight of each label, zero where it is ignored; None if every one is 1."""
    if kept is None:
        return None if weights is None else b.Gather(weights, labels, axis=0)
    if weights is None:
        return b.cast(kept, like.dtype)
    safe = b.Where(kept, labels, 0)
    return b.Where(kept, b.Gather(weights, safe, axis=0), 0.0)


def _per_label(b: Builder, like: V, labels: V, dloss: V, weight: V, reduction: str) -> V:
    """d loss / d (negative log likelihood of each label), with an axis for the classes.

    A mean over weights of sum 0 is 0 / 0: NaN for the labels that count, as in torch.
    """
    if weight is None:
        factor = dloss
        if reduction == "mean":
            factor = dloss / b.Cast(b.Size(labels), to=int(like.dtype))
        if reduction != "none":
            return factor
    else:
        factor = weight * dloss
        if reduction == "mean":
            factor = weight * (dloss / b.ReduceSum(weight, keepdims=0))
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
    kept = _kept(b, labels, ignore_index)
    weight = _class_weights(b, x, labels, weights, kept)
    factor = _per_label(b, x, labels, dloss, weight, reduction)
    at = _is_label(b, x, labels)
    if kept is not None:
        at = b.And(at, b.Unsqueeze(kept, [1]))
    return b.Where(at, -factor, 0.0)


@composite("toolkit.grad", "SoftmaxCrossEntropyLossGrad", "scores labels dloss weights", "dscores")
def softmax_cross_entropy_loss_grad(
    b: Builder, a: Attributes, scores: V, labels: V, dloss: V, weights: V = None
) -> V:
    """(softmax(scores) - onehot(labels)) w dloss, over the sum of w for a mean; 0 if ignored."""
    kept = _kept(b, labels, a.get("ignore_index"))
    weight = _class_weights(b, scores, labels, weights, kept)
    factor = _per_label(b, scores, labels, dloss, weight, a.get("reduction", "mean"))
    p = b.Softmax(scores, axis=1)
    dscores = (p - b.cast(_is_label(b, scores, labels), scores.dtype)) * factor
    if kept is not None:  # Whatever the scores of an ignored label are.
        dscores = b.Where(b.Unsqueeze(kept, [1]), dscores, 0.0)
    return dscores
