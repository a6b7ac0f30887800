"""Rewrites of operators that place and pick elements, by comparing places with indices.

What has n places and m indices takes n m comparisons: memory for speed where a GPU has no scatter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.graph.build import static_dims
from toolkit.graph.targets.registry import Call, rewrite

V = Any  # An ir.Value under `arithmetic`.

INT32, INT64 = 6, 7


def places(c: Call, count: V, like: V) -> V:
    """0, 1, ..., count - 1 in the type of `like`; `count` is an int64 vector of length 1."""
    b = c.b
    last = b.cast(b.Squeeze(count, [0]), like.dtype)
    return b.Range(b.const(0, like.dtype), last, b.const(1, like.dtype))


def wrapped(c: Call, indices: V, count: V) -> V:
    """Indices counted from the front; `count` is a vector of length 1."""
    size = c.b.cast(c.b.Squeeze(count, [0]), indices.dtype)
    return c.b.Where(c.b.Less(indices, 0), indices + size, indices)


def zero(c: Call, like: V) -> V:
    """A scalar zero."""
    return c.b.const(0, like.dtype)


@rewrite("ortweb", "ConstantOfShape")
def constant_of_shape(c: Call, shape: V) -> V:
    """Expand(value, shape)."""
    value = c.attr("value")
    array = np.zeros(1, np.float32) if value is None else value.numpy()
    return c.b.Expand(c.b.const(array.reshape(())), shape)


@rewrite("ortweb", "EyeLike")
def eye_like(c: Call, x: V) -> V:
    """1 where column - row = k."""
    b = c.b
    to = c.attr("dtype") or int(x.dtype)
    like = b.const(0, INT32)
    rows = b.Unsqueeze(places(c, b.dim(x, 0), like), [1])
    columns = places(c, b.dim(x, 1), like)
    return b.cast(b.Equal(columns - rows, c.attr("k", 0)), to)


@rewrite("ortweb", "Trilu")
def trilu(c: Call, x: V, k: V = None) -> V:
    """X where column - row >= k (upper) or <= k, else 0."""
    b = c.b
    like = b.const(0, INT32)
    rows = b.Unsqueeze(places(c, b.dim(x, -2), like), [1])
    offset = places(c, b.dim(x, -1), like) - rows
    k = b.const(0, INT32) if k is None else b.cast(k, INT32)
    inside = b.GreaterOrEqual(offset, k) if c.attr("upper") else b.LessOrEqual(offset, k)
    if int(x.dtype) == 9:
        return b.Where(inside, x, b.const(False))
    return b.Where(inside, x, zero(c, x))


@rewrite("ortweb", "OneHot")
def one_hot(c: Call, indices: V, depth: V, values: V) -> V:
    """The on-value where a place is the index, else the off-value."""
    b = c.b
    rank = c.rank(indices)
    axis = c.attr("axis", -1) % (rank + 1)
    if indices.dtype.is_floating_point():
        indices = b.cast(indices, INT32)
    depth = b.Reshape(b.cast(depth, INT64), [1])
    row = b.Reshape(places(c, depth, indices), [-1] + [1] * (rank - axis))
    hit = b.Equal(b.Unsqueeze(wrapped(c, indices, depth), [axis]), row)
    off, on = b.Gather(values, b.const(0)), b.Gather(values, b.const(1))
    return b.Where(hit, on, off)


@rewrite("ortweb", "ScatterElements")
def scatter_elements(c: Call, x: V, indices: V, updates: V) -> V:
    """Each place takes the updates whose index it is: (…, indices, places, …) compared."""
    b = c.b
    rank = c.rank(x)
    axis = c.attr("axis", 0) % rank
    size = b.dim(x, axis)
    row = b.Reshape(places(c, size, indices), [-1] + [1] * (rank - axis - 1))
    hit = b.Equal(b.Unsqueeze(wrapped(c, indices, size), [axis + 1]), row)
    others = [i for i in range(rank) if i != axis]
    have, want = b.Shape(indices), b.Shape(x)
    missing = b.Gather(want, others) - b.Gather(have, others) if others else None
    if missing is not None and _same(x, indices, others):
        missing = None
    return _combined(c, x, hit, b.Unsqueeze(updates, [axis + 1]), axis, (others, missing))


def _same(x: V, y: V, axes: list[int]) -> bool:
    a, d = static_dims(x), static_dims(y)
    return a is not None and d is not None and all(a[i] == d[i] for i in axes)


@rewrite("ortweb", "ScatterND")
def scatter_nd(c: Call, x: V, indices: V, updates: V) -> V:
    """Rows of x at flat places; sums are one matrix product with the comparison."""
    b = c.b
    flat, depth = flat_indices(c, indices, b.Shape(x))
    inner = b.Shape(x, start=depth) if depth < c.rank(x) else None
    rows = b.Reshape(x, _joined(c, inner))
    values = b.Reshape(updates, _joined(c, inner))
    hit = b.Equal(b.Unsqueeze(flat, [1]), places(c, b.dim(rows, 0), flat))  # (indices, places)
    reduction = c.attr("reduction", "none")
    if x.dtype.is_floating_point() and reduction in ("none", "add"):
        chosen = b.cast(hit, x.dtype)
        sums = b.MatMul(b.Transpose(chosen, perm=[1, 0]), values)
        if reduction == "add":
            result = rows + sums
        else:
            touched = b.ReduceSum(b.cast(hit, INT32), [0], keepdims=0)
            result = b.Where(b.Greater(b.Unsqueeze(touched, [1]), 0), sums, rows)
    else:
        spread = b.Unsqueeze(hit, [2])
        result = _combined(c, rows, spread, b.Unsqueeze(values, [1]), 0, ([], None))
    return b.Reshape(result, b.Shape(x))


def _joined(c: Call, inner: V) -> V:
    """The shape (rows, size of a row)."""
    if inner is None:
        return c.b.ints([-1, 1])
    return c.b.Concat([-1], c.b.ReduceProd(inner, keepdims=1), axis=0)


def flat_indices(c: Call, indices: V, shape: V) -> tuple[V, int]:
    """Index tuples as places in the flattened first dimensions, and their length."""
    b = c.b
    dims = indices.shape
    if dims is None or not isinstance(dims[-1], int):
        raise c.refuse(f"a known last dimension of '{indices.name}' is required")
    depth = dims[-1]
    parts = b.Reshape(indices, [-1, depth])
    flat = None
    for i in range(depth):
        size = b.cast(b.Slice(shape, [i], [i + 1]), indices.dtype)
        part = wrapped(c, b.Squeeze(b.Slice(parts, [i], [i + 1], [1]), [1]), size)
        flat = part if flat is None else flat * size + part
    return flat, depth


def _combined(c: Call, x: V, hit: V, updates: V, axis: int, rest: tuple[list[int], V]) -> V:
    """X with the updates that hit it; both have the indices along `axis` and then the places."""
    b = c.b
    others, missing = rest
    reduction = c.attr("reduction", "none")
    lowest, highest = _range_of(x)
    neutral = {"none": 0, "add": 0, "mul": 1, "max": lowest, "min": highest}[reduction]
    chosen = b.Where(hit, updates, b.const(neutral, x.dtype))
    reduce = {"mul": b.ReduceProd, "max": b.ReduceMax, "min": b.ReduceMin}.get(
        reduction, b.ReduceSum
    )
    found = reduce(chosen, [axis], keepdims=0)
    touched = b.ReduceSum(b.cast(hit, INT32), [axis], keepdims=0)
    if missing is not None:
        pads = b.Concat(b.ints([0] * len(others)), missing, axis=0)
        found = b.Pad(found, pads, b.const(neutral, x.dtype), others)
        touched = b.Pad(touched, pads, b.const(0, INT32), others)
    inside = b.Greater(touched, 0)
    if reduction == "none":
        return b.Where(inside, found, x)
    if reduction == "add":
        return x + found
    if reduction == "mul":
        return x * found
    over = b.Greater(found, x) if reduction == "max" else b.Less(found, x)
    return b.Where(over, found, x)


def _range_of(x: V) -> tuple[Any, Any]:
    kind = x.dtype.numpy()
    if x.dtype.is_floating_point():
        return np.finfo(kind).min, np.finfo(kind).max
    limits = np.iinfo(np.int32)
    return limits.min, limits.max


@rewrite("ortweb", "GatherND")
def gather_nd(c: Call, x: V, indices: V) -> V:
    """Gather of rows at flat places."""
    b = c.b
    if c.attr("batch_dims", 0):
        raise c.refuse("batch_dims=0 is required")
    flat, depth = flat_indices(c, indices, b.Shape(x))
    inner = b.Shape(x, start=depth) if depth < c.rank(x) else b.ints([])
    rows = b.Reshape(x, b.Concat([-1], inner, axis=0))
    taken = b.Gather(rows, flat, axis=0)
    outer = b.Shape(indices, end=c.rank(indices) - 1)
    return b.Reshape(taken, b.Concat(outer, inner, axis=0))


@rewrite("ortweb", "DepthToSpace")
def depth_to_space(c: Call, x: V) -> V:
    """Blocks of channels spread over space: Reshape, Transpose, Reshape."""
    b, size = c.b, c.attr("blocksize")
    n, h, w = b.dim(x, 0), b.dim(x, 2), b.dim(x, 3)
    if c.attr("mode", "DCR") == "DCR":
        shape, perm = b.Concat(n, [size, size, -1], h, w, axis=0), [0, 3, 4, 1, 5, 2]
    else:
        shape, perm = b.Concat(n, [-1, size, size], h, w, axis=0), [0, 1, 4, 2, 5, 3]
    spread = b.Transpose(b.Reshape(x, shape), perm=perm)
    return b.Reshape(spread, b.Concat(n, [-1], h * size, w * size, axis=0))


@rewrite("ortweb", "SpaceToDepth")
def space_to_depth(c: Call, x: V) -> V:
    """The inverse of DepthToSpace."""
    b, size = c.b, c.attr("blocksize")
    n, h, w = b.dim(x, 0), b.dim(x, 2) / size, b.dim(x, 3) / size
    blocks = b.Reshape(x, b.Concat(n, [-1], h, [size], w, [size], axis=0))
    perm = [0, 3, 5, 1, 2, 4] if c.attr("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    return b.Reshape(b.Transpose(blocks, perm=perm), b.Concat(n, [-1], h, w, axis=0))
