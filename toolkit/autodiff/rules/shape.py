"""Gradients of operators that move, copy or drop elements without computing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.autodiff.registry import Result, Vjp, linear, vjp
from toolkit.autodiff.rules._common import (
    constant_ints,
    dims_vector,
    named_like,
    rank_of,
    reshape_like,
    zeros_like,
)

V = Any  # An ir.Value under `arithmetic`.


@vjp("Range")
def range_(c: Vjp, start: V, limit: V, delta: V) -> Result:
    """y_i = start + i delta: dstart = sum of dy, ddelta = sum of i dy; limit counts only."""
    b = c.b

    def ddelta() -> V:
        steps = b.Range(b.const(0), b.Squeeze(b.dim(c.y, 0), [0]), b.const(1))
        return b.ReduceSum(c.dy * b.cast(steps, c.dy.dtype), keepdims=0)

    return lambda: b.ReduceSum(c.dy, keepdims=0), None, ddelta


@vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(c: Vjp, x: V, *rest: V) -> V:
    """dx = dy in the shape of x."""
    return reshape_like(c.b, c.dy, x)


@vjp("Transpose")
def transpose(c: Vjp, x: V) -> V:
    """dx = dy with the inverse permutation."""
    perm = c.attr("perm")
    return c.b.Transpose(c.dy, perm=None if perm is None else [int(i) for i in np.argsort(perm)])


@vjp("Expand", broadcasts=True)
def expand(c: Vjp, x: V, shape: V) -> Result:
    """dx = dy summed over the new and the repeated axes, by the walk."""
    return c.dy, None


@vjp("Concat")
def concat(c: Vjp, *xs: V) -> Result:
    """dx_i = the part of dy where x_i went."""
    b, axis = c.b, c.attr("axis")
    if len(xs) == 1:
        return (c.dy,)
    sizes = dims_vector(b, [b.dim(x, axis) for x in xs])
    parts = b.call("", "Split", [c.dy, sizes], {"axis": axis}, len(xs))
    return tuple(named_like(part, x) for part, x in zip(parts, xs, strict=True))


@vjp("Split", all_outputs=True)
def split(c: Vjp, x: V, sizes: V = None) -> Result:
    """dx = the parts' cotangents side by side, zeros for a part without one."""
    b = c.b
    parts = [
        zeros_like(b, y) if dy is None else dy
        for y, dy in zip(c.outputs, c.cotangents, strict=True)
    ]
    return b.Concat(*parts, axis=c.attr("axis", 0)) if len(parts) > 1 else parts[0], None


@vjp("Slice")
def slice_(c: Vjp, x: V, starts: V, ends: V, axes: V = None, steps: V = None) -> V:
    """dx = dy put back in its place among zeros: toolkit.grad.SliceGrad; flipped axes again."""
    least = np.iinfo(np.int64).min
    known = [constant_ints(v) for v in (starts, ends, steps)]
    if all(v and set(v) == {k} for v, k in zip(known, (-1, least, -1), strict=True)):
        return named_like(c.b.Slice(c.dy, starts, ends, axes, steps), x)
    if known[2] and set(known[2]) == {1}:
        steps = None
    return named_like(c.grad("SliceGrad", c.dy, c.b.shape(x), starts, ends, axes, steps), x)


@vjp("Pad")
def pad(c: Vjp, x: V, pads: V, value: V = None, axes: V = None) -> Result:
    """dx = dy cropped, plus in modes other than constant what the copies received.

    dvalue = the sum of dy over the padding.
    """
    b = c.b
    if constant_ints(pads) == []:
        return c.dy, None, None
    if c.attr("mode") == "constant":
        inner = b.Pad(c.dy, b.Neg(pads), None, axes)
        return named_like(inner, x), None, lambda: _pad_value(c, inner, pads, axes)
    flat = b.Reshape(b.Range(b.const(0), b.Size(x), b.const(1)), b.shape(x), allowzero=1)
    source = b.Pad(flat, pads, None, axes, mode=c.attr("mode"))
    size = b.Reshape(b.Size(x), [1])
    summed = c.grad("GatherGrad", b.Reshape(c.dy, [-1]), b.Reshape(source, [-1]), size, axis=0)
    return reshape_like(b, summed, x)  # type: ignore[no-any-return]


def _pad_value(c: Vjp, inner: V, pads: V, axes: V) -> V:
    """The sum of dy where the output is padding: all of it less what is inside."""
    b, x = c.b, c.inputs[0]
    assert x is not None
    ones = b.full(b.shape(x), 1, ir.DataType.FLOAT)
    inside = b.Pad(ones, pads, None, axes)
    return b.ReduceSum(b.Where(b.Greater(inside, 0.5), 0.0, c.dy), keepdims=0)


@vjp("Tile")
def tile(c: Vjp, x: V, repeats: V) -> V:
    """dx = dy summed over the copies: reshape to (r1, d1, r2, d2, …) and sum the r."""
    b, rank = c.b, rank_of(c, x)
    known = constant_ints(repeats)
    parts: list[V | int] = []
    for i in range(rank):
        parts.append(b.Slice(repeats, [i], [i + 1]) if known is None else known[i])
        parts.append(b.dim(x, i))
    folded = b.Reshape(c.dy, dims_vector(b, parts), allowzero=1)
    return named_like(b.ReduceSum(folded, list(range(0, 2 * rank, 2)), keepdims=0), x)


@vjp("DepthToSpace")
def depth_to_space(c: Vjp, x: V) -> V:
    """dx = the inverse permutation of dy."""
    b, s = c.b, c.attr("blocksize")
    if c.attr("mode") == "DCR":
        return b.SpaceToDepth(c.dy, blocksize=s)
    n, depth, h, w = (b.dim(x, i) for i in range(4))
    channels = b.Div(depth, s * s)
    split = b.Reshape(c.dy, dims_vector(b, [n, channels, h, s, w, s]), allowzero=1)
    return reshape_like(b, b.Transpose(split, perm=[0, 1, 3, 5, 2, 4]), x)


linear("Trilu", lambda c: c.b.Trilu(c.dy, c.input(1), upper=c.attr("upper")))
linear(
    "SpaceToDepth",
    lambda c: c.b.DepthToSpace(c.dy, blocksize=c.attr("blocksize"), mode=c.attr("mode", "DCR")),
)
linear(
    "ReverseSequence",
    lambda c: c.b.ReverseSequence(
        c.dy, c.input(1), batch_axis=c.attr("batch_axis"), time_axis=c.attr("time_axis")
    ),
)
