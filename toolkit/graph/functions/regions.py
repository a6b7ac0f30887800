"""Bodies of the gradients of the pools over regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


def _steps(b: Builder, count: V, dtype: ir.DataType) -> V:
    """0, 1, …, count - 1 of a vector of length 1."""
    return b.cast(b.Range(b.const(0), b.Squeeze(count, [0]), b.const(1)), dtype)


def _column(b: Builder, x: V, i: int) -> V:
    return b.Squeeze(b.Slice(x, [i], [i + 1], [1]), [1])


def _samples(b: Builder, a: Attributes, rois: V, axis: int, length: V) -> tuple[V, V, V, V]:
    """Coordinates (R, bins, G) of an axis' samples, which read, which exist, and how many do."""
    bins = a.get(("output_height", "output_width")[axis], 1)
    half = a.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    shift = 0.5 if half else 0.0
    scale = float(np.float32(a.get("spatial_scale", 1.0)))
    begin = _column(b, rois, 1 - axis) * scale - shift
    size = _column(b, rois, 3 - axis) * scale - shift - begin
    if not half:
        size = b.Max(size, 1.0)
    bin_size = b.Unsqueeze(size / float(bins), [1, 2])
    ratio = a.get("sampling_ratio", 0)
    grid = b.Ceil(b.Max(bin_size, 0.0)) if not ratio else 0.0 * bin_size + float(ratio)
    most = b.Reshape(b.Cast(b.ReduceMax(grid, keepdims=0), to=int(ir.DataType.INT64)), [1])
    g = _steps(b, most, rois.dtype)
    p = b.const(np.arange(bins).reshape(1, -1, 1), rois.dtype)
    at = b.Unsqueeze(begin, [1, 2]) + p * bin_size + (g + 0.5) * bin_size / b.Max(grid, 1.0)
    exists = b.Less(g, grid + 0.0 * at)
    reads = b.And(b.GreaterOrEqual(at, -1.0), b.LessOrEqual(at, length))
    return b.Max(b.Min(at, length - 1.0), 0.0), b.And(exists, reads), exists, grid


def _matrix(b: Builder, a: Attributes, rois: V, axis: int, length: V, dtype: ir.DataType) -> V:
    """(R, 1, bins, length): the weight of each element in the mean of each bin."""
    size = b.cast(b.Squeeze(length, [0]), rois.dtype)
    at, used, _, grid = _samples(b, a, rois, axis, size)
    hat = b.Relu(1.0 - b.Abs(b.Unsqueeze(at, [3]) - _steps(b, length, rois.dtype)))
    weight = b.Where(b.Unsqueeze(used, [3]), hat, 0.0 * hat)
    mean = b.ReduceSum(weight, [2], keepdims=0) / b.Max(grid, 1.0)
    return b.cast(b.Unsqueeze(mean, [1]), dtype)


@composite("toolkit.grad", "RoiAlignGrad", "dy rois batch_indices x_shape x", "dx")
def roi_align_grad(
    b: Builder, a: Attributes, dy: V, rois: V, batch_indices: V, x_shape: V, x: V = None
) -> V:
    """Mode avg: dx of a region = Aᵀ dy B, A and B its rows' and columns' weights. Mode max: dy
    times the weight of the largest weighted element of the samples of a bin, added there.
    """
    height, width = (b.Slice(x_shape, [i], [i + 1]) for i in (2, 3))
    zeros = b.zeros(x_shape, dy.dtype)
    if a.get("mode", "avg") == "avg":
        rows = b.Transpose(_matrix(b, a, rois, 0, height, dy.dtype), perm=[0, 1, 3, 2])
        parts = b.MatMul(b.MatMul(rows, dy), _matrix(b, a, rois, 1, width, dy.dtype))
        return b.ScatterND(zeros, b.Unsqueeze(batch_indices, [1]), parts, reduction="add")
    down, up = _corners(b, a, rois, 0, height), _corners(b, a, rois, 1, width)
    (row, v, vertical), (column, h, horizontal) = down, up
    at = b.Unsqueeze(row, [2, 4]) * width + b.Unsqueeze(column, [1, 3])
    at = at + b.Unsqueeze(batch_indices, [1, 2, 3, 4]) * (height * width)
    weight = b.cast(b.Unsqueeze(v, [2, 4]) * b.Unsqueeze(h, [1, 3]), dy.dtype)
    exists = b.And(b.Unsqueeze(vertical, [2, 4]), b.Unsqueeze(horizontal, [1, 3]))
    bins = b.Concat(b.Shape(at, end=3), [-1], axis=0)
    at, weight, exists = (b.Reshape(t, bins) for t in (at, weight, exists))
    planes = b.Transpose(x, perm=[1, 0, 2, 3])
    flat = b.Reshape(planes, b.Concat(b.Slice(x_shape, [1], [2]), [-1], axis=0))
    value = b.Where(exists, b.Gather(flat, at, axis=1) * weight, float(np.finfo(np.float32).min))
    best = b.ArgMax(value, axis=4, keepdims=1)
    wide = b.Shape(value)
    places = b.GatherElements(b.Expand(at, wide), best, axis=4)
    weights = b.GatherElements(b.Expand(b.Where(exists, weight, 0.0 * weight), wide), best, axis=4)
    share = b.Squeeze(weights, [4]) * b.Transpose(dy, perm=[1, 0, 2, 3])
    lines = b.Concat(b.Slice(x_shape, [1], [2]), [-1], axis=0)
    summed = b.ScatterElements(
        b.zeros(b.Shape(flat), dy.dtype),
        b.Reshape(places, lines),
        b.Reshape(share, lines),
        axis=1,
        reduction="add",
    )
    return b.Transpose(b.Reshape(summed, b.Shape(planes)), perm=[1, 0, 2, 3])


