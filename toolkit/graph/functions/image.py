"""Bodies of the gradients of Resize, GridSample and the pools over regions, and of Im2Col."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


@composite("toolkit.grad", "ResizeGrad", "dy x_shape roi scales sizes", "dx")
def resize_grad(
    b: Builder, a: Attributes, dy: V, x_shape: V, roi: V = None, scales: V = None, sizes: V = None
) -> V:
    """Resize's transpose: dy times the matrix of each axis, which is Resize of the unit matrix."""
    rank = len(dy.shape)
    axes = [axis % rank for axis in a.get("axes") or range(rank)]
    dx = dy
    for i, axis in enumerate(axes):
        matrix = _resize_matrix(b, a, dy.dtype, len(axes), i, axes, x_shape, roi, scales, sizes)
        swap = [*range(axis), rank - 1, *range(axis + 1, rank - 1), axis]
        if axis != rank - 1:
            dx = b.Transpose(b.MatMul(b.Transpose(dx, perm=swap), matrix), perm=swap)
        else:
            dx = b.MatMul(dx, matrix)
    return dx


def _resize_matrix(
    b: Builder,
    a: Attributes,
    dtype: ir.DataType,
    count: int,
    i: int,
    axes: list[int],
    x_shape: V,
    roi: V,
    scales: V,
    sizes: V,
) -> V:
    """(outputs, inputs) of axis i of `axes`: the unit matrix as an image, resized in its height."""
    plain = {k: v for k, v in a.items() if k not in ("axes", "extrapolation_value")}
    n = b.Slice(x_shape, [axes[i]], [axes[i] + 1])
    unit = b.EyeLike(b.zeros(b.Concat(n, n, axis=0), dtype), dtype=int(dtype))
    if roi is not None:
        ends = [b.Slice(roi, [k], [k + 1]) for k in (i, count + i)]
        zero, one = b.const([0, 0], roi.dtype), b.const([1, 1], roi.dtype)
        lone = b.const([0], roi.dtype), b.const([1], roi.dtype)
        roi = b.Concat(zero, ends[0], lone[0], one, ends[1], lone[1], axis=0)
    if sizes is not None and plain.pop("keep_aspect_ratio_policy", "stretch") != "stretch":
        # The axis that decides the common scale comes along, and is dropped afterwards.
        policy = a["keep_aspect_ratio_policy"]
        dims = b.Gather(x_shape, axes)
        ratios = b.cast(sizes, ir.DataType.DOUBLE) / b.cast(dims, ir.DataType.DOUBLE)
        arg = b.ArgMin if policy == "not_larger" else b.ArgMax
        decisive = arg(ratios, axis=0, keepdims=1)
        wide = b.Expand(
            b.Unsqueeze(unit, [0, 3]), b.Concat([1], n, n, b.Gather(dims, decisive), axis=0)
        )
        pair = b.Concat(b.Slice(sizes, [i], [i + 1]), b.Gather(sizes, decisive), axis=0)
        if roi is not None:
            roi = b.Gather(roi, [2, 3, 6, 7])
        plain |= {"axes": [2, 3], "keep_aspect_ratio_policy": policy}
        columns = b.Slice(b.Resize(wide, roi, None, pair, **plain), [0], [1], [3])
        return b.Transpose(b.Squeeze(columns, [0, 3]), perm=[1, 0])
    image = b.Unsqueeze(unit, [0, 1])
    if scales is not None:
        one = b.const([1], scales.dtype)
        scales = b.Concat(one, one, b.Slice(scales, [i], [i + 1]), one, axis=0)
    if sizes is not None:
        sizes = b.Concat([1, 1], b.Slice(sizes, [i], [i + 1]), n, axis=0)
    return b.Squeeze(b.Resize(image, roi, scales, sizes, **plain), [0, 1])


