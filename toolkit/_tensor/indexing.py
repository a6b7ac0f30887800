"""`x[...]` and `x[...] = v` with numpy's rules: basic indices give views, tensors pick copies."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.base import BOOL, INT64, TensorBase
from toolkit._tensor.index_parse import Plan, index_tensor, parse
from toolkit._tensor.promote import operand
from toolkit._tensor.shapes import dims, shape_operand
from toolkit._tensor.state import STATE
from toolkit._tensor.views import (
    Selected,
    Sliced,
    Squeezed,
    Unsqueezed,
    make_view,
    plain_view,
)
from toolkit.errors import DTypeError, OutOfBoundsError, ShapeError
from toolkit.ops.dispatch import apply, apply1, apply2, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

NONZERO, GATHER_ND, SCATTER_ND = handle("NonZero"), handle("GatherND"), handle("ScatterND")
ROWS = handle("Gather", axis=0)


def basic(x: Any, plan: Plan) -> Any:
    """The view that the slices, selections and new axes of a plan take."""
    out = x
    if len(plan.selected) == len(plan.axes) == 1:
        out = make_view(x, Selected(plan.selected[0], plan.starts[0]))
        plan.selected = []
    elif plan.axes:
        bounds = (tuple(plan.axes), tuple(plan.starts), tuple(plan.ends), tuple(plan.steps))
        out = make_view(out, Sliced(plan.label, *bounds))
    if plan.selected:
        out = make_view(out, Squeezed(plan.label, tuple(plan.selected)))
    if plan.inserted:
        out = make_view(out, Unsqueezed("Unsqueeze", tuple(plan.inserted)))
    return make_view(x, Squeezed("Alias", ())) if out is x else out


def _same_shape(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(
        m is n or (type(m) is int and type(n) is int and m == n) for m, n in zip(a, b, strict=True)
    )


def _slices(x: Any, items: tuple[Any, ...]) -> Any:
    """A view by slices alone, without a plan; None for any other index."""
    shape = x._value.shape
    if len(items) > len(shape):
        return None
    spans = []
    for item in items:
        if type(item) is not slice:
            return None
        spans.append((item.start, item.stop, item.step))
    view = _sliced(shape, tuple(spans), STATE.grad)
    return None if view is None else make_view(x, view)


def _rows(x: Any, index: slice) -> Any:
    """A view by one slice, as of a batch; None for what is not plain."""
    shape = x._value.shape
    if not shape or index.step not in (None, 1):
        return None
    start, stop, _ = index.indices(shape[0])
    stop = max(stop, start)
    if not start and stop == shape[0]:
        return None
    view = Sliced("Slice", (0,), (start,), (stop,), (1,))
    if x._node is not None:
        return make_view(x, view)
    if x._base is not None:
        x._sync()
    return plain_view(x, view, x._value.rows(start, stop))


@lru_cache(maxsize=1024)
def _sliced(shape: tuple[int, ...], spans: tuple[Any, ...], recorded: bool) -> Sliced | None:
    """The view; None where there is nothing to cut, or what is not plain."""
    found: list[tuple[int, int, int, int]] = []
    for axis, (start, stop, step) in enumerate(spans):
        for bound in (start, stop, step):
            if bound is not None and type(bound) is not int:
                return None
        if step is not None and step <= 0:
            return None
        n = shape[axis]
        low, high, by = slice(start, stop, step).indices(n)
        if low or by != 1 or high != n:
            found.append((axis, low, max(high, low), by))
    return Sliced("Slice", *zip(*found, strict=True)) if found else None


def get_item(x: Any, index: Any) -> Any:
    """`x[index]`."""
    if type(index) is int and (shape := x._value.shape if STATE.trace is None else dims(x)):
        n = shape[0]
        if type(n) is int:
            if 0 <= index < n:
                view = Selected(0, index)
                if x._node is None and STATE.trace is None:
                    if x._base is not None:
                        x._sync()
                    return plain_view(x, view, x._value.row(index))
                return make_view(x, view)
            if not -n <= index < n:
                raise OutOfBoundsError(
                    f"index {index} is out of bounds for dimension 0 with size {n}"
                )
            return make_view(x, Selected(0, index + n))
    if STATE.trace is None:
        if type(index) is tuple or type(index) is slice:
            found = _rows(x, index) if type(index) is slice else _slices(x, index)
            if found is not None:
                return found
        elif isinstance(index, TensorBase) and index._value.dtype == INT64 and x._value.shape:
            return apply2(ROWS, x, index)
    plan = parse(x, index)
    changed = plan.axes or plan.inserted
    picked = basic(x, plan) if changed or not plan.advanced else x
    return pick(picked, plan.advanced) if plan.advanced else picked


def _integers(advanced: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Masks as the index vectors of their true elements."""
    out: list[tuple[int, Any]] = []
    for axis, t in advanced:
        if t._value.dtype != BOOL:
            out.append((axis, t))
            continue
        places = apply1(NONZERO, t if t.dim() else t.reshape(1))
        for k in range(max(t.dim(), 1)):
            out.append((axis + k, places[k]))
    return out


