"""Operators that ONNX got later, or has under another name, and some from images and signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.contrib.registry import Call, contrib
from toolkit.graph.functions.linalg import LINALG

V = Any  # An ir.Value under `arithmetic`.
INT64 = ir.DataType.INT64


@contrib("Inverse")
def inverse(c: Call, x: V) -> V:
    """The solution y of x y = 1, by toolkit.linalg.Solve."""
    b = c.b
    ones = b.EyeLike(b.zeros(b.Concat(b.dim(x, -1), b.dim(x, -1), axis=0), x.dtype))
    right = b.Expand(ones, b.shape(x))
    return b.call(LINALG, "Solve", [x, right], outputs=4)[0]


@contrib("ExpandDims")
def expand_dims(c: Call, x: V, axis: V) -> V:
    """Unsqueeze."""
    return c.b.Unsqueeze(x, c.b.Reshape(c.b.cast(axis, INT64), [1]))


@contrib("GridSample")
def grid_sample(c: Call, x: V, grid: V) -> V:
    """ONNX's GridSample, from before opset 16."""
    modes = {"bilinear": "linear", "bicubic": "cubic"}
    mode = c.attr("mode", "bilinear")
    how = c.taken("align_corners", "padding_mode")
    return c.b.GridSample(x, grid, mode=modes.get(mode, mode), **how)


@contrib("Pad")
def pad(c: Call, x: V, pads: V, value: V = None) -> V:
    """ONNX's Pad; the pads may be a matrix of one row."""
    value = value if value is None else c.b.Reshape(value, [1])
    value = value if value is None else c.b.Squeeze(value, [0])
    return c.b.Pad(x, c.b.Reshape(pads, [-1]), value, **c.taken("mode"))


@contrib("Range")
def value_range(c: Call, start: V, limit: V, delta: V = None) -> V:
    """ONNX's Range of scalars, which may be vectors of one."""
    b = c.b
    ends = [start, limit, b.const(1, start.dtype) if delta is None else delta]
    return b.Range(*(b.Squeeze(v, [0]) if c.rank(v) else v for v in ends))


@contrib("Unique")
def unique(c: Call, x: V) -> tuple[V, ...]:
    """The values in their order, where each element's value is, and how often they occur."""
    y, _, inverse, counts = c.b.Unique(x, sorted=0, _outputs=4)
    return y, inverse, counts


@contrib("GatherND")
def gather_nd(c: Call, data: V, indices: V) -> V:
    """ONNX's GatherND."""
    return c.b.GatherND(data, c.b.cast(indices, INT64))


@contrib("TorchEmbedding")
def torch_embedding(c: Call, weight: V, indices: V, *rest: V) -> V:
    """Gather: what the other inputs say concerns gradients."""
    return c.b.Gather(weight, indices)


@contrib("SampleOp")
def sample_op(c: Call, x: V) -> V:
    """Identity."""
    return c.b.Identity(x)


@contrib("ComplexMul", "ComplexMulConj")
def complex_mul(c: Call, x: V, y: V) -> V:
    """(re, im) on the last axis: x y, or x times the conjugate of y."""
    b = c.b
    (p, q), (r, s) = (b.Split(v, axis=-1, num_outputs=2, _outputs=2) for v in (x, y))
    if c.node.op_type == "ComplexMulConj":
        s = -s
    return b.Concat(p * r - q * s, p * s + q * r, axis=-1)


@contrib("UnfoldTensor")
def unfold_tensor(c: Call, x: V) -> V:
    """Windows of `size` along `dim`, every `step`; the window is a last axis."""
    b, rank = c.b, c.rank(x)
    axis, size, step = c.attr("dim", -1) % rank, c.attr("size", 1), c.attr("step", 1)
    last = b.Squeeze(b.dim(x, axis), [0]) - (size - 1)
    starts = b.Unsqueeze(b.Range(b.const(0), last, b.const(step)), [1])
    windows = b.Gather(x, starts + b.const(np.arange(size)), axis=axis)
    order = [i for i in range(rank + 1) if i != axis + 1]
    return b.Transpose(windows, perm=[*order, axis + 1])


@contrib("Rfft")
def rfft(c: Call, x: V) -> V:
    """DFT of real signals over the last axes, (re, im) on a new last one."""
    b, count, rank = c.b, c.attr("signal_ndim", 1), c.rank(x)
    y = b.Unsqueeze(x, [-1])
    for i in range(count):  # The last axis is the one with half of its frequencies.
        y = b.DFT(y, None, b.const(rank - 1 - i), onesided=int(i == 0 and c.attr("onesided", 1)))
    return y


