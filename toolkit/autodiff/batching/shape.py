"""Batching of operators that move elements: axes one further right, shapes with the batch."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, Same, batching, dims_of, product

V = Any  # An ir.Value under `arithmetic`.


@batching("Shape")
def shape(c: Batch) -> Same:
    """The shape of one example."""
    rank = c.rank(0)
    start = min(max(c.attr("start", 0) + (rank if c.attr("start", 0) < 0 else 0), 0), rank)
    end = c.attr("end")
    end = rank if end is None else min(max(end + (rank if end < 0 else 0), 0), rank)
    if end <= start:
        return Same(c.b.ints([]))
    return Same(c.b.Shape(c.value(0), start=start + 1, end=end + 1))


@batching("Size")
def size(c: Batch) -> Same:
    """How many elements one example has."""
    return Same(c.b.ReduceProd(c.b.Shape(c.value(0), start=1), keepdims=0))


@batching("Reshape")
def reshape(c: Batch) -> V:
    """The batch in front of the shape; a 0 still means the dimension at its place."""
    if not c.only(0):
        return NotImplemented
    known = c.ints(1)
    inner = dims_of(c.node.outputs[0]) if c.node.outputs[0].shape is not None else None
    if known is not None and -1 in known and inner is not None and product(inner) == 0:
        known = [int(d) for d in inner]
    if known is None:
        return c.emit(c.value(0), c.vector(c.count, c.value(1)))
    return c.emit(c.value(0), c.vector(c.count, *known))


@batching("Flatten")
def flatten(c: Batch) -> V:
    """Two dimensions and the batch."""
    b, x, rank = c.b, c.value(0), c.rank(0)
    axis = c.attr("axis") % rank if rank and c.attr("axis") != rank else c.attr("axis")
    rows = b.ReduceProd(b.Shape(x, start=1, end=axis + 1), [0], keepdims=1) if axis else 1
    columns = b.ReduceProd(b.Shape(x, start=axis + 1), [0], keepdims=1) if axis < rank else 1
    return b.Reshape(x, c.vector(c.count, rows, columns), allowzero=1)


@batching("Squeeze")
def squeeze(c: Batch) -> V:
    """Axes given, or all of size 1."""
    if not c.only(0):
        return NotImplemented
    if c.operand(1) is not None:
        return c.emit(c.value(0), c.axes(1))
    operand = c.operand(0)
    assert operand is not None
    inner = dims_of(operand.inner)
    if not all(isinstance(d, int) for d in inner):
        return NotImplemented
    gone = [i + 1 for i, d in enumerate(inner) if d == 1]
    return c.emit(c.value(0), c.b.ints(gone)) if gone else c.value(0)


@batching("Unsqueeze")
def unsqueeze(c: Batch) -> V:
    """Axes of the result."""
    return c.emit(c.value(0), c.axes(1)) if c.only(0) else NotImplemented


@batching("Transpose")
def transpose(c: Batch) -> V:
    """The batch stays in front."""
    perm = c.attr("perm")
    perm = list(reversed(range(c.rank(0)))) if perm is None else list(perm)
    return c.emit(c.value(0), perm=[0, *(p + 1 for p in perm)])


@batching("Concat")
def concat(c: Batch) -> V:
    """Operands that are not batched are repeated."""
    inputs = [c.full(i) for i in range(len(c.operands))]
    return c.emit(*inputs, axis=c.axis(c.attr("axis")))


@batching("Split")
def split(c: Batch) -> Any:
    """Parts along an axis."""
    if not c.only(0):
        return NotImplemented
    made = c.emit(c.value(0), c.value(1), axis=c.axis(c.attr("axis", 0)))
    return made if len(c.node.outputs) > 1 else (made,)


@batching("Slice")
def slice_(c: Batch) -> V:
    """Axes given, or the first ones."""
    return _sliced(c, 1, 0) if c.only(0) else NotImplemented


@batching("SliceGrad", domain="toolkit.grad")
def slice_grad(c: Batch) -> V:
    """The shape with the batch in front."""
    return _sliced(c, 2, 1) if c.only(0) else NotImplemented


def _sliced(c: Batch, starts: int, shapes: int) -> V:
    """Slice or its gradient, whose inputs stand one further right."""
    axes = starts + 2
    count = c.operand(starts)
    assert count is not None
    if c.operand(axes) is not None:
        moved = c.axes(axes)
    elif count.inner.shape is not None and isinstance(count.inner.shape[0], int):
        moved = c.b.cast(c.b.ints(list(range(1, count.inner.shape[0] + 1))), count.value.dtype)
    else:
        return NotImplemented
    shape = [c.vector(c.count, c.value(1))] if shapes else []
    return c.emit(
        c.value(0), *shape, c.value(starts), c.value(starts + 1), moved, c.value(axes + 1)
    )


@batching("Expand")
def expand(c: Batch) -> V:
    """Ones between the batch and what is given."""
    operand = c.operand(1)
    assert operand is not None
    length = operand.inner.shape
    if not c.only(0) or length is None or not isinstance(length[0], int):
        return NotImplemented
    rank = max(c.rank(0), length[0])
    return c.emit(c.aligned(0, rank), c.vector(*[1] * (rank + 1 - length[0]), c.value(1)))


@batching("Tile")
def tile(c: Batch) -> V:
    """The batch once."""
    return c.emit(c.value(0), c.vector(1, c.value(1))) if c.only(0) else NotImplemented


@batching("Pad")
def pad(c: Batch) -> V:
    """Axes given, or all but the batch."""
    if not c.only(0):
        return NotImplemented
    axes = c.b.ints(list(range(1, c.rank(0) + 1))) if c.operand(3) is None else c.axes(3)
    return c.emit(c.value(0), c.value(1), c.value(2), axes)


@batching("Trilu")
def trilu(c: Batch) -> V:
    """The last two axes."""
    return c.emit(c.value(0), c.value(1)) if c.only(0) else NotImplemented


@batching("EyeLike")
def eye_like(c: Batch) -> Same:
    """Only the shape and type are read."""
    return Same(c.emit(c.b.Gather(c.value(0), c.b.const(0), axis=0)))


@batching("OneHot")
def one_hot(c: Batch) -> V:
    """The new axis where it was; -1 is the last one."""
    if not c.only(0):
        return NotImplemented
    return c.emit(c.value(0), c.value(1), c.value(2), axis=c.axis(c.attr("axis")))