def _corners(b: Builder, a: Attributes, rois: V, axis: int, length: V) -> tuple[V, V, V]:
    """(R, bins, 2 G): the two elements around each sample, their weights, whether it exists."""
    size = b.cast(b.Squeeze(length, [0]), rois.dtype)
    at, used, exists, _ = _samples(b, a, rois, axis, size)
    low = b.Floor(at)
    high = b.Min(low + 1.0, size - 1.0)
    up = b.Where(used, at - low, 0.0 * at)
    down = b.Where(used, 1.0 - (at - low), 0.0 * at)
    places = b.Cast(b.Concat(low, high, axis=2), to=int(ir.DataType.INT64))
    return places, b.Concat(down, up, axis=2), b.Concat(exists, exists, axis=2)


@composite("toolkit.grad", "MaxRoiPoolGrad", "x rois dy", "dx")
def max_roi_pool_grad(b: Builder, a: Attributes, x: V, rois: V, dy: V) -> V:
    """dy added at the first largest element of each bin: first along rows, then down columns."""
    lowest = float(np.finfo(np.float32).min)
    image = b.Cast(_column(b, rois, 0), to=int(ir.DataType.INT64))
    taken = b.Gather(x, image)
    across = b.Unsqueeze(_bins(b, a, rois, 1, b.dim(x, 3)), [1, 2])  # (R, 1, 1, pw, W)
    values = b.Where(across, b.Unsqueeze(taken, [3]), lowest)
    column = b.Transpose(b.ArgMax(values, axis=4, keepdims=0), perm=[0, 1, 3, 2])
    row_best = b.Transpose(b.ReduceMax(values, [4], keepdims=0), perm=[0, 1, 3, 2])
    down = b.Unsqueeze(_bins(b, a, rois, 0, b.dim(x, 2)), [1, 2])  # (R, 1, 1, ph, H)
    values = b.Where(down, b.Unsqueeze(row_best, [3]), lowest)  # (R, C, pw, ph, H)
    row = b.ArgMax(values, axis=4, keepdims=0)
    full = b.Greater(b.ReduceMax(values, [4], keepdims=0), lowest)
    column = b.GatherElements(column, row, axis=3)
    channels = b.Range(b.const(0), b.Squeeze(b.dim(x, 1), [0]), b.const(1))
    plane = b.Unsqueeze(image, [1]) * b.dim(x, 1) + channels
    at = (b.Unsqueeze(plane, [2, 3]) * b.dim(x, 2) + row) * b.dim(x, 3) + column
    share = b.Transpose(dy, perm=[0, 1, 3, 2])
    share = b.Where(full, share, 0.0 * share)
    zeros = b.zeros(b.Reshape(b.Size(x), [1]), x.dtype)
    flat = b.ScatterElements(
        zeros, b.Reshape(at, [-1]), b.Reshape(share, [-1]), axis=0, reduction="add"
    )
    return b.Reshape(flat, b.Shape(x), allowzero=1)


def _bins(b: Builder, a: Attributes, rois: V, axis: int, length: V) -> V:
    """(R, bins, length): which elements lie in each bin."""
    bins = a["pooled_shape"][axis]
    scale = float(np.float32(a.get("spatial_scale", 1.0)))

    def rounded(v: V) -> V:
        return b.Sign(v) * b.Floor(b.Abs(v) + 0.5)

    first = rounded(_column(b, rois, 2 - axis) * scale)
    size = b.Max(rounded(_column(b, rois, 4 - axis) * scale) - first + 1.0, 1.0)
    size, first = b.Unsqueeze(size / float(bins), [1, 2]), b.Unsqueeze(first, [1, 2])
    p = b.const(np.arange(bins).reshape(1, -1, 1), rois.dtype)
    at = _steps(b, length, rois.dtype)
    return b.And(
        b.GreaterOrEqual(at, b.Floor(p * size) + first),
        b.Less(at, b.Ceil((p + 1.0) * size) + first),
    )