@composite("toolkit.grad", "GridSampleGrad", "x grid dy", "dx dgrid")
def grid_sample_grad(b: Builder, a: Attributes, x: V, grid: V, dy: V) -> V:
    """dx: dy times the weights of the taps, added at the taps. dgrid: dy times their slopes.

    Attribute wrt_grid=0 leaves dgrid out.
    """
    space = len(x.shape) - 2
    batch, channels = b.dim(x, 0), b.dim(x, 1)
    count = b.ReduceProd(b.Shape(grid, start=1, end=-1), keepdims=1)
    plane = b.ReduceProd(b.Shape(x, start=2), keepdims=1)
    width = {"nearest": 1, "cubic": 4}.get(a.get("mode", "linear"), 2)
    taps = width**space

    def shaped(v: V, *dims: V) -> V:
        parts = [b.ints([d]) if isinstance(d, int) else d for d in dims]
        return b.Reshape(v, b.Concat(*parts, axis=0), allowzero=1)

    points = shaped(grid, batch, count, space)
    axes = [_axis_taps(b, a, points, x, d, space) for d in range(space)]

    def together(part: Any, combine: Any) -> V:
        """(N, K…K, P) from one (K, N, P) an axis: all combinations of the axes' taps."""
        result = None
        for d in range(space):
            lone = shaped(part(d), *[1] * d, width, *[1] * (space - d - 1), batch, count)
            result = lone if result is None else combine(d, result, lone)
        return b.Transpose(shaped(result, taps, batch, count), perm=[1, 0, 2])

    def product(changed: int | None) -> V:
        """The taps' weights, or their slopes along one axis."""
        result = together(lambda d: axes[d][2 if d == changed else 1], lambda d, v, w: v * w)
        return b.cast(result, x.dtype)

    at = together(lambda d: axes[d][0], lambda d, v, w: v * b.dim(x, 2 + d) + w)
    everything = b.Concat(batch, channels, count * taps, axis=0)
    places = b.Expand(shaped(at, batch, 1, count * taps), everything)
    flat = shaped(x, batch, channels, plane)
    cotangent = shaped(dy, batch, channels, 1, count)
    updates = b.Reshape(b.Unsqueeze(product(None), [1]) * cotangent, everything, allowzero=1)
    zeros = b.zeros(b.Shape(flat), x.dtype)
    summed = b.ScatterElements(zeros, places, updates, axis=2, reduction="add")
    dx = b.Reshape(summed, b.Shape(x), allowzero=1)
    if not a.get("wrt_grid", 1):
        return dx
    picked = shaped(b.GatherElements(flat, places, axis=2), batch, channels, taps, count)
    sums = b.ReduceSum(picked * cotangent, [1], keepdims=0)
    columns = [
        b.Unsqueeze(b.ReduceSum(sums * product(d), [1], keepdims=0), [2]) for d in range(space)
    ]
    scaled = [b.cast(column, grid.dtype) * axes[d][3] for d, column in enumerate(columns)]
    dgrid = b.Concat(*reversed(scaled), axis=2) if space > 1 else scaled[0]
    return dx, b.Reshape(dgrid, b.Shape(grid), allowzero=1)


def _axis_taps(b: Builder, a: Attributes, points: V, x: V, d: int, space: int) -> tuple[V, ...]:
    """Along axis d: places (K, N, P), weights, their slopes, and elements a unit of the grid."""
    mode, padding = a.get("mode", "linear"), a.get("padding_mode", "zeros")
    g = b.Gather(points, b.const(space - 1 - d), axis=2)
    length = b.cast(b.Squeeze(b.dim(x, 2 + d), [0]), g.dtype)
    if a.get("align_corners", 0):
        v, low, high, scale = (g + 1.0) / 2.0 * (length - 1.0), 0.0 * length, length - 1.0, None
        scale = (length - 1.0) / 2.0
    else:
        v, low, high = ((g + 1.0) * length - 1.0) / 2.0, 0.0 * length - 0.5, length - 0.5
        scale = length / 2.0
    if mode == "nearest":
        v = b.Round(v)
    sign = None
    beyond = b.Or(b.Less(v, low), b.Greater(v, high))
    if padding == "border" and mode != "cubic":
        sign = b.Where(beyond, 0.0 * v, 0.0 * v + 1.0)
        v = b.Where(beyond, b.Max(b.Min(v, length - 1.0), 0.0), v)
    elif padding == "reflection":
        reflected, flipped = _reflect(b, v, low, high)
        sign = b.Where(b.And(beyond, flipped), 0.0 * v - 1.0, 0.0 * v + 1.0)
        sign = b.Where(b.LessOrEqual(high, low), 0.0 * v, sign)
        v = b.Where(beyond, reflected, v)
    base = b.Floor(v)
    r = v - base
    if mode == "nearest":
        first, weights, slopes = base, [0.0 * r + 1.0], [0.0 * r]
    elif mode == "linear":
        first, weights, slopes = base, [1.0 - r, r], [0.0 * r - 1.0, 0.0 * r + 1.0]
    else:
        first, distances = base - 1.0, [r + 1.0, r, 1.0 - r, 2.0 - r]
        near = (False, True, True, False)
        weights = [_cubic(t, n) for t, n in zip(distances, near, strict=True)]
        slopes = [_cubic_slope(t, n) for t, n in zip(distances, near, strict=True)]
        slopes = [slopes[0], slopes[1], -slopes[2], -slopes[3]]
    if sign is not None:
        slopes = [slope * sign for slope in slopes]
    steps = b.const(np.arange(len(weights)).reshape(-1, 1, 1), g.dtype)
    at = b.Unsqueeze(first, [0]) + steps
    weight, slope = (
        b.Concat(*(b.Unsqueeze(w, [0]) for w in ws), axis=0) for ws in (weights, slopes)
    )
    if padding == "zeros":
        inside = b.And(b.GreaterOrEqual(at, 0.0), b.Less(at, length))
        weight, slope = b.Where(inside, weight, 0.0 * weight), b.Where(inside, slope, 0.0 * slope)
    elif padding == "reflection":
        outside = b.Or(b.Less(at, low), b.Greater(at, high))
        at = b.Where(outside, _reflect(b, at, low, high)[0], at)
    place = b.Cast(b.Max(b.Min(at, length - 1.0), 0.0), to=int(ir.DataType.INT64))
    return place, weight, slope, scale