def _front(x: Any, axes: list[int]) -> tuple[list[int], bool]:
    """The order that brings the indexed axes first, and whether they were adjacent."""
    rest = [d for d in range(x.dim()) if d not in axes]
    return axes + rest, axes == list(range(axes[0], axes[0] + len(axes)))


def _joint(indices: list[Any]) -> tuple[Any, int]:
    """Index tensors broadcast and joined along a last axis, as GatherND takes them."""
    rank = max(t.dim() for t in indices)
    if len(indices) == 1:
        return indices[0].unsqueeze(-1), rank
    shapes = [tuple(t.shape) for t in indices]
    known = all(type(d) is int for s in shapes for d in s)
    if any(s != shapes[0] for s in shapes) and (known or any(len(s) != rank for s in shapes)):
        try:
            common = np.broadcast_shapes(*shapes)
        except ValueError:
            raise OutOfBoundsError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                + ", ".join(str(list(s)) for s in shapes)
            ) from None
        indices = [t.expand(common) for t in indices]
    parts = [t.unsqueeze(-1) for t in indices]
    return apply(handle("Concat", axis=rank), *parts), rank


def pick(x: Any, advanced: list[tuple[int, Any]]) -> Any:
    """Elements at index tensors, by numpy's rule for where their axes go."""
    pairs = _integers(advanced)
    axes = [a for a, _ in pairs]
    if len(pairs) == 1:
        return apply2(handle("Gather", axis=axes[0]), x, pairs[0][1])
    order, adjacent = _front(x, axes)
    if order != sorted(order):
        x = apply1(handle("Transpose", perm=order), x)
    joint, rank = _joint([t for _, t in pairs])
    out = apply2(GATHER_ND, x, joint)
    if adjacent and axes[0] > 0:
        before = list(range(rank, rank + axes[0]))
        after = list(range(rank + axes[0], out.dim()))
        out = out.permute(*before, *range(rank), *after)
        out._base = None
    return out


def scatter(x: Any, advanced: list[tuple[int, Any]], value: Any, reduction: str = "none") -> Any:
    """`x` with the elements at index tensors replaced by (or added to) `value`."""
    pairs = _integers(advanced)
    axes = [a for a, _ in pairs]
    order, adjacent = _front(x, axes)
    moved = x if order == sorted(order) else apply1(handle("Transpose", perm=order), x)
    joint, _ = _joint([t for _, t in pairs])
    tail = moved.shape[len(axes) :]
    lead = tuple(joint.shape[:-1])
    front = axes[0] if adjacent else 0
    region = (*tail[:front], *lead, *tail[front:])
    value = broadcast(value, region)
    if front:
        n = len(lead)
        order_in = (*range(front, front + n), *range(front), *range(front + n, len(region)))
        value = apply1(handle("Transpose", perm=order_in), value)
    h = handle("ScatterND", reduction=None if reduction == "none" else reduction)
    out = apply(h, moved, joint, value)
    if moved is not x:
        inverse = tuple(order.index(i) for i in range(len(order)))
        out = apply1(handle("Transpose", perm=inverse), out)
    return out


