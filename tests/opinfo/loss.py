"""Losses, and the gradients of the softmaxes."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample

SHAPES = ((5, 3), (1, 65), (2, 4, 7), (2, 3, 2, 3), (17, 10), (1, 2, 2, 2, 2))


def ignore(d, target: np.ndarray, label: int) -> np.ndarray:
    at = d.bools(*target.shape)
    at.flat[0] = False
    return np.where(at, label, target)


def loss_samples(d, outputs=(1,)):
    for shape in SHAPES:
        n, c, *rest = shape
        for reduction in ("none", "mean", "sum"):
            target = d.index(c, n, *rest, negative=False)
            target.flat[0] = 0  # One label at least is not ignored below.
            for count in outputs:
                yield S(d(*shape), target, outputs=count, reduction=reduction)
            yield S(d(*shape), target.astype(np.int32), d.positive(c), reduction=reduction)
            yield S(
                d(*shape),
                ignore(d, target, 1),
                reduction=reduction,
                ignore_index=1,
            )
            yield S(d(*shape), ignore(d, target, -1), d.positive(c),
                    reduction=reduction, ignore_index=-1)  # fmt: skip
    yield S(d(5, 3), d.index(3, 5, negative=False))


def log_softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    x = x.astype(np.float64)
    return x - np.logaddexp.reduce(x, axis, keepdims=True)


def picked(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(safe labels, weight of each label, mask of those that count)."""
    scores, labels, weights = (*sample.inputs, None, None)[:3]
    if len(sample.inputs) > 2 and sample.inputs[2] is not None and sample.inputs[2].ndim == 1:
        weights = sample.inputs[2]
    ignore = sample.attributes.get("ignore_index")
    keep = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    safe = np.where(keep, labels, 0).astype(np.int64)
    w = np.ones(scores.shape[1]) if weights is None else weights.astype(np.float64)
    return safe, np.where(keep, w[safe], 0.0), keep


def nll(log_probabilities: np.ndarray, sample: Sample) -> np.ndarray:
    safe, w, _ = picked(sample)
    values = -np.take_along_axis(log_probabilities, safe[:, None], 1)[:, 0] * w
    reduction = sample.attributes.get("reduction", "mean")
    if reduction == "none":
        return values
    return values.sum() / (w.sum() if reduction == "mean" else 1)


def nll_reference(sample: Sample) -> list[np.ndarray]:
    x = sample.inputs[0]
    return [np.asarray(nll(x.astype(np.float64), sample)).astype(x.dtype)]


def cross_entropy_reference(sample: Sample) -> list[np.ndarray]:
    x = sample.inputs[0]
    log_probabilities = log_softmax(x)
    return [
        np.asarray(nll(log_probabilities, sample)).astype(x.dtype),
        log_probabilities.astype(x.dtype),
    ]


def cross_entropy_grad_samples(d):
    for s in loss_samples(d):
        scores, labels, *weights = s.inputs
        dloss = d(*(labels.shape if s.attributes.get("reduction") == "none" else ()))
        yield S(scores, labels, dloss, *weights, **s.attributes)


def cross_entropy_grad_reference(sample: Sample) -> list[np.ndarray]:
    scores, labels, dloss, *weights = sample.inputs
    safe, w, _ = picked(S(scores, labels, *weights, **sample.attributes))
    scale = w * dloss.astype(np.float64)
    if sample.attributes.get("reduction", "mean") == "mean":
        scale = np.divide(scale, w.sum(), out=np.zeros_like(scale), where=scale != 0)
    dx = np.exp(log_softmax(scores)) * scale[:, None]
    at = np.zeros_like(dx)
    np.put_along_axis(at, safe[:, None], scale[:, None], 1)
    return [(dx - at).astype(scores.dtype)]


def softmax_grad_samples(log: bool):
    def samples(d):
        for shape, axis in (((7,), -1), ((3, 65), 1), ((2, 3, 5), 1), ((2, 5, 3), 0), ((0, 3), -1)):
            y = log_softmax(d(*shape), axis)
            yield S((y if log else np.exp(y)).astype(d.dtype), d(*shape), axis=axis)
        y = log_softmax(d(2, 3, 5), -1)
        yield S((y if log else np.exp(y)).astype(d.dtype), d(2, 3, 5))

    return samples


def softmax_grad(sample: Sample) -> list[np.ndarray]:
    y, dy = (v.astype(np.float64) for v in sample.inputs)
    axis = sample.attributes.get("axis", -1)
    return [(y * (dy - (y * dy).sum(axis, keepdims=True))).astype(sample.inputs[0].dtype)]


def log_softmax_grad(sample: Sample) -> list[np.ndarray]:
    y, dy = (v.astype(np.float64) for v in sample.inputs)
    axis = sample.attributes.get("axis", -1)
    return [(dy - np.exp(y) * dy.sum(axis, keepdims=True)).astype(sample.inputs[0].dtype)]


def big(d, *more):
    scores = d(257, 131)
    labels = d.index(131, 257, negative=False)
    return [
        S(scores, labels, *more),
        S(d(3, 5, 41, 33), d.index(5, 3, 41, 33, negative=False), *more),
    ]


ROWS = [
    OpInfo("NegativeLogLikelihoodLoss", loss_samples, tolerance=4, reference=nll_reference,
           why="a label that is ignored may lie outside the classes", big=big),
    OpInfo("SoftmaxCrossEntropyLoss", lambda d: loss_samples(d, (1, 2)), tolerance=8, big=big,
           reference=cross_entropy_reference, why="its exp overflows",
           special=lambda d: [S(d.scalar([[1000, 0, -1000], [-1000, -1000, -999]]), np.int64([0, 2]))]),
    OpInfo("SoftmaxCrossEntropyLossGrad", cross_entropy_grad_samples, "toolkit.grad", tolerance=4,
           grad=(0, 2), reference=cross_entropy_grad_reference, big=lambda d: big(d, d())),
    OpInfo("SoftmaxGrad", softmax_grad_samples(False), "toolkit.grad", tolerance=4, grad=(0, 1),
           reference=softmax_grad, big=lambda d: [S(d(257, 131), d(257, 131), axis=-1)]),
    OpInfo("LogSoftmaxGrad", softmax_grad_samples(True), "toolkit.grad", tolerance=8, grad=(0, 1),
           reference=log_softmax_grad, big=lambda d: [S(d(257, 131), d(257, 131), axis=-1)]),
]  # fmt: skip
