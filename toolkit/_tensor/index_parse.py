"""Reads an index expression such as `x[0, ..., 1:3, None, mask]` into a plan."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from toolkit._tensor.base import BOOL, INTS, TensorBase
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, dims
from toolkit._tensor.slices import FAR
from toolkit.errors import InvalidArgumentError, OutOfBoundsError


class Plan:
    """A parsed index: slices, axes dropped and inserted, and advanced indices by resulting axis."""

    __slots__ = ("advanced", "axes", "ends", "inserted", "label", "rank", "selected", "starts",
                 "steps")  # fmt: skip

    def __init__(self) -> None:
        self.axes: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.steps: list[int] = []
        self.selected: list[int] = []  # Axes of the tensor that an integer picks from.
        self.inserted: list[int] = []  # Axes of the result that None makes.
        self.rank = 0  # Of the result so far.
        self.advanced: list[tuple[int, Any]] = []
        self.label = "Slice"


def _is_flag(item: Any) -> bool:
    """Whether it is one bool: a mask of no axes."""
    if isinstance(item, TensorBase):
        return item._value.dtype == BOOL and item.dim() == 0
    return type(item) is bool


def _is_advanced(item: Any) -> bool:
    if isinstance(item, TensorBase):
        return item.dim() > 0 or item._value.dtype == BOOL or not _plain_int(item)
    return isinstance(item, (list, np.ndarray))


def _plain_int(item: Any) -> bool:
    from toolkit.runtime import _core

    return type(item._value) is _core.Tensor and item._value.dtype in INTS


def index_tensor(item: Any) -> Any:
    from toolkit._tensor.factories import as_tensor

    t: Any = item if isinstance(item, TensorBase) else as_tensor(item)
    code = t._value.dtype
    if code == BOOL:
        return t
    if code not in INTS:
        if t.dim() == 1 and t.shape[0] == 0:
            return cast(t, 7)
        raise OutOfBoundsError("tensors used as indices must be long, int, byte or bool tensors")
    return cast(t, 7)


def _span(item: Any) -> int:
    """How many axes an index takes: a mask as many as it has, anything else one."""
    if isinstance(item, TensorBase):
        return item.dim() if item._value.dtype == BOOL else 1
    if isinstance(item, (np.ndarray, list)):
        array = np.asarray(item)
        return array.ndim if array.dtype == bool else 1
    return 1


def parse(x: Any, index: Any) -> Plan:
    """Reads an index expression.

    Raises:
        OutOfBoundsError: too many indices, or one outside its axis.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    items = [it.tensor() if _symbolic(it) else it for it in items]
    shape = dims(x)
    used = 0
    for it in items:
        if it is None or it is Ellipsis or _is_flag(it):
            continue
        used += _span(it)
    if used > len(shape):
        if not shape:
            raise OutOfBoundsError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to "
                "a number"
            )
        raise OutOfBoundsError(f"too many indices for tensor of dimension {len(shape)}")
    dots = [i for i, it in enumerate(items) if it is Ellipsis]
    if len(dots) > 1:
        raise OutOfBoundsError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(items)
    items[at : at + 1] = [slice(None)] * (len(shape) - used)
    plan, axis = Plan(), 0
    for it in items:
        if it is None:
            plan.inserted.append(plan.rank)
            plan.rank += 1
        elif isinstance(it, slice):
            _slice(plan, axis, it, shape[axis])
            plan.rank += 1
            axis += 1
        elif _is_flag(it):
            plan.advanced.append((plan.rank, index_tensor(it).reshape(1)))
            plan.inserted.append(plan.rank)
            plan.rank += 1
        elif _is_advanced(it):
            t = index_tensor(it)
            plan.advanced.append((plan.rank, t))
            span = max(t.dim(), 0) if t._value.dtype == BOOL else 1
            if t._value.dtype == BOOL:
                for k in range(span):
                    if not _symbolic(shape[axis + k]) and t.shape[k] != shape[axis + k]:
                        raise OutOfBoundsError(
                            f"The shape of the mask {list(t.shape)} at index {k} does not match "
                            f"the shape of the indexed tensor {list(shape)} at index {axis + k}"
                        )
            plan.rank += span
            axis += span
        else:
            _select(plan, axis, it, shape[axis])
            axis += 1
    return plan


def _slice(plan: Plan, axis: int, item: slice, n: Any) -> None:
    step = 1 if item.step is None else operator.index(item.step)
    if step <= 0:
        raise InvalidArgumentError("slice step must be positive")
    if _symbolic(n) or _symbolic(item.start) or _symbolic(item.stop):
        _symbolic_slice(plan, axis, item, n, step)
        return
    start, end, step = item.indices(n)
    end = max(end, start)
    if (start, end, step) != (0, n, 1):
        plan.axes.append(axis)
        plan.starts.append(start)
        plan.ends.append(end)
        plan.steps.append(step)


def _symbolic_slice(plan: Plan, axis: int, item: slice, n: Any, step: int) -> None:
    start, end = _bound(item.start, 0), _bound(item.stop, FAR)
    if (start, end, step) == (0, FAR, 1):
        return
    plan.axes.append(axis)
    plan.starts.append(start)
    plan.ends.append(end)
    plan.steps.append(step)


def _bound(value: Any, default: int) -> Any:
    """One end of a slice: a number, or a symbolic size."""
    if value is None:
        return default
    return value if _symbolic(value) else operator.index(value)


def _select(plan: Plan, axis: int, item: Any, n: Any) -> None:
    try:
        i = operator.index(item)
    except TypeError:
        raise OutOfBoundsError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        ) from None
    if not _symbolic(n):
        if not -n <= i < n:
            raise OutOfBoundsError(f"index {i} is out of bounds for dimension {axis} with size {n}")
        i += n if i < 0 else 0
    plan.axes.append(axis)
    plan.starts.append(i)
    plan.ends.append(i + 1 if i != -1 else FAR)
    plan.steps.append(1)
    plan.selected.append(axis)
    plan.label = "Select"