def broadcast(value: Any, shape: Any) -> Any:
    """`value` at a shape that it broadcasts to; leading dimensions of size 1 may be dropped."""
    own = value.shape
    if _same_shape(own, shape):
        return value
    while len(own) > len(shape) and own[0] == 1:
        value = value.squeeze(0)
        own = value.shape
    pairs = list(zip(reversed(own), reversed(tuple(shape)), strict=False))
    if len(own) > len(shape) or any(
        type(m) is int and type(n) is int and m not in (1, n) for m, n in pairs
    ):
        raise ShapeError(
            f"shape mismatch: value tensor of shape {list(own)} cannot be broadcast to indexing "
            f"result of shape {list(shape)}"
        )
    return apply2(handle("Expand"), value, shape_operand(shape))


def set_item(x: Any, index: Any, value: Any) -> None:
    """`x[index] = value`."""
    code = x._value.dtype
    if not isinstance(value, (TensorBase, bool, int, float, np.generic)):
        from toolkit._tensor.factories import as_tensor

        value = as_tensor(value)
    value = operand(value, code)
    plan = parse(x, index)
    if len(plan.advanced) == 1 and plan.advanced[0][1]._value.dtype == BOOL and not plan.axes:
        at, mask = plan.advanced[0]
        if not isinstance(value, TensorBase) or value.numel() == 1:  # type: ignore[attr-defined]
            _fill_masked(x, mask, at, value, plan)
            return
    if not plan.advanced:
        target = basic(x, plan)
        given = _tensor_of(value)
        target._assign(broadcast(given, target.shape), given)
        return
    picked = basic(x, plan) if plan.axes or plan.inserted else x
    picked._assign(scatter(picked, plan.advanced, _tensor_of(value)))


def _tensor_of(value: Any) -> Any:
    if isinstance(value, TensorBase):
        return value
    from toolkit._tensor.base import wrap

    return wrap(value._value)


def _fill_masked(x: Any, mask: Any, at: int, value: Any, plan: Plan) -> None:
    target = basic(x, plan) if plan.inserted else x
    after = target.dim() - at - mask.dim()
    if after:
        mask = mask.reshape(*mask.shape, *(1,) * after)
    if isinstance(value, TensorBase) and value.dim():
        value = value.reshape(())  # type: ignore[attr-defined]
    target._assign(apply(handle("Where"), mask, value, target))


class Indexing(TensorBase):
    """Indexing methods."""

    __getitem__ = get_item  # Not through a method: a call is a tenth of `x[1]`.

    def __setitem__(self, index: Any, value: Any) -> None:
        set_item(self, index, value)

    def __iter__(self) -> Any:
        if not self.dim():
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))  # type: ignore[attr-defined]

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def masked_select(self, mask: Any) -> Tensor:
        """The elements where the mask holds, in one dimension."""
        if mask._value.dtype != BOOL:
            raise DTypeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype.name}")
        from toolkit._tensor.joins import broadcast_tensors

        x, on = broadcast_tensors(self, mask)
        return x.reshape(1)[on.reshape(1)] if not x.dim() else x[on]

    def nonzero(self, as_tuple: bool = False) -> Any:
        """The indices of elements that are not zero, one row each (or one vector an axis)."""
        x: Any = self if self.dim() else self.reshape(1)  # type: ignore[attr-defined]
        places = apply1(NONZERO, x)
        if as_tuple:
            return tuple(places.unbind(0))
        return (places if self.dim() else places[:0]).t().contiguous()

    def argwhere(self) -> Tensor:
        """`nonzero()`."""
        return self.nonzero()

    def index_put(self, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
        """A copy with the elements at a tuple of index tensors replaced or added to."""
        pairs = [(i, index_tensor(t)) for i, t in enumerate(indices)]
        return scatter(self, pairs, values, "add" if accumulate else "none")
