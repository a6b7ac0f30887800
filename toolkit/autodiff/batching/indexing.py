"""Batching of gathering and scattering."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching

V = Any  # An ir.Value under `arithmetic`.


@batching("Gather")
def gather(c: Batch) -> V:
    """Indices shared, or of each example by GatherND."""
    b, rank = c.b, c.rank(0)
    axis = c.attr("axis") % rank
    taken = c.rank(1)
    if not c.batched(1):
        return c.emit(c.value(0), c.value(1), axis=axis + 1)
    if not c.batched(0):
        y = c.emit(c.value(0), c.value(1), axis=axis)
        total = rank - 1 + taken + 1
        rest = [i for i in range(total) if i != axis]
        return b.Transpose(y, perm=[axis, *rest]) if axis else y
    x = c.value(0)
    if axis:
        x = b.Transpose(x, perm=[0, axis + 1, *(i for i in range(1, rank + 1) if i != axis + 1)])
    places = b.Unsqueeze(b.cast(c.value(1), 7), [-1])
    y = b.GatherND(x, places, batch_dims=1)  # (B, indices, the other axes)
    if not axis:
        return y
    before = list(range(1 + taken, 1 + taken + axis))
    after = list(range(1 + taken + axis, taken + rank))
    return b.Transpose(y, perm=[0, *before, *range(1, 1 + taken), *after])


@batching("GatherGrad", domain="toolkit.grad")
def gather_grad(c: Batch) -> V:
    """Indices shared: the same one axis further right."""
    if not c.only(0):
        return NotImplemented
    operand = c.operand(2)
    assert operand is not None
    length = operand.inner.shape
    axis = c.attr("axis", 0)
    if axis < 0 and length is not None and isinstance(length[0], int):
        axis %= length[0]
    return c.emit(c.value(0), c.value(1), c.vector(c.count, c.value(2)), axis=c.axis(axis))


@batching("GatherElements")
def gather_elements(c: Batch) -> V:
    """Both operands batched."""
    return c.emit(c.full(0), c.full(1), axis=c.axis(c.attr("axis", 0)))


@batching("ScatterElements")
def scatter_elements(c: Batch) -> V:
    """All operands batched."""
    return c.emit(c.full(0), c.full(1), c.full(2), axis=c.axis(c.attr("axis", 0)))


@batching("GatherND")
def gather_nd(c: Batch) -> V:
    """One more batch dimension; a shared tensor is read as it is."""
    dims = c.attr("batch_dims", 0)
    if not c.batched(0) and not dims:
        return c.emit(c.value(0), c.value(1))
    return c.emit(c.full(0), c.full(1), batch_dims=dims + 1)


@batching("ScatterND")
def scatter_nd(c: Batch) -> V:
    """The example's number in front of each index."""
    b, rank = c.b, c.rank(1)
    places = c.full(1)
    numbers = b.Range(b.const(0), b.Squeeze(c.count, [0]), b.const(1))
    column = b.Reshape(numbers, [-1, *[1] * rank])
    column = b.Expand(column, c.vector(c.dims(places, 0, rank), 1))
    return c.emit(c.full(0), b.Concat(column, places, axis=-1), c.full(2))
