"""Gradients of normalizations and of the losses that normalise."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import named_like, rank_of, reshape_like
from toolkit.graph.build import Builder, known_dims
from toolkit.graph.functions.loss import nll_gradient
from toolkit.graph.functions.normalization import channelwise, standardize, standardize_grad

V = Any  # An ir.Value under `arithmetic`.


@vjp("LayerNormalization", broadcasts=True, all_outputs=True)
def layer_normalization(c: Vjp, x: V, scale: V, bias: V = None) -> Result:
    """With h = (x - mean) r, g = dy scale, means over the normalized axes:

    dx = r (g - mean(g) - h mean(g h)), dscale = sum of dy h, dbias = sum of dy:
    toolkit.grad.LayerNormalizationGrad. Cotangents of Mean and InvStdDev go through the body.
    """
    if c.dy is None or any(d is not None for d in c.cotangents[1:]):
        return NotImplemented  # type: ignore[no-any-return]
    b, axis = c.b, c.attr("axis")
    rank = rank_of(c, x)
    start = axis % rank
    dims, have = known_dims(x) or (), known_dims(scale)
    if (
        have is None
        or len(have) != rank - start
        or any(h == 1 and d != 1 for h, d in zip(have, dims[start:], strict=True))
    ):
        scale = b.Expand(scale, b.Shape(x, start=start))
    attributes = {"axis": axis, "epsilon": c.attr("epsilon")}
    dx, dscale, dbias = c.grad("LayerNormalizationGrad", x, scale, c.dy, outputs=3, **attributes)
    return dx, dscale, dbias


@vjp("RMSNormalization", broadcasts=True)
def rms_normalization(c: Vjp, x: V, scale: V) -> Result:
    """With r = 1 / sqrt(mean(x^2) + epsilon), h = x r, g = dy scale:

    dx = r (g - h mean(g h)), dscale = sum of dy h.
    """
    b, rank = c.b, rank_of(c, x)
    axes = list(range(c.attr("axis") % rank, rank))
    r = b.Reciprocal(b.Sqrt(b.ReduceMean(x * x, axes) + c.attr("epsilon")))
    h = x * r

    def dx() -> V:
        g = c.dy * scale
        return r * (g - h * b.ReduceMean(g * h, axes))

    return dx, lambda: c.dy * h


@vjp("BatchNormalization", all_outputs=True)
def batch_normalization(c: Vjp, x: V, scale: V, bias: V, mean: V, var: V) -> Result:
    """Inference: an affine map, with r = 1 / sqrt(var + epsilon):

    dx = dy scale r, dscale = sum of dy (x - mean) r, dbias = sum of dy, dmean = -scale r dbias,
    dvar = -scale r^2 dscale / 2.

    Training: toolkit.grad.BatchNormalizationGrad, and through the running statistics
    dx += (1 - momentum) (dmean' + 2 (x - mean(x)) dvar') / n, dmean = momentum dmean', dvar alike.
    """
    if c.attr("training_mode"):
        return _batch_training(c, x, scale)
    if c.dy is None:
        return None
    b, rank = c.b, rank_of(c, x)
    axes = [0, *range(2, rank)]
    r = b.Reciprocal(b.Sqrt(var + c.attr("epsilon")))

    def dbias() -> V:
        return b.ReduceSum(c.dy, axes, keepdims=0)

    def dscale() -> V:
        centered = x - channelwise(b, mean, rank)
        return b.ReduceSum(c.dy * centered, axes, keepdims=0) * r

    return (
        lambda: c.dy * channelwise(b, scale * r, rank),
        dscale,
        dbias,
        lambda: -(scale * r) * dbias(),
        lambda: scale * r * r * dscale() * -0.5,
    )


def _batch_training(c: Vjp, x: V, scale: V) -> Result:
    b, rank = c.b, rank_of(c, x)
    axes = [0, *range(2, rank)]
    momentum = c.attr("momentum")
    dy, dmean, dvar = (*c.cotangents, None, None)[:3]
    dx: V = None
    dscale: V = None
    dbias: V = None
    if dy is not None:
        epsilon = c.attr("epsilon")
        dx, dscale, dbias = c.grad(
            "BatchNormalizationGrad", x, scale, dy, outputs=3, epsilon=epsilon
        )
    if dmean is not None or dvar is not None:
        average = b.ReduceMean(x, axes)
        n = b.cast(b.Div(b.Size(x), b.Size(average)), x.dtype)
        part = 0.0
        if dmean is not None:
            part = channelwise(b, b.cast(dmean, x.dtype), rank)
        if dvar is not None:
            part = (x - average) * channelwise(b, b.cast(dvar, x.dtype), rank) * 2.0 + part
        part = b.Expand(part * (1.0 - momentum) / n, b.shape(x))
        dx = part if dx is None else dx + part
    return (
        dx, dscale, dbias,
        None if dmean is None else dmean * momentum,
        None if dvar is None else dvar * momentum,
    )  # fmt: skip


@vjp("InstanceNormalization")
def instance_normalization(c: Vjp, x: V, scale: V, bias: V) -> Result:
    """As LayerNormalization, over the space of each sample and channel."""
    b, rank = c.b, rank_of(c, x)
    space, others = list(range(2, rank)), [0, *range(2, rank)]
    h, r = standardize(b, x, space, c.attr("epsilon"))
    return (
        lambda: standardize_grad(b, c.dy * channelwise(b, scale, rank), h, r, space),
        lambda: b.ReduceSum(c.dy * h, others, keepdims=0),
        lambda: b.ReduceSum(c.dy, others, keepdims=0),
    )


@vjp("GroupNormalization")
def group_normalization(c: Vjp, x: V, scale: V, bias: V) -> Result:
    """As LayerNormalization, over the channels and the space of each sample and group."""
    b, rank = c.b, rank_of(c, x)
    others = [0, *range(2, rank)]
    grouped = [0, c.attr("num_groups"), -1]
    h, r = standardize(b, b.Reshape(x, grouped), [2], c.attr("epsilon"))

    def dx() -> V:
        g = b.Reshape(c.dy * channelwise(b, scale, rank), grouped)
        return reshape_like(b, standardize_grad(b, g, h, r, [2]), x)

    return (
        dx,
        lambda: b.ReduceSum(c.dy * reshape_like(b, h, x), others, keepdims=0),
        lambda: b.ReduceSum(c.dy, others, keepdims=0),
    )


@vjp("MeanVarianceNormalization")
def mean_variance_normalization(c: Vjp, x: V) -> V:
    """y = (x - mean) / (s + e), s the standard deviation, e = 1e-9, means over axes:

    dx = (h - mean(h)) / (s + e), h = dy - (x - mean) / s mean(dy y).
    """
    b, axes = c.b, [int(i) for i in c.attr("axes")]
    centered = x - b.ReduceMean(x, axes)
    s = b.Sqrt(b.ReduceMean(centered * centered, axes))
    safe = b.Where(b.Equal(s, 0.0), 1.0, s)
    h = c.dy - centered / safe * b.ReduceMean(c.dy * c.y, axes)
    return (h - b.ReduceMean(h, axes)) / (s + 1e-9)


@vjp("LpNormalization")
def lp_normalization(c: Vjp, x: V) -> V:
    """With s = sum of y dy: p = 2: dx = (dy - y s) / norm; p = 1: dx = (dy - sign(x) s) / norm.

    Zero where the norm is zero.
    """
    b, axis = c.b, [c.attr("axis")]
    s = b.ReduceSum(c.y * c.dy, axis)
    if c.attr("p") == 1:
        norm, direction = b.ReduceL1(x, axis), b.Sign(x)
    else:
        norm, direction = b.ReduceL2(x, axis), c.y
    zero = b.Equal(norm, 0.0)
    return b.Where(zero, 0.0, (c.dy - direction * s) / b.Where(zero, 1.0, norm))


@vjp("LRN")
def lrn(c: Vjp, x: V) -> V:
    """With s = bias + alpha/size W(x^2), y = x s^-beta, W the sum over a window of channels:

    dx = dy s^-beta - (2 alpha beta / size) x Wᵀ(dy y / s).
    """
    b, size = c.b, c.attr("size")
    alpha, beta = c.attr("alpha"), c.attr("beta")
    low, high = (size - 1) // 2, size // 2
    s = _channel_window(b, x * x, low, high) * (alpha / size) + c.attr("bias")
    shared = _channel_window(b, c.dy * c.y / s, high, low)
    return c.dy * b.Pow(s, -beta) - x * shared * (2.0 * alpha * beta / size)


def _channel_window(b: Builder, x: V, low: int, high: int) -> V:
    """The sum over channels c - low … c + high: an average pool down a column of channels."""
    shape = b.Concat(b.dim(x, 0), [1], b.dim(x, 1), [-1], axis=0)
    columns = b.Reshape(x, shape)
    summed = b.AveragePool(
        columns, kernel_shape=[low + high + 1, 1], pads=[low, 0, high, 0], count_include_pad=1
    )
    return reshape_like(b, summed * float(low + high + 1), x)


@vjp("SoftmaxCrossEntropyLoss", all_outputs=True)
def softmax_cross_entropy_loss(c: Vjp, scores: V, labels: V, weights: V = None) -> V:
    """dscores = (softmax(scores) - onehot(labels)) w dloss, over the sum of w for a mean:

    toolkit.grad.SoftmaxCrossEntropyLossGrad. The second output is a LogSoftmax.
    """
    dloss, dlog = (*c.cotangents, None)[:2]
    dx: V = None
    if dloss is not None:
        attributes = {k: v for k, v in c.attributes.items() if k in ("ignore_index", "reduction")}
        dx = c.grad("SoftmaxCrossEntropyLossGrad", scores, labels, dloss, weights, **attributes)
    if dlog is not None:
        through = c.grad("LogSoftmaxGrad", c.outputs[1], dlog, axis=1)
        dx = through if dx is None else dx + through
    return named_like(dx, scores)


@vjp("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(c: Vjp, x: V, target: V, weight: V = None) -> V:
    """dx = -w dloss at the target class, over the sum of w for a mean; zeros elsewhere."""
    return nll_gradient(
        c.b, x, target, c.dy, weight, c.attr("ignore_index"), c.attr("reduction", "mean")
    )