def _reflect(b: Builder, v: V, low: V, high: V) -> tuple[V, V]:
    """`v` from outside of [low, high] mirrored into it, and whether its direction is turned."""
    span = b.Max(high - low, 1e-6)
    below = b.Less(v, low)
    rest = b.Mod(b.Where(below, low - v, v - high), 2.0 * span, fmod=1)
    odd = b.GreaterOrEqual(rest, span)
    rest = b.Where(odd, rest - span, rest)
    inside = b.Where(b.Equal(below, odd), high - rest, low + rest)
    return b.Where(b.LessOrEqual(high, low), low, inside), b.Not(odd)


_A = -0.75


def _cubic(d: V, near: bool) -> V:
    """Keys' filter at distance d, within 1 (near) or between 1 and 2."""
    if near:
        return ((_A + 2.0) * d - (_A + 3.0)) * d * d + 1.0
    return ((_A * d - 5.0 * _A) * d + 8.0 * _A) * d - 4.0 * _A


def _cubic_slope(d: V, near: bool) -> V:
    """Its derivative."""
    if near:
        return (3.0 * (_A + 2.0) * d - 2.0 * (_A + 3.0)) * d
    return (3.0 * _A * d - 10.0 * _A) * d + 8.0 * _A


@composite("toolkit.nn", "Im2Col", "x block_shape", "columns")
def im2col(b: Builder, a: Attributes, x: V, block_shape: V) -> V:
    """(N, C taps, positions): the elements of (N, C, …) under each tap at each position."""
    space = len(x.shape) - 2
    pads = list(a.get("pads", (0,) * (2 * space)))
    y = x
    if any(pads):
        y = b.Pad(x, b.ints(pads), None, list(range(2, 2 + space)))
    for d in range(space):
        stride, dilation = (a.get(k, (1,) * space)[d] for k in ("strides", "dilations"))
        kernel = b.Slice(block_shape, [d], [d + 1])
        room = b.dim(x, 2 + d) + (pads[d] + pads[space + d]) - (kernel - 1) * dilation - 1
        count = room / stride + 1
        taps, steps = (b.Range(b.const(0), b.Squeeze(n, [0]), b.const(1)) for n in (kernel, count))
        at = b.Unsqueeze(taps * dilation, [1]) + steps * stride
        y = b.Gather(y, at, axis=2 + 2 * d)
    axes = [0, 1, *range(2, 2 + 2 * space, 2), *range(3, 3 + 2 * space, 2)]
    y = b.Transpose(y, perm=axes)
    sizes = b.Shape(y)
    rows = b.ReduceProd(b.Slice(sizes, [1], [2 + space]), keepdims=1)
    positions = b.ReduceProd(b.Slice(sizes, [2 + space], [2 + 2 * space]), keepdims=1)
    return b.Reshape(y, b.Concat(b.dim(x, 0), rows, positions, axis=0), allowzero=1)
