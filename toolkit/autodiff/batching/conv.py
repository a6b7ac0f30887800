"""Batching of convolutions, pools and what else takes (N, C, ...): the batch joins N, or C."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching, dims_of
from toolkit.graph.build import constant_of

V = Any  # An ir.Value under `arithmetic`.


@batching(
    "AveragePool", "LpPool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LRN",
    "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
def images(c: Batch) -> V:
    """One operand whose images are independent."""
    return c.unfold(c.emit(c.fold(0)))


@batching("GridSample")
def grid_sample(c: Batch) -> V:
    """Two operands whose images are independent."""
    return c.unfold(c.emit(c.fold(0), c.fold(1)))


@batching("GridSampleGrad", domain="toolkit.grad")
def grid_sample_grad(c: Batch) -> Any:
    """Images are independent."""
    made = c.emit(c.fold(0), c.fold(1), c.fold(2))
    results = made if len(c.node.outputs) > 1 else (made,)
    return tuple(None if v.name == "" else c.unfold(v) for v in results)


@batching("MaxPool")
def max_pool(c: Batch) -> Any:
    """Indices count through the whole tensor: those of an example begin at 0 again."""
    b = c.b
    x = c.fold(0)
    made = c.emit(x)
    if len(c.node.outputs) == 1:
        return c.unfold(made)
    places = c.unfold(made[1])
    numbers = b.Range(b.const(0), b.Squeeze(c.count, [0]), b.const(1))
    rank = c.rank(0)
    offsets = numbers * b.ReduceProd(b.Shape(c.value(0), start=1), keepdims=0)
    return c.unfold(made[0]), places - b.Reshape(offsets, [-1, *[1] * rank])


@batching("MaxPoolGrad", domain="toolkit.grad")
def max_pool_grad(c: Batch) -> V:
    """Images are independent."""
    return c.unfold(c.emit(c.fold(0), c.fold(1)))


@batching("AveragePoolGrad", domain="toolkit.grad")
def average_pool_grad(c: Batch) -> V:
    """Dy and the shape of all images."""
    if not c.only(0):
        return NotImplemented
    return c.unfold(c.emit(c.fold(0), _more_images(c, c.value(1))))


def _more_images(c: Batch, shape: V) -> V:
    """The shape of one example with all images of the batch."""
    return c.vector(c.b.Slice(shape, [0], [1]) * c.count, c.b.Slice(shape, [1], [9]))


def _more_channels(c: Batch, shape: V) -> V:
    """The shape of one example with all channels of the batch."""
    b = c.b
    return c.vector(
        b.Slice(shape, [0], [1]), b.Slice(shape, [1], [2]) * c.count, b.Slice(shape, [2], [9])
    )


@batching("Conv", "ConvTranspose")
def conv(c: Batch) -> V:
    """One set of weights: more images. Weights of each example: as many more groups."""
    if c.only(0):
        return c.unfold(c.emit(c.fold(0), c.value(1), c.value(2)))
    if c.size is None:
        return NotImplemented
    weight = c.fold(1)  # (B M, C / group, ...), or (B C, M / group, ...) of ConvTranspose.
    bias = None if c.operand(2) is None else c.b.Reshape(c.full(2), [-1])
    y = c.emit(c.fold_channels(0), weight, bias, group=c.size * c.attr("group"))
    return c.unfold_channels(y, c.rank(0))


@batching("ConvGradInput", domain="toolkit.grad")
def conv_grad_input(c: Batch) -> V:
    """As Conv: more images, or more groups."""
    if c.batched(2):
        return NotImplemented
    if not c.batched(1):
        return c.unfold(c.emit(c.fold(0), c.value(1), _more_images(c, c.value(2))))
    if c.size is None:
        return NotImplemented
    dx = c.emit(
        c.fold_channels(0), c.fold(1), _more_channels(c, c.value(2)),
        group=c.size * c.attr("group", 1),
    )  # fmt: skip
    return c.unfold_channels(dx, c.rank(0))


@batching("ConvGradWeight", domain="toolkit.grad")
def conv_grad_weight(c: Batch) -> V:
    """The weights of each example are a group of their own."""
    if c.batched(2) or c.size is None:
        return NotImplemented
    dw = c.emit(
        c.fold_channels(0), c.fold_channels(1), _more_images(c, c.value(2)),
        group=c.size * c.attr("group", 1),
    )  # fmt: skip
    return c.unfold(dw)


@batching("Col2Im")
def col2im(c: Batch) -> V:
    """More images."""
    return c.unfold(c.emit(c.fold(0), c.value(1), c.value(2))) if c.only(0) else NotImplemented


@batching("Im2Col", domain="toolkit.nn")
def im2col(c: Batch) -> V:
    """More images."""
    return c.unfold(c.emit(c.fold(0), c.value(1))) if c.only(0) else NotImplemented


@batching("Resize")
def resize(c: Batch) -> V:
    """More images, where the first dimension is one that stays as it is."""
    if not c.only(0) or c.operand(1) is not None or c.rank(0) < 3:
        return NotImplemented
    axes, sizes = c.attr("axes"), c.value(3)
    if axes is not None:
        if 0 in [a % c.rank(0) for a in axes]:
            return NotImplemented
    elif sizes is not None:
        x = c.operand(0)
        known = c.ints(3)
        if known is None or x is None or known[0] != dims_of(x.inner)[0]:
            return NotImplemented
        sizes = _more_images(c, sizes)
    else:
        scales = constant_of(c.value(2))
        if scales is None or float(scales.reshape(-1)[0]) != 1.0:
            return NotImplemented
    return c.unfold(c.emit(c.fold(0), None, c.value(2), sizes))