@contrib("Irfft")
def irfft(c: Call, x: V) -> V:
    """The real signals of `Rfft`: its half of the frequencies gives the others."""
    b, count = c.b, c.attr("signal_ndim", 1)
    last = c.rank(x) - 2
    if count != 1:
        raise c.fail("signal_ndim = 1 is required", f"{count}")
    if not c.attr("onesided", 1):
        y = b.DFT(x, None, b.const(last), inverse=1)
        return b.Squeeze(b.Slice(y, [0], [1], [-1]), [-1])
    # An even length: all but the first and the last frequency, conjugated, backwards.
    middle = b.Slice(x, [-2], [0], [last], [-1])
    middle = middle * b.const(np.array([1.0, -1.0]), x.dtype)
    y = b.DFT(b.Concat(x, middle, axis=last), None, b.const(last), inverse=1)
    return b.Squeeze(b.Slice(y, [0], [1], [-1]), [-1])


@contrib("CropAndResize")
def crop_and_resize(c: Call, x: V, rois: V, batch: V, size: V) -> V:
    """Samples of boxes (y1, x1, y2, x2) with corners in [0, 1], at their corners and between."""
    b, kind = c.b, x.dtype
    if c.attr("mode", "bilinear") not in ("bilinear", "nearest"):
        raise c.fail("a mode 'bilinear' or 'nearest' is required", f"'{c.attr('mode', '')}'")
    count = b.dim(rois, 0)
    lines = []
    for axis in (0, 1):  # Along y, then x: places in pixels, (boxes, size).
        low = b.Slice(rois, [axis], [axis + 1], [1])
        high = b.Slice(rois, [axis + 2], [axis + 3], [1])
        pixels = b.cast(b.dim(x, 2 + axis) - 1, kind)
        points = b.Squeeze(b.cast(b.Slice(size, [axis], [axis + 1], [0]), INT64), [0])
        steps = b.cast(b.Unsqueeze(b.Range(b.const(0), points, b.const(1)), [0]), kind)
        gaps = b.Max(b.cast(points - 1, kind), b.const(1.0, kind))
        middle = (low + high) * 0.5
        at = b.Where(b.Equal(points, b.const(1)), middle, low + steps * ((high - low) / gaps))
        lines.append(at * pixels)
    return _sampled(c, x, batch, lines, count)


def _sampled(c: Call, x: V, batch: V, lines: list[V], count: V) -> V:
    """The image of each box at the crossings of its lines."""
    b, kind = c.b, x.dtype
    image = b.Gather(x, b.cast(batch, INT64), axis=0)
    inside = []
    for i, at in enumerate(lines):
        most = b.cast(b.dim(x, 2 + i) - 1, kind)
        keep = b.And(b.GreaterOrEqual(at, b.const(0.0, kind)), b.LessOrEqual(at, most))
        inside.append(b.Unsqueeze(keep, [1, 3] if i == 0 else [1, 2]))
        nearest = c.attr("mode", "bilinear") == "nearest"
        low = b.Floor(at + 0.5) if nearest else b.Floor(at)
        part = at - low
        ends = [b.Clip(low, 0.0, most), b.Clip(low + 1.0, 0.0, most)]
        rows = [_along(c, image, b.cast(e, INT64), 2 + i) for e in ends[: 1 if nearest else 2]]
        if nearest:
            image = rows[0]
            continue
        weight = b.Unsqueeze(part, [1, 3] if i == 0 else [1, 2])
        image = rows[0] + (rows[1] - rows[0]) * weight
    outside = b.const(c.attr("extrapolation_value", 0.0), kind)
    return b.Where(b.And(*inside), image, outside)


def _along(c: Call, image: V, places: V, axis: int) -> V:
    """Each image's own places along an axis."""
    b = c.b
    index = b.Unsqueeze(places, [1, 3] if axis == 2 else [1, 2])
    shape = b.shape(image)
    lead, tail = b.Slice(shape, [0], [axis], [0]), b.Slice(shape, [axis + 1], [4], [0])
    index = b.Expand(index, b.Concat(lead, b.dim(places, 1), tail, axis=0))
    return b.GatherElements(image, index, axis=axis)
