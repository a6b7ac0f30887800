"""Batching of what works along axes: reductions, running sums, softmax, sorting."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching

V = Any  # An ir.Value under `arithmetic`.


@batching(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def reduce(c: Batch) -> V:
    """The same axes, one further right; "all" becomes all but the batch."""
    if not c.only(0):
        return NotImplemented
    x, rank = c.value(0), c.rank(0)
    if rank == 0:
        return c.emit(c.b.Unsqueeze(x, [1]), c.b.ints([1]), keepdims=0, noop_with_empty_axes=0)
    known = None if c.operand(1) is None else c.ints(1)
    if c.operand(1) is None or known == []:
        if c.attr("noop_with_empty_axes"):
            return c.emit(x, c.value(1))
        return c.emit(x, c.b.ints(list(range(1, rank + 1))))
    if known is None and not c.attr("noop_with_empty_axes"):
        length = c.value(1).shape
        if length is None or not isinstance(length[0], int):
            return NotImplemented  # The axes may be none at all, which means all.
    return c.emit(x, c.axes(1))


@batching("ArgMax", "ArgMin", "Softmax", "LogSoftmax", "Hardmax", "LpNormalization")
def along(c: Batch) -> V:
    """An axis given as attribute."""
    rank = c.rank(0)
    if rank == 0:
        x = c.b.Unsqueeze(c.value(0), [1])
        y = c.emit(x, axis=1)
        arg = c.node.op_type.startswith("Arg") and not c.attr("keepdims")
        return y if arg else c.b.Squeeze(y, [1])
    return c.emit(c.value(0), axis=c.axis(c.attr("axis")))


@batching("SoftmaxGrad", "LogSoftmaxGrad", domain="toolkit.grad")
def softmax_grad(c: Batch) -> V:
    """Both operands have the shape of x."""
    return c.emit(c.full(0), c.full(1), axis=c.axis(c.attr("axis", -1)))


@batching("CumMax", "CumMin", "CumLogSumExp", domain="toolkit.nn")
def running_extreme(c: Batch) -> V:
    """An axis given as attribute."""
    return c.emit(c.value(0), axis=c.axis(c.attr("axis", -1)))


@batching("CumSum", "CumProd")
def running(c: Batch) -> V:
    """An axis given as input."""
    return c.emit(c.value(0), c.b.Squeeze(_axes(c), [0])) if c.only(0) else NotImplemented


def _axes(c: Batch) -> V:
    known = c.ints(1)
    if known is not None:
        return c.b.ints([c.axis(known[0])])
    flat = c.b.Reshape(c.b.cast(c.value(1), 7), [1])
    return c.b.Where(c.b.Less(flat, 0), flat, flat + 1)


@batching("TopK")
def top_k(c: Batch) -> V:
    """The k largest along an axis."""
    if not c.only(0):
        return NotImplemented
    return c.emit(c.value(0), c.value(1), axis=c.axis(c.attr("axis", -1)))


@batching("MeanVarianceNormalization")
def mean_variance(c: Batch) -> V:
    """Axes given as attribute."""
    return c.emit(c.value(0), axes=[c.axis(a) for a in c.attr("axes", [0, 2, 3])])


@batching("DFT")
def dft(c: Batch) -> V:
    """An axis given as input; by default the last but one, counted from the end."""
    if not c.only(0):
        return NotImplemented
    if c.operand(2) is None:
        return c.emit(c.value(0), c.value(1))
    known = c.ints(2)
    if known is None:
        return NotImplemented
    return c.emit(c.value(0), c.value(1), c.b.const(c.axis(known[0]), 7))


@batching("SumToShape", domain="toolkit.grad")
def sum_to_shape(c: Batch) -> V:
    """The shape of one example, widened to the rank of dy and the batch in front."""
    b = c.b
    shape = c.operand(1)
    assert shape is not None
    length = shape.inner.shape
    if not c.only(0) or length is None or not isinstance(length[0], int):
        return NotImplemented
    missing = c.rank(0) - length[0]
    target = c.vector(c.count, *[1] * missing, shape.value)
    y = c.emit(c.value(0), target)
    return b.Reshape(y, c.vector(c.count, shape.value), allowzero=1) if missing else y
