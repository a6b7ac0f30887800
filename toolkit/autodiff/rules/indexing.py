"""Gradients of gathers and scatters: each is the other's transpose."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Result, Vjp, not_differentiable, vjp
from toolkit.autodiff.rules._common import named_like, rank_of, zeros_like

V = Any  # An ir.Value under `arithmetic`.

not_differentiable("Unique", reason="Its gradient is not defined for repeated elements.")


@vjp("Gather")
def gather(c: Vjp, x: V, indices: V) -> V:
    """dx = dy added up where it was taken from: toolkit.grad.GatherGrad."""
    return named_like(c.grad("GatherGrad", c.dy, indices, c.b.shape(x), axis=c.attr("axis")), x)


@vjp("GatherElements")
def gather_elements(c: Vjp, x: V, indices: V) -> V:
    """dx = dy added up where it was taken from."""
    zeros = zeros_like(c.b, x)
    return c.b.ScatterElements(zeros, indices, c.dy, axis=c.attr("axis"), reduction="add")


@vjp("GatherND")
def gather_nd(c: Vjp, x: V, indices: V) -> V:
    """dx = dy added up where it was taken from; batch axes become leading indices."""
    b, batch = c.b, c.attr("batch_dims")
    if batch:
        rank = rank_of(c, indices)
        lead = b.Concat(b.Shape(indices, end=-1), [1], axis=0)
        columns = []
        for axis in range(batch):
            n = b.Squeeze(b.dim(indices, axis), [0])
            steps = b.Range(b.const(0), n, b.const(1))
            shape = [-1 if i == axis else 1 for i in range(rank)]
            columns.append(b.Expand(b.Reshape(steps, shape), lead))
        indices = b.Concat(*columns, indices, axis=-1)
    return b.ScatterND(zeros_like(b, x), indices, c.dy, reduction="add")


@vjp("ScatterElements")
def scatter_elements(c: Vjp, x: V, indices: V, updates: V) -> Result:
    """Reduction none: dx = dy with zeros at the indices; add: dx = dy. dupdates = dy gathered."""
    b, axis = c.b, c.attr("axis")
    if c.attr("reduction") not in ("none", "add"):
        return _scatter_extremum(c, x, indices, updates)

    def dx() -> V:
        if c.attr("reduction") == "add":
            return c.dy
        return b.ScatterElements(c.dy, indices, zeros_like(b, updates), axis=axis)

    return dx, None, lambda: b.GatherElements(c.dy, indices, axis=axis)


@vjp("ScatterND")
def scatter_nd(c: Vjp, x: V, indices: V, updates: V) -> Result:
    """Reduction none: dx = dy with zeros at the indices; add: dx = dy. dupdates = dy gathered."""
    b = c.b
    if c.attr("reduction") not in ("none", "add"):
        return _scatter_extremum(c, x, indices, updates)

    def dx() -> V:
        if c.attr("reduction") == "add":
            return c.dy
        return b.ScatterND(c.dy, indices, zeros_like(b, updates))

    return dx, None, lambda: b.GatherND(c.dy, indices)


def _scatter_extremum(c: Vjp, x: V, indices: V, updates: V) -> Result:
    """Reduction max or min: elements equal to the result share its cotangent.

    Reduction mul: d = dy times the product of the other factors, for factors other than zero.
    """
    b, nd = c.b, c.node.op_type == "ScatterND"
    axis = c.attr("axis")

    def take(v: V) -> V:
        return b.GatherND(v, indices) if nd else b.GatherElements(v, indices, axis=axis)

    def put(v: V, w: V) -> V:
        if nd:
            return b.ScatterND(v, indices, w, reduction="add")
        return b.ScatterElements(v, indices, w, axis=axis, reduction="add")

    if c.attr("reduction") == "mul":
        return lambda: c.dy * c.y / x, None, lambda: take(c.dy * c.y) / updates
    hit = b.cast(b.Equal(x, c.y), x.dtype)
    update_hit = b.cast(b.Equal(updates, take(c.y)), x.dtype)
    share = c.dy / put(hit, update_hit)
    return lambda: share * hit, None, lambda: take(share) * update_hit


@vjp("TensorScatter")
def tensor_scatter(c: Vjp, x: V, update: V, first: V = None) -> Result:
    """dx = dy with zeros where the update went; dupdate = dy gathered from there."""
    b, rank = c.b, rank_of(c, x)
    axis = c.attr("axis") % rank

    def dupdate() -> V:
        length = b.Reshape(b.dim(update, axis), [])
        places = b.Range(b.const(0), length, b.const(1))
        others = [i for i in range(rank) if i != axis]
        if first is not None:
            places = b.Mod(places + b.Unsqueeze(first, [1]), b.dim(x, axis))
            others.remove(0)
        places = b.Expand(b.Unsqueeze(places, others), b.shape(update))
        return named_like(b.GatherElements(c.dy, places, axis=axis), update)

    attributes = {"axis": axis, "mode": c.attr("mode")}
    return lambda: b.TensorScatter(c.dy, zeros_like(b, update), first, **attributes), dupdate


@vjp("TopK")
def topk(c: Vjp, x: V, k: V) -> V:
    """dx = dy of the values put back at their indices, zeros elsewhere."""
    return c.b.ScatterElements(zeros_like(c.b, x), c.outputs[1], c.dy, axis=c.attr("axis"))


@vjp("OneHot")
def one_hot(c: Vjp, indices: V, depth: V, values: V) -> Result:
    """dvalues = (sum of dy where cold, sum of dy where hot)."""
    b = c.b

    def dvalues() -> V:
        hot = b.OneHot(indices, depth, b.const([0, 1], values.dtype), axis=c.attr("axis"))
        on = b.ReduceSum(c.dy * hot, keepdims=0)
        off = b.ReduceSum(c.dy * (1.0 - hot), keepdims=0)
        return b.Concat(b.Reshape(off, [1]), b.Reshape(on, [1]), axis=0)

    return None, None, dvalues


@vjp("Compress")
def compress(c: Vjp, x: V, condition: V) -> V:
    """dx = dy put back where the condition holds."""
    b, axis = c.b, c.attr("axis")
    chosen = b.Reshape(b.NonZero(condition), [-1])
    if axis is None:
        size = b.Reshape(b.Size(x), [1])
        flat = c.grad("GatherGrad", c.dy, chosen, size, axis=0)
        return named_like(b.Reshape(flat, b.shape(x), allowzero=1), x)
    return named_like(c.grad("GatherGrad", c.dy, chosen, b.shape(x), axis=axis), x)
