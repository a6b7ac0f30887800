"""Bodies of the gradients of Gather and Slice."""

from __future__ import annotations

from typing import Any

from toolkit.graph.build import Builder, static_dims
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


@composite("toolkit.grad", "GatherGrad", "dy indices x_shape", "dx")
def gather_grad(b: Builder, a: Attributes, dy: V, indices: V, x_shape: V) -> V:
    """dy added up at the indices along axis, zeros elsewhere."""
    length = static_dims(x_shape)
    taken = len(indices.shape)
    rank = length[0] if length is not None else len(dy.shape) - taken + 1
    axis = a.get("axis", 0) % rank
    zeros = b.zeros(x_shape, dy.dtype)
    indices = b.cast(indices, 7)
    if axis == 0:
        return b.ScatterND(zeros, b.Unsqueeze(indices, [taken]), dy, reduction="add")
    shape = b.Concat(
        b.Slice(x_shape, [0], [axis]), [-1], b.Slice(x_shape, [axis + 1], [rank]), axis=0
    )
    updates = b.Reshape(dy, shape) if taken != 1 else dy
    flat = b.Reshape(indices, [-1] + [1] * (rank - axis - 1))
    places = b.Expand(flat, b.Shape(updates))
    return b.ScatterElements(zeros, places, updates, axis=axis, reduction="add")


@composite("toolkit.grad", "SliceGrad", "dy x_shape starts ends axes steps", "dx")
def slice_grad(
    b: Builder,
    a: Attributes,
    dy: V,
    x_shape: V,
    starts: V,
    ends: V,
    axes: V = None,
    steps: V = None,
) -> V:
    """dy where Slice took it from, zeros elsewhere; without steps, by padding dy."""
    if steps is not None:
        size = b.ReduceProd(x_shape, keepdims=0)
        positions = b.Reshape(b.Range(b.const(0), size, b.const(1)), x_shape, allowzero=1)
        taken = b.Reshape(b.Slice(positions, starts, ends, axes, steps), [-1])
        zeros = b.zeros(b.Reshape(size, [1]), dy.dtype)
        spread = b.ScatterElements(zeros, taken, b.Reshape(dy, [-1]), axis=0)
        return b.Reshape(spread, x_shape, allowzero=1)
    rank = len(dy.shape)
    starts = b.cast(starts, 7)
    if axes is None:
        count = static_dims(starts)
        axes = (
            b.Range(b.const(0), b.Size(starts), b.const(1))
            if count is None
            else b.ints(range(count[0]))
        )
    axes = b.cast(axes, 7)
    dims = b.Gather(x_shape, axes, axis=0)
    begin = b.Where(b.Less(starts, 0), starts + dims, starts)
    begin = b.Min(b.Max(begin, 0), dims)
    begins = b.ScatterElements(b.ints([0] * rank), axes, begin, axis=0)
    return b.Pad(dy, b.Concat(begins, x_shape - begins - b.Shape(dy), axis=0))
