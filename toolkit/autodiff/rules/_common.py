"""Shape arithmetic that several families of rules share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Vjp
from toolkit.errors import ShapeError
from toolkit.graph.build import Builder, constant_of, known_dims, static_dims

V = Any  # An ir.Value under `arithmetic`.


def reshape_like(b: Builder, dy: V, x: ir.Value) -> V:
    """`dy` in the shape of `x`."""
    if static_dims(dy) is not None and static_dims(dy) == static_dims(x):
        return dy
    dims = known_dims(x)
    if dims is not None and 0 not in dims and sum(not isinstance(d, int) for d in dims) <= 1:
        target = [d if isinstance(d, int) else -1 for d in dims]
        return named_like(b.Reshape(dy, target), x)
    return named_like(b.Reshape(dy, b.shape(x), allowzero=1), x)


def named_like(dy: V, x: ir.Value) -> V:
    """`dy`, noted to have the shape of `x`."""
    if x.shape is not None:
        dy.shape = ir.Shape(x.shape.dims)
    return dy


def zeros_like(b: Builder, x: ir.Value, dtype: ir.DataType | None = None) -> V:
    """Zeros in the shape of `x`."""
    kind = dtype or x.dtype
    assert kind is not None
    return named_like(b.zeros(b.shape(x), kind), x)


def rank_of(c: Vjp, x: ir.Value) -> int:
    """The rank of `x`.

    Raises:
        ShapeError: it is unknown.
    """
    if x.shape is None:
        raise ShapeError(
            f"{c.node.op_type} '{c.node.name}': its gradient requires the rank of {x.name!r}, got "
            "an unknown one. Give the graph's inputs shapes; a dimension may be symbolic."
        )
    return len(x.shape)


def count(b: Builder, x: V, y: V, dtype: ir.DataType) -> V:
    """How many elements of `x` went into each element of `y`, as a scalar of `dtype`."""
    whole, part = static_dims(x), static_dims(y)
    if whole is not None and part is not None:
        return b.const(math.prod(whole) // max(math.prod(part), 1), dtype)
    return b.Cast(b.Div(b.Size(x), b.Max(b.Size(y), 1)), to=int(dtype))


def swap_last(b: Builder, x: V, rank: int) -> V:
    """`x` with its last two axes exchanged."""
    return b.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def dims_vector(b: Builder, parts: Sequence[V | int]) -> V:
    """An int64 vector from numbers and vectors of length 1."""
    if all(isinstance(p, int) for p in parts):
        return b.ints(list(parts))
    return b.Concat(*(b.ints([p]) if isinstance(p, int) else p for p in parts), axis=0)


def constant_ints(x: ir.Value | None) -> list[int] | None:
    """The numbers of a constant integer tensor."""
    array = constant_of(x)
    return None if array is None else [int(i) for i in array.reshape(-1)]
