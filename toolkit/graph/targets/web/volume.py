"""Rewrites of convolutions and pools over volumes: those over planes, tap by tap of the depth.

The depth becomes part of the batch, (N, C, D, H, W) to (N D, C, H, W).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from toolkit.graph.functions.conv import window_of
from toolkit.graph.targets.registry import Call, rewrite

V = Any  # An ir.Value under `arithmetic`.

_SWAP = [0, 2, 1, 3, 4]  # Channels and depth.


class _Depth(NamedTuple):
    """The window along the depth, and the attributes of what is done in a plane."""

    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    plane: dict[str, Any]


def _split(c: Call, x: V, kernel: Any) -> _Depth | None:
    """None where there are planes already."""
    if c.rank(x) <= 4:
        return None
    if c.rank(x) > 5 or not isinstance(kernel[0], int):
        raise c.refuse("at most 3 spatial axes and a window of known depth are required")
    w = window_of(c.attributes, 3)
    if w.pads is None:
        raise c.refuse("pads instead of auto_pad are required over volumes")
    plane = {
        "strides": w.strides[1:],
        "dilations": w.dilations[1:],
        "pads": [*w.pads[1:3], *w.pads[4:]],
    }
    return _Depth(kernel[0], w.strides[0], w.dilations[0], (w.pads[0], w.pads[3]), plane)


def _planes(c: Call, x: V) -> V:
    """(N, D, …) as (N D, …)."""
    return c.b.Reshape(x, c.b.Concat([-1], c.b.Shape(x, start=2), axis=0))


def _volume(c: Call, planes: V, n: V) -> V:
    """(N D, M, H, W) as (N, M, D, H, W)."""
    b = c.b
    return b.Transpose(
        b.Reshape(planes, b.Concat(n, [-1], b.Shape(planes, start=1), axis=0)), perm=_SWAP
    )


def _taps(c: Call, x: V, d: _Depth, fill: float = 0.0) -> list[V]:
    """What each tap along the depth sees of a volume: (N D', C, H, W)."""
    b = c.b
    moved = b.Transpose(x, perm=_SWAP)
    if any(d.pads):
        moved = b.Pad(moved, list(d.pads), b.const(fill, x.dtype), [1])
    reach = (d.kernel - 1) * d.dilation + 1
    length = (b.dim(moved, 1) - reach) / d.stride * d.stride + 1
    found = []
    for tap in range(d.kernel):
        start = b.ints([tap * d.dilation])
        found.append(_planes(c, b.Slice(moved, start, start + length, [1], [d.stride])))
    return found


@rewrite("ortweb", "Conv")
def conv(c: Call, x: V, w: V, bias: V = None) -> V:
    """Y = sum over taps t of Conv(planes of x that t sees, w[:, :, t])."""
    b = c.b
    d = _split(c, x, w.shape[2:])
    if d is None:
        return None
    group, total = c.attr("group", 1), None
    for tap, seen in enumerate(_taps(c, x, d)):
        weight = b.Gather(w, b.const(tap), axis=2)
        part = b.Conv(seen, weight, None if tap else bias, group=group, **d.plane)
        total = part if total is None else total + part
    return _volume(c, total, b.dim(x, 0))


@rewrite("ortweb", "ConvTranspose")
def conv_transpose(c: Call, x: V, w: V, bias: V = None) -> V:
    """The ConvTranspose of each plane by w[:, :, t], a stride apart along the depth, moved by t."""
    b = c.b
    d = _split(c, x, w.shape[2:])
    if d is None:
        return None
    if c.attr("output_shape"):
        raise c.refuse("pads instead of output_shape are required over volumes")
    extra = list(c.attr("output_padding") or [0, 0, 0])
    n, depth = b.dim(x, 0), b.dim(x, 2)
    planes = _planes(c, b.Transpose(x, perm=_SWAP))
    reach = (d.kernel - 1) * d.dilation + extra[0]
    total: V = None
    sizes: V = None
    for tap in range(d.kernel):
        weight = b.Gather(w, b.const(tap), axis=2)
        y = b.ConvTranspose(planes, weight, None, output_padding=extra[1:],
                            group=c.attr("group", 1), **d.plane)  # fmt: skip
        sizes = b.Shape(y, start=1)
        rows = b.Reshape(y, b.Concat(n, depth, [1, -1], axis=0))
        rows = b.Pad(rows, [0, d.stride - 1], None, [2]) if d.stride > 1 else rows
        rows = b.Reshape(rows, b.Concat(n, depth * d.stride, [-1], axis=0))
        rows = b.Slice(rows, [0], (depth - 1) * d.stride + 1, [1])
        before = tap * d.dilation
        rows = b.Pad(rows, [before, reach - before], None, [1]) if reach else rows
        total = rows if total is None else total + rows
    total = b.Slice(total, [d.pads[0]], b.dim(total, 1) - d.pads[1], [1])
    volume = b.Reshape(total, b.Concat(n, [-1], sizes, axis=0))
    volume = b.Transpose(volume, perm=_SWAP)
    return volume if bias is None else volume + b.Reshape(bias, [-1, 1, 1, 1])


def max_pool(c: Call, x: V) -> V:
    """The largest of what MaxPool gives of the planes that each tap sees."""
    b = c.b
    kernel = c.attr("kernel_shape")
    d = _split(c, x, kernel)
    if d is None:
        return None
    lowest = float(np.finfo(x.dtype.numpy()).min)
    parts = [b.MaxPool(seen, kernel_shape=kernel[1:], **d.plane) for seen in _taps(c, x, d, lowest)]
    return _volume(c, b.Max(*parts) if len(parts) > 1 else parts[0], b.dim(x, 0))


@rewrite("ortweb", "AveragePool")
def average_pool(c: Call, x: V) -> V:
    """The sum of each window over the number of its elements within x (with pads counted: all)."""
    b = c.b
    kernel = c.attr("kernel_shape")
    d = _split(c, x, kernel)
    if d is None:
        return None
    d.plane["count_include_pad"] = 1

    def means(of: V) -> V:
        total: V = None
        for seen in _taps(c, of, d):
            part = b.AveragePool(seen, kernel_shape=kernel[1:], **d.plane)
            total = part if total is None else total + part
        return _volume(c, total * (1.0 / d.kernel), b.dim(of, 0))

    pads = any(d.pads) or any(d.plane["pads"])
    if not pads or c.attr("count_include_pad", 0):
        return means(x)
    ones = b.Expand(b.const(1, x.dtype), b.Concat([1, 1], b.Shape(x, start=2), axis=0))
    return means(x) / means(ones)
