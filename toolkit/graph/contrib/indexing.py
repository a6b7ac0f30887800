"""Gradients of what takes elements out, and the training variants of Concat and Split."""

from __future__ import annotations

from typing import Any

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("GatherGrad")
def gather_grad(c: Call, shape: V, indices: V, dy: V) -> V:
    """dy added up at the indices along axis."""
    return c.grad("GatherGrad", dy, indices, shape, axis=c.attr("axis", 0))


@contrib("GatherElementsGrad")
def gather_elements_grad(c: Call, dy: V, shape: V, indices: V) -> V:
    """dy added up at the indices along axis."""
    b = c.b
    zeros = b.zeros(shape, dy.dtype)
    return b.ScatterElements(zeros, indices, dy, axis=c.attr("axis", 0), reduction="add")


@contrib("GatherNDGrad")
def gather_nd_grad(c: Call, shape: V, indices: V, dy: V) -> V:
    """dy added up at the indices, which are those of a batch with batch_dims."""
    b, batch = c.b, c.attr("batch_dims", 0)
    zeros = b.zeros(shape, dy.dtype)
    if batch:  # Places in the whole tensor: each batch dimension's own index before.
        lead, ones = b.Shape(indices, end=-1), [1] * (c.rank(indices) - 1)
        own = []
        for i in range(batch):
            length = b.Squeeze(b.dim(indices, i), [0])
            along = b.Reshape(
                b.Range(b.const(0), length, b.const(1)), [*ones[:i], -1, *ones[i + 1 :], 1]
            )
            own.append(b.Expand(along, b.Concat(lead, [1], axis=0)))
        indices = b.Concat(*own, indices, axis=-1)
    return b.ScatterND(zeros, indices, dy, reduction="add")


@contrib("SliceGrad")
def slice_grad(c: Call, dy: V, shape: V, starts: V, ends: V, axes: V = None, steps: V = None) -> V:
    """dy where Slice took it from, zeros elsewhere."""
    return c.grad("SliceGrad", dy, shape, starts, ends, axes, steps)


@contrib("ConcatTraining")
def concat_training(c: Call, *inputs: V) -> tuple[V, ...]:
    """Concat, and the length of each input along axis."""
    b, axis = c.b, c.attr("axis", 0)
    joined = b.Concat(*inputs, axis=axis)
    if not c.wants(1):
        return (joined,)
    return joined, b.Concat(*(b.dim(x, axis) for x in inputs), axis=0)


@contrib("SplitTraining")
def split_training(c: Call, x: V, lengths: V) -> tuple[V, ...]:
    """Split by lengths that are an input."""
    count = len(c.node.outputs)
    parts = c.b.Split(x, lengths, axis=c.attr("axis", 0), _outputs=count)
    return tuple(parts) if count > 1 else (parts,)


@contrib("ShrunkenGather")
def shrunken_gather(c: Call, x: V, indices: V) -> V:
    """Gather."""
    return c.b.Gather(x, indices, axis=c.attr("axis", 0))


@contrib("Trilu")
def trilu(c: Call, x: V, k: V = None) -> V:
    """ONNX's Trilu, from before opset 14."""
    return c.b.Trilu(x, k, upper=c.attr("upper", 1))
