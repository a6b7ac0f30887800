"""Rewrites of operators that look for extreme elements."""

from __future__ import annotations

from typing import Any

from toolkit.graph.targets.registry import Call, rewrite
from toolkit.graph.targets.web.indexing import places

V = Any  # An ir.Value under `arithmetic`.

INT32, INT64 = 6, 7
FAR = 2**30  # Behind every place.


@rewrite("ortweb", "ArgMax", "ArgMin")
def arg_extreme(c: Call, x: V) -> V:
    """The first (or last) place along the axis that holds the largest element."""
    b = c.b
    rank = c.rank(x)
    axis = c.attr("axis", 0) % max(rank, 1)
    reduce = b.ReduceMax if c.node.op_type == "ArgMax" else b.ReduceMin
    hit = b.Equal(x, reduce(x, [axis], keepdims=1))
    row = b.Reshape(places(c, b.dim(x, axis), b.const(0)), [-1] + [1] * (rank - axis - 1))
    keep = c.attr("keepdims", 1)
    if c.attr("select_last_index", 0):
        return b.ReduceMax(b.Where(hit, row, -1), [axis], keepdims=keep)
    return b.ReduceMin(b.Where(hit, row, FAR), [axis], keepdims=keep)


@rewrite("ortweb", "CumSum")
def running_sum(c: Call, x: V, axis: V) -> V:
    """Each place sums the elements before it: a product with a triangle of ones."""
    b = c.b
    if not x.dtype.is_floating_point():
        raise c.refuse("a CumSum of floats is required")
    rank = c.rank(x)
    at = int(c.constant(axis, "axis").item()) % rank
    order = [i for i in range(rank) if i != at] + [at]
    row = places(c, b.dim(x, at), b.const(0))
    source, place = b.Unsqueeze(row, [1]), row
    if c.attr("reverse", 0):
        source, place = place, source
    compare = b.Less if c.attr("exclusive", 0) else b.LessOrEqual
    triangle = b.cast(compare(source, place), x.dtype)
    moved = x if at == rank - 1 else b.Transpose(x, perm=order)
    summed = b.MatMul(moved, triangle)
    back = [order.index(i) for i in range(rank)]
    return summed if at == rank - 1 else b.Transpose(summed, perm=back)


@rewrite("ortweb", "TopK")
def top_k(c: Call, x: V, k: V) -> Any:
    """By rank: an element's place is the number of elements before it, the first of equals first.

    Along an axis of n elements it compares n^2 pairs.
    """
    b = c.b
    rank = c.rank(x)
    axis = c.attr("axis", -1) % rank
    order = [i for i in range(rank) if i != axis] + [axis]
    back = [order.index(i) for i in range(rank)]
    if axis != rank - 1:
        x = b.Transpose(x, perm=order)
    row = places(c, b.dim(x, -1), b.const(0))
    mine, theirs = b.Unsqueeze(x, [rank]), b.Unsqueeze(x, [rank - 1])  # (…, n, 1), (…, 1, n)
    ahead = b.Greater(theirs, mine) if c.attr("largest", 1) else b.Less(theirs, mine)
    earlier = b.Less(row, b.Unsqueeze(row, [1]))
    ahead = b.Where(b.Equal(theirs, mine), b.cast(earlier, INT32), b.cast(ahead, INT32))
    place = b.ReduceSum(ahead, [rank], keepdims=0)
    wanted = b.Unsqueeze(b.cast(places(c, k, b.const(0)), INT32), [1])
    chosen = b.Equal(b.Unsqueeze(place, [rank - 1]), wanted)  # (…, k, n)
    values = b.ReduceSum(b.Where(chosen, theirs, b.const(0, x.dtype)), [rank], keepdims=0)
    indices = b.ReduceSum(b.Where(chosen, row, b.const(0)), [rank], keepdims=0)
    if axis != rank - 1:
        values, indices = b.Transpose(values, perm=back), b.Transpose(indices, perm=back)
    return values, indices


@rewrite("ortweb", "Hardmax")
def hardmax(c: Call, x: V) -> V:
    """1 at the first largest element along the axis, else 0."""
    b, rank = c.b, c.rank(x)
    axis = c.attr("axis", -1) % rank
    row = b.Reshape(places(c, b.dim(x, axis), b.const(0)), [-1] + [1] * (rank - axis - 1))
    return b.cast(b.Equal(b.ArgMax(x, axis=axis), row), x.dtype)
