"""Distinct elements, and places in sorted sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import FLOATS
from toolkit._tensor.factories import as_tensor, cat, ones
from toolkit._tensor.promote import cast, result_code
from toolkit._tensor.shapes import normalize_dim
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply_many, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements (or, with `dim`, slices), in ascending order.

    Returns:
        The elements, then as asked for the place of each input element among them and how often
        each occurs.
    """
    values, _, inverse, counts = unique_parts(input, dim)
    return _chosen(values, inverse, counts, return_inverse, return_counts)


def unique_parts(input: Any, dim: int | None = None) -> tuple[Any, Any, Any, Any]:
    """Values, where each is first, the place of each element among them, and counts.

    Each NaN is one of its own, as in PyTorch; in a graph, where ONNX's Unique stands, they are one.
    """
    x = input.detach()
    if dim is None and STATE.trace is None and x._value.dtype in FLOATS and bool((x != x).any()):
        ordered, order = x.reshape(-1).sort(stable=True)
        values, place, counts = unique_consecutive(ordered, True, True)
        inverse = place.new_zeros(place.shape).scatter(0, order, place)
        return values, order[counts.cumsum(0) - counts], inverse.reshape(x.shape), counts
    axis = None if dim is None else normalize_dim(dim, x.dim())
    values, first, inverse, counts = apply_many(handle("Unique", axis=axis, sorted=1), (x,), 4)
    return values, first, inverse.reshape(x.shape) if dim is None else inverse, counts


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices) that differ from the one before."""
    x = input.detach()
    moved = x.reshape(-1) if dim is None else x.movedim(normalize_dim(dim, x.dim()), 0)
    n = moved.shape[0]
    rows = moved.reshape(n, -1) if n else moved.reshape(0, 1)
    first = ones(1, dtype=(rows == rows).dtype) if n else (rows != rows).reshape(-1)
    new = cat([first, (rows[1:] != rows[:-1]).any(1)]) if n > 1 else first
    starts = new.nonzero().reshape(-1)
    values = moved.index_select(0, starts)
    inverse = new.long().cumsum(0) - 1
    counts = cat([starts[1:], starts.new_full((1,), n)]) - starts if n else starts
    if dim is None:
        inverse = inverse.reshape(input.shape)
    else:
        values = values.movedim(0, normalize_dim(dim, x.dim()))
    return _chosen(values, inverse, counts, return_inverse, return_counts)


def _chosen(values: Any, inverse: Any, counts: Any, with_inverse: bool, with_counts: bool) -> Any:
    results = [values, *([inverse] if with_inverse else []), *([counts] if with_counts else [])]
    return results[0] if len(results) == 1 else tuple(results)


def searchsorted(
    sorted_sequence: Any,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Tensor:
    """Where each value would be inserted into the sorted last dimension, by counting.

    Args:
        sorted_sequence: (..., n), or (n) for values of any shape.
        values: (..., m), or a number.
        out_int32: int32 instead of int64.
        right: after equal elements instead of before them.
        side: "left" or "right", in place of `right`.
        sorter: indices that sort the sequence.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise InvalidArgumentError(
            "torch.searchsorted(): side and right can't be set to opposites, and side must be "
            f"'left' or 'right', got side={side!r}, right={right}."
        )
    right = right or side == "right"
    v = as_tensor(values)
    sequence = sorted_sequence if sorter is None else sorted_sequence.gather(-1, sorter)
    if sequence.dim() > 1 and tuple(sequence.shape[:-1]) != tuple(v.shape[:-1]):
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            f"dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(sequence.shape)} and input value tensor {list(v.shape)}"
        )
    code = result_code(sequence, v)
    a, b = cast(sequence, code).unsqueeze(-2), cast(v, code).unsqueeze(-1)
    if sequence.dim() == 1:
        a = a.squeeze(0)
    found = (a <= b) if right else (a < b)
    count: Any = found.sum(-1)
    return cast(count, 6) if out_int32 else count


def bucketize(
    input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The bucket of each element between ascending boundaries."""
    if boundaries.dim() != 1:
        raise ShapeError(
            f"bucketize: boundaries tensor must be 1 dimension, but got dim({boundaries.dim()})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
