"""Gradients of the image operators."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import named_like, rank_of
from toolkit.graph.build import constant_of

V = Any  # An ir.Value under `arithmetic`.


@vjp("Resize")
def resize(c: Vjp, x: V, roi: V = None, scales: V = None, sizes: V = None) -> V:
    """dx = Rᵀ dy, as y = R x + const: toolkit.grad.ResizeGrad."""
    attributes, known = c.attributes, constant_of(scales)
    if (
        known is not None
        and known.size
        and c.attr("coordinate_transformation_mode") != ("tf_crop_and_resize")
    ):
        # Axes that stay as they are need no matrix.
        rank = rank_of(c, x)
        axes = [axis % rank for axis in c.attr("axes") or range(rank)]
        kept = [i for i, scale in enumerate(known) if scale != 1] or [0]
        attributes["axes"] = [axes[i] for i in kept]
        scales = c.b.const(known[kept].astype(np.float32))
    shape = c.b.shape(x)
    return named_like(c.grad("ResizeGrad", c.dy, shape, roi, scales, sizes, **attributes), x)


@vjp("ResizeGrad", domain="toolkit.grad")
def resize_grad(c: Vjp, dy: V, x_shape: V, roi: V = None, scales: V = None, sizes: V = None) -> V:
    """d_dy = R d_dx: Resize, with nothing from beyond the region of interest."""
    attributes = {k: v for k, v in c.attributes.items() if k != "extrapolation_value"}
    return named_like(c.b.call("", "Resize", [c.dy, roi, scales, sizes], attributes), dy)


@vjp("GridSample")
def grid_sample(c: Vjp, x: V, grid: V) -> Result:
    """dx, dgrid = toolkit.grad.GridSampleGrad(x, grid, dy); mode nearest has no dgrid."""
    if c.attr("mode") == "nearest" or not c.need(1):
        dx = c.grad("GridSampleGrad", x, grid, c.dy, wrt_grid=0, **c.attributes)
        return named_like(dx, x), None
    dx, dgrid = c.grad("GridSampleGrad", x, grid, c.dy, outputs=2, **c.attributes)
    return named_like(dx, x), named_like(dgrid, grid)


@vjp("AffineGrid")
def affine_grid(c: Vjp, theta: V, size: V) -> Result:
    """dtheta = dyᵀ (base, 1), where base is the grid of the identity."""
    b, space = c.b, rank_of(c, c.y) - 2
    unit = b.const(np.eye(space, space + 1)[None], theta.dtype)
    one = b.Concat([1], b.Slice(size, [1], [2 + space]), axis=0)
    count = b.ReduceProd(b.Slice(size, [2], [2 + space]), keepdims=1)
    base = b.AffineGrid(unit, one, align_corners=c.attr("align_corners"))
    base = b.Reshape(base, b.Concat(count, [space], axis=0), allowzero=1)
    base = b.Pad(base, b.ints([0, 0, 0, 1]), b.const(1, theta.dtype))
    dy = b.Reshape(c.dy, b.Concat(b.dim(c.dy, 0), count, [space], axis=0), allowzero=1)
    return named_like(b.MatMul(b.Transpose(dy, perm=[0, 2, 1]), base), theta), None


@vjp("RoiAlign")
def roi_align(c: Vjp, x: V, rois: V, batch_indices: V) -> Result:
    """dx = toolkit.grad.RoiAlignGrad(dy); none flows to the regions, as in torchvision."""
    values = x if c.attr("mode") == "max" else None
    shape = c.b.shape(x)
    dx = c.grad("RoiAlignGrad", c.dy, rois, batch_indices, shape, values, **c.attributes)
    return named_like(dx, x), None, None


@vjp("RoiAlignGrad", domain="toolkit.grad")
def roi_align_grad(
    c: Vjp, dy: V, rois: V, batch_indices: V, x_shape: V, x: V = None
) -> Result | Any:
    """Mode avg: d_dy = RoiAlign(d_dx)."""
    if c.attr("mode", "avg") == "max":
        return NotImplemented
    return named_like(c.b.call("", "RoiAlign", [c.dy, rois, batch_indices], c.attributes), dy)


@vjp("MaxRoiPool")
def max_roi_pool(c: Vjp, x: V, rois: V) -> Result:
    """dx = dy added at the largest element of each bin: toolkit.grad.MaxRoiPoolGrad."""
    return named_like(c.grad("MaxRoiPoolGrad", x, rois, c.dy, **c.attributes), x), None


@vjp("Col2Im")
def col2im(c: Vjp, x: V, image_shape: V, block_shape: V) -> Result:
    """dx = toolkit.nn.Im2Col(dy)."""
    dx = c.b.call("toolkit.nn", "Im2Col", [c.dy, block_shape], c.attributes)
    return named_like(dx, x), None, None


@vjp("Im2Col", domain="toolkit.nn")
def im2col(c: Vjp, x: V, block_shape: V) -> Result:
    """dx = Col2Im(dy)."""
    shape = c.b.Shape(x, start=2)
    return named_like(c.b.Col2Im(c.dy, shape, block_shape, **c.attributes), x), None


@vjp("MaxUnpool")
def max_unpool(c: Vjp, x: V, indices: V, output_shape: V = None) -> Result:
    """dx = dy at the indices."""
    b, dy, space = c.b, c.dy, rank_of(c, x) - 2
    if output_shape is not None:
        pads = c.attr("pads", (0,) * (2 * space))
        strides = c.attr("strides", (1,) * space)
        extra = [k - pads[d] - pads[space + d] for d, k in enumerate(c.attr("kernel_shape"))]
        sizes = (b.Shape(x, start=2) - 1) * b.ints(strides) + b.ints(extra)
        dy = b.Slice(dy, [0] * space, sizes, list(range(2, 2 + space)))
    return named_like(b.Gather(b.Reshape(dy, [-1]), indices), x), None, None


class _Deformed:
    """DeformConv as a GridSample of each offset group and a product of matrices.

    Letters: N images, G offset groups, K taps, P output positions.
    """

    def __init__(self, c: Vjp, x: V, w: V, offset: V, mask: V) -> None:
        self.c, self.b, self.x, self.w, self.mask = c, c.b, x, w, mask
        b = c.b
        self.space = rank_of(c, x) - 2
        self.groups, self.offset_groups = c.attr("group"), c.attr("offset_group")
        self.n = b.dim(x, 0)
        self.taps = b.ReduceProd(b.Shape(w, start=2), keepdims=1)
        self.points = b.ReduceProd(b.Shape(c.y, start=2), keepdims=1)
        self.members = b.dim(x, 1) / self.offset_groups
        self.offset = self.shaped(
            offset, self.n, self.offset_groups, self.taps, self.space, self.points
        )
        self.grid = self._grid()
        self.image = self.shaped(
            x,
            self.n * self.offset_groups,
            self.members,
            *(b.dim(x, 2 + d) for d in range(self.space)),
        )

    def shaped(self, v: V, *dims: V) -> V:
        parts = [self.b.ints([d]) if isinstance(d, int) else d for d in dims]
        return self.b.Reshape(v, self.b.Concat(*parts, axis=0), allowzero=1)

    def length(self, d: int) -> V:
        return self.b.cast(self.b.dim(self.x, 2 + d), self.x.dtype)

    def places(self) -> list[V]:
        """The sizes of the grid without its last axis: taps and points in `space` dimensions."""
        if self.space == 1:
            return [self.taps * self.points]
        return [1] * (self.space - 2) + [self.taps, self.points]

    def _grid(self) -> V:
        """Where the taps lie, as GridSample without align_corners counts."""
        b, c, space = self.b, self.c, self.space
        columns = []
        for d in range(space):
            taps = self._line(b.dim(self.w, 2 + d), d, c.attr("dilations", (1,) * space)[d])
            steps = self._line(b.dim(c.y, 2 + d), space + d, c.attr("strides", (1,) * space)[d])
            pad = c.attr("pads", (0,) * space)[d]
            both = b.Concat(b.Shape(self.w, start=2), b.Shape(c.y, start=2), axis=0)
            base = self.shaped(b.Expand(taps + steps - pad, both), self.taps, self.points)
            moved = b.Squeeze(b.Slice(self.offset, [d], [d + 1], [3]), [3])
            at = moved + b.cast(base, self.x.dtype)
            columns.append(b.Unsqueeze((2.0 * at + 1.0) / self.length(d) - 1.0, [4]))
        grid = b.Concat(*reversed(columns), axis=4) if space > 1 else columns[0]
        return self.shaped(grid, self.n * self.offset_groups, *self.places(), space)

    def _line(self, count: V, axis: int, step: int) -> V:
        """0, step, 2 step, … along one of the axes of taps and positions."""
        b = self.b
        line = b.Range(b.const(0), b.Squeeze(count, [0]), b.const(1)) * step
        return b.Reshape(line, [-1 if i == axis else 1 for i in range(2 * self.space)])

    @functools.cached_property
    def samples(self) -> V:
        """(N, G, members, K, P), before the mask."""
        y = self.b.GridSample(self.image, self.grid, mode="linear")
        return self.shaped(y, self.n, self.offset_groups, self.members, self.taps, self.points)

    def masked(self, v: V) -> V:
        if self.mask is None:
            return v
        return v * self.shaped(self.mask, self.n, self.offset_groups, 1, self.taps, self.points)

    @functools.cached_property
    def cotangent(self) -> V:
        """Dy as (N, groups, outputs of a group, P)."""
        outputs = self.b.dim(self.w, 0) / self.groups
        return self.shaped(self.c.dy, self.n, self.groups, outputs, self.points)

    @functools.cached_property
    def rows(self) -> V:
        return self.b.dim(self.w, 1) * self.taps

    def dw(self) -> V:
        columns = self.shaped(
            self.masked(self.samples), self.n, self.groups, self.rows, self.points
        )
        product = self.b.MatMul(self.cotangent, self.b.Transpose(columns, perm=[0, 1, 3, 2]))
        dw = self.b.ReduceSum(product, [0], keepdims=0)
        return named_like(self.b.Reshape(dw, self.b.shape(self.w), allowzero=1), self.w)

    @functools.cached_property
    def dcolumns(self) -> V:
        outputs = self.b.dim(self.w, 0) / self.groups
        w = self.shaped(self.w, 1, self.groups, outputs, self.rows)
        d = self.b.MatMul(self.b.Transpose(w, perm=[0, 1, 3, 2]), self.cotangent)
        return self.shaped(d, self.n, self.offset_groups, self.members, self.taps, self.points)

    def dmask(self) -> V:
        d = self.b.ReduceSum(self.dcolumns * self.samples, [2], keepdims=0)
        return named_like(self.b.Reshape(d, self.b.shape(self.mask), allowzero=1), self.mask)

    @functools.cached_property
    def dsamples(self) -> tuple[V, V]:
        d = self.shaped(
            self.masked(self.dcolumns), self.n * self.offset_groups, self.members, *self.places()
        )
        dx, dgrid = self.c.grad(
            "GridSampleGrad", self.image, self.grid, d, outputs=2, mode="linear"
        )
        return dx, dgrid

    def dx(self) -> V:
        return named_like(
            self.b.Reshape(self.dsamples[0], self.b.shape(self.x), allowzero=1), self.x
        )

    def doffset(self, offset: V) -> V:
        b, space = self.b, self.space
        d = self.shaped(self.dsamples[1], self.n, self.offset_groups, self.taps, self.points, space)
        columns = [
            b.Slice(d, [space - 1 - i], [space - i], [4]) * 2.0 / self.length(i)
            for i in range(space)
        ]
        d = b.Concat(*columns, axis=4) if space > 1 else columns[0]
        d = b.Transpose(d, perm=[0, 1, 2, 4, 3])
        return named_like(b.Reshape(d, b.shape(offset), allowzero=1), offset)


@vjp("DeformConv")
def deform_conv(c: Vjp, x: V, w: V, offset: V, bias: V = None, mask: V = None) -> Result:
    """With columns s = GridSample(x) at the moved taps: dw = dy (s mask)ᵀ, ds = wᵀ dy mask,
    dmask = sum of wᵀ dy s, db = sum of dy; dx and doffset are GridSampleGrad(ds).
    """
    parts = _Deformed(c, x, w, offset, mask)
    return (
        parts.dx,
        parts.dw,
        lambda: parts.doffset(offset),
        lambda: c.b.ReduceSum(c.dy, [0, *range(2, rank_of(c, x))], keepdims=0),
        parts.dmask,
    )
