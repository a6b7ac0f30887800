"""Gradients of Fourier transforms: the conjugate transform, in the place of an inverse."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Result, Vjp, not_differentiable, vjp
from toolkit.autodiff.rules._common import named_like, rank_of
from toolkit.graph.build import Builder, constant_of, static_dims

V = Any  # An ir.Value under `arithmetic`.

not_differentiable(
    "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix",
    reason="Its values do not depend on float inputs' values, or by steps only.",
)  # fmt: skip


@vjp("DFT")
def dft(c: Vjp, x: V, length: V = None, axis: V = None) -> V:
    """y = F x of length n: dx = n F^-1 dy; y = F^-1 x: dx = F dy / n.

    Then cut or padded to x's length, and its real part where x is real. One-sided: dy's missing
    bins are zeros; the inverse takes each bin but 0 and n / 2 twice, so dx = F dy (1 or 2) / n.
    """
    b, inverse, onesided = c.b, c.attr("inverse"), c.attr("onesided")
    rank = rank_of(c, x)
    at: V = b.const(-2) if axis is None else axis
    n = _length(b, c.y if not onesided or inverse else x, at) if length is None else length
    n = b.Reshape(b.cast(n, 7), [])
    scale = b.cast(n, x.dtype)
    if not inverse:
        dx = b.DFT(c.dy, n, at, inverse=1) * scale
        dx = b.Slice(dx, [0], b.dim(x, -1), [-1])
    elif not onesided:
        dx = b.Slice(b.DFT(c.dy, n, at), [0], b.dim(x, -1), [-1]) / scale
    else:
        bins = b.Range(b.const(0), n / 2 + 1, b.const(1))
        single = b.Or(b.Equal(bins, 0), b.Equal(bins * 2, n))
        twice = b.Where(single, b.const(1.0, x.dtype), b.const(2.0, x.dtype))
        along = b.Equal(b.Mod(at, rank), b.ints(range(rank)))
        weights = b.Reshape(twice, b.Where(along, b.const(-1), b.const(1)))
        dx = b.DFT(c.dy, n, at, onesided=1) * weights / scale
    return named_like(_fit(b, dx, x, at), x)


def _length(b: Builder, x: ir.Value, axis: V) -> V:
    """The size of an axis of `x`, which may be known at run time only."""
    known = constant_of(axis)
    if known is not None:
        return b.dim(x, int(known.reshape(())))
    return b.Gather(b.Shape(x), axis, axis=0)


def _fit(b: Builder, dx: V, x: V, axis: V) -> V:
    """`dx` cut or padded with zeros to the length of `x` along an axis."""
    if static_dims(dx) is not None and static_dims(dx) == static_dims(x):
        return dx
    more = b.Reshape(_length(b, x, axis) - _length(b, dx, axis), [1])
    return b.Pad(dx, b.Concat(b.ints([0]), more, axis=0), None, b.Reshape(b.cast(axis, 7), [1]))


@vjp("STFT")
def stft(c: Vjp, x: V, step: V, window: V = None, length: V = None) -> Result:
    """g = n F^-1 dy by frames: dsignal = g window added up, dwindow = sum of g signal."""
    b = c.b
    n: V = length
    if length is None:
        n = b.dim(x, 1) if window is None else b.dim(window, 0)
    n = b.Reshape(b.cast(n, 7), [])
    frames = b.Reshape(b.dim(c.y, 1), [])
    starts = b.Range(b.const(0), frames, b.const(1)) * b.Reshape(b.cast(step, 7), [])
    places = b.Unsqueeze(starts, [1]) + b.Unsqueeze(b.Range(b.const(0), n, b.const(1)), [0])
    g = b.DFT(c.dy, n, b.const(2), inverse=1) * b.cast(n, x.dtype)
    g = b.Slice(g, [0], b.dim(x, 2), [3])

    def dsignal() -> V:
        weighted = g if window is None else g * b.Unsqueeze(window, [1])
        return named_like(c.grad("GatherGrad", weighted, places, b.shape(x), axis=1), x)

    def dwindow() -> V:
        return b.ReduceSum(g * b.Gather(x, places, axis=1), [0, 1, 3], keepdims=0)

    return dsignal, None, dwindow
