"""Gradients of the image operators."""

from __future__ import annotations

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
def resize_grad(
    c: Vjp, dy: V, x_shape: V, roi: V = None, scales: V = None, sizes: V = None
) -> Result:
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
