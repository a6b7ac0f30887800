"""Views: how one was taken from its base, and how a write to it becomes a write to the base.

Nothing is written in place: `put` computes the base's new value from the view's new value with
ordinary operations, so gradients pass through writes, in eager mode and in a trace alike.
The value of a view whose elements follow each other in its base's memory is a part of that memory
(`of`); of any other it is a copy, taken anew when the base was written to.
Strides are those PyTorch would have; they only decide whether `reshape` is a view or a copy.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor import base as tensors
from toolkit._tensor.base import INT64, wrap
from toolkit._tensor.consts import Const, scalar, vector
from toolkit._tensor.shapes import (
    _symbolic,
    declare,
    dims,
    resolve_shape,
    shape_operand,
    simplify,
    view_strides,
)
from toolkit._tensor.slices import FAR, SLICE, bounds, put_slices, slice_of, slice_size
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, apply1, apply2, handle, known, quick

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_new: Any = object.__new__
IDENTITY, RESHAPE, EXPAND = handle("Identity"), handle("Reshape"), handle("Expand")
RESHAPE_EMPTY = handle("Reshape", allowzero=1)  # A 0 is a size, not "as in the input".
SQUEEZE, UNSQUEEZE = handle("Squeeze"), handle("Unsqueeze")


class View:
    """How a view is taken from its base. One object may serve several views.

    Subclasses set the three attributes themselves: a call costs a tenth of taking a view.
    """

    __slots__ = ("generation", "label", "recorded")

    def __init__(self, label: str) -> None:
        self.label = label
        self.recorded = STATE.grad
        self.generation = 0  # Of the base, when it was taken.

    def operation(self) -> tuple[Any, ...]:
        """The operator that takes the view, and its operands after the base."""
        raise NotImplementedError

    def of(self, value: Any) -> Any:
        """The view of a core tensor: a part of its memory, or a copy.

        None: it takes operations.
        """
        return None

    def run(self, base: Any) -> Any:
        """The view's value, recorded."""
        if STATE.trace is None:
            value = self.of(base._get())
            if value is not None:
                h, *operands = self.operation()
                return known(h, value, base, *operands)
        return self.compute(base)

    def compute(self, base: Any) -> Any:
        """The view's value by operations."""
        h, *operands = self.operation()
        return apply(h, base, *operands)

    def take(self, base: Any) -> Any:
        """`run` under the gradient mode in which the view was made."""
        before, STATE.grad = STATE.grad, self.recorded
        try:
            return self.run(base)
        finally:
            STATE.grad = before

    def put(self, base: Any, value: Any) -> Any:
        """The base with the view's elements replaced by `value`."""
        raise NotImplementedError

    def strides(self, base: Any) -> tuple[int, ...] | None:
        """PyTorch's strides of the view; None: row-major."""
        return None

    def start(self, base: Any) -> int:
        """Where the view's first element lies behind the base's, in elements."""
        return 0

    def array(self, base: Any) -> Any:
        """The view of the base's numpy array."""
        raise NotImplementedError


class Alias(View):
    """The same elements, outside the tape (`detach`, `data`)."""

    def array(self, base: Any) -> Any:
        return base

    def of(self, value: Any) -> Any:
        return value

    def run(self, base: Any) -> Any:
        if STATE.trace is not None:
            return STATE.trace.detached(base)
        return wrap(base._get())

    def put(self, base: Any, value: Any) -> Any:
        return value

    def strides(self, base: Any) -> tuple[int, ...] | None:
        return base.stride()


class Reshaped(View):
    """The same elements in the same order under another shape."""

    __slots__ = ("handle", "shape", "sizes")

    def __init__(self, label: str, shape: Any, handle: Any = RESHAPE, sizes: Any = ()) -> None:
        self.label, self.recorded, self.generation = label, STATE.grad, 0
        self.handle = handle
        self.shape = shape  # Const, or a symbolic vector.
        self.sizes = sizes  # What was asked for in a trace; see `declare`.

    def array(self, base: Any) -> Any:
        return base.reshape(self.shape._value.numpy())

    def operation(self) -> tuple[Any, ...]:
        return self.handle, self.shape

    def of(self, value: Any) -> Any:
        return value.reshaped(self.shape.key[1]) if type(self.shape) is Const else None

    def compute(self, base: Any) -> Any:
        out = apply2(self.handle, base, self.shape)
        return declare(out, self.sizes) if self.sizes else out

    def put(self, base: Any, value: Any) -> Any:
        shape = base.shape
        return apply2(RESHAPE_EMPTY if 0 in shape else RESHAPE, value, shape_operand(shape))

    def strides(self, base: Any) -> tuple[int, ...] | None:
        if base.is_contiguous():
            return None
        return view_strides(base.shape, base.stride(), self.run(base).shape)


class Permuted(View):
    """Axes in another order."""

    __slots__ = ("handle", "perm")

    def __init__(self, label: str, perm: tuple[int, ...]) -> None:
        self.label, self.recorded, self.generation = label, STATE.grad, 0
        self.perm = perm
        self.handle = quick("Transpose", "perm", perm)

    def array(self, base: Any) -> Any:
        return base.transpose(self.perm)

    def operation(self) -> tuple[Any, ...]:
        return (self.handle,)

    def of(self, value: Any) -> Any:
        return self.handle.op(value)

    def put(self, base: Any, value: Any) -> Any:
        inverse = tuple(self.perm.index(i) for i in range(len(self.perm)))
        return apply1(quick("Transpose", "perm", inverse), value)

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = base.stride()
        return tuple(strides[p] for p in self.perm)


class Expanded(View):
    """Repeated along axes of size 1; it cannot be written to."""

    __slots__ = ("shape", "sizes")

    def __init__(self, label: str, shape: Any, sizes: Any = ()) -> None:
        self.label, self.recorded, self.generation = label, STATE.grad, 0
        self.shape = shape
        self.sizes = sizes

    def array(self, base: Any) -> Any:
        return np.broadcast_to(base, self.shape._value.numpy())

    def operation(self) -> tuple[Any, ...]:
        return EXPAND, self.shape

    def of(self, value: Any) -> Any:
        return EXPAND.op(value, self.shape._value) if type(self.shape) is Const else None

    def compute(self, base: Any) -> Any:
        out = apply2(EXPAND, base, self.shape)
        return declare(out, self.sizes) if self.sizes else out

    def put(self, base: Any, value: Any) -> Any:
        raise InvalidArgumentError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )

    def strides(self, base: Any) -> tuple[int, ...] | None:
        shape, old, strides = self.run(base).shape, base.shape, base.stride()
        lead = len(shape) - len(old)
        return tuple(
            0 if i < lead or (old[i - lead] == 1 and n != 1) else strides[i - lead]
            for i, n in enumerate(shape)
        )


class Squeezed(View):
    """Without some axes of size 1."""

    __slots__ = ("axes",)

    def __init__(self, label: str, axes: tuple[int, ...]) -> None:
        self.label, self.recorded, self.generation = label, STATE.grad, 0
        self.axes = axes

    def array(self, base: Any) -> Any:
        return base.squeeze(self.axes)

    def operation(self) -> tuple[Any, ...]:
        return (SQUEEZE, vector(self.axes)) if self.axes else (IDENTITY,)

    def of(self, value: Any) -> Any:
        if not self.axes:
            return value
        return value.reshaped([n for i, n in enumerate(value.shape) if i not in self.axes])

    def put(self, base: Any, value: Any) -> Any:
        return apply2(UNSQUEEZE, value, vector(self.axes)) if self.axes else value

    def strides(self, base: Any) -> tuple[int, ...] | None:
        return tuple(s for i, s in enumerate(base.stride()) if i not in self.axes)


class Unsqueezed(View):
    """With axes of size 1 inserted (positions in the result)."""

    __slots__ = ("axes",)

    def __init__(self, label: str, axes: tuple[int, ...]) -> None:
        self.label, self.recorded, self.generation = label, STATE.grad, 0
        self.axes = axes

    def array(self, base: Any) -> Any:
        return np.expand_dims(base, self.axes)

    def operation(self) -> tuple[Any, ...]:
        return UNSQUEEZE, vector(self.axes)

    def of(self, value: Any) -> Any:
        shape = list(value.shape)
        for axis in self.axes:
            shape.insert(axis, 1)
        return value.reshaped(shape)

    def put(self, base: Any, value: Any) -> Any:
        return apply2(SQUEEZE, value, vector(self.axes))

    def strides(self, base: Any) -> tuple[int, ...] | None:
        shape, strides = list(base.shape), list(base.stride())
        for axis in self.axes:
            strides.insert(axis, shape[axis] * strides[axis] if axis < len(shape) else 1)
            shape.insert(axis, 1)
        return tuple(strides)


@lru_cache(maxsize=64)
def gather_of(axis: int) -> Any:
    """The operator that picks from an axis."""
    return handle("Gather", axis=axis)


@lru_cache(maxsize=4096)
def place(index: int) -> Any:
    """An index as a constant."""
    return scalar(index, INT64)


class Selected(View):
    """One index of an axis, which is removed."""

    __slots__ = ("axis", "index")

    def __init__(self, axis: int, index: Any) -> None:
        self.label, self.recorded, self.generation = "Select", STATE.grad, 0
        self.axis, self.index = axis, index

    def array(self, base: Any) -> Any:
        return base[(slice(None),) * self.axis + (self.index,)]

    def operation(self) -> tuple[Any, ...]:
        i = self.index
        return gather_of(self.axis), i.tensor() if _symbolic(i) else place(i)

    def of(self, value: Any) -> Any:
        if not self.axis:
            return value.row(self.index if self.index >= 0 else self.index + value.shape[0])
        run = _run_of(value, (self.axis,), (self.index,), (self.index + 1,), self.axis)
        return gather_of(self.axis).op(value, place(self.index)._value) if run is None else run

    def put(self, base: Any, value: Any) -> Any:
        row = apply2(UNSQUEEZE, value, vector((self.axis,)))
        i = self.index
        end = FAR if not _symbolic(i) and i == -1 else i + 1
        return put_slices(base, row, (self.axis,), (i,), (end,), (1,))

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = base.stride()
        return (*strides[: self.axis], *strides[self.axis + 1 :])

    def start(self, base: Any) -> int:
        return int(self.index * base.stride(self.axis))


class Sliced(View):
    """Every `step`-th index of [start, end) along some axes.

    Bounds are not negative, but in a trace, where they and the sizes may be symbolic too.
    """

    __slots__ = ("axes", "ends", "operands", "sizes", "starts", "steps")

    def __init__(
        self, label: str, axes: tuple[int, ...], starts: Any, ends: Any, steps: tuple[int, ...],
        sizes: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        self.label, self.recorded, self.generation = label, STATE.grad, 0
        self.axes, self.starts, self.ends, self.steps = axes, starts, ends, steps
        self.sizes = sizes  # Of these axes, where they follow from no shape; see `declare`.
        self.operands: Any = None  # Of Slice, once they were needed.

    def slices(self, rank: int) -> tuple[slice, ...]:
        """As Python slices of every axis."""
        found = dict(
            zip(self.axes, zip(self.starts, self.ends, self.steps, strict=True), strict=True)
        )
        return tuple(slice(*found[i]) if i in found else slice(None) for i in range(rank))

    def array(self, base: Any) -> Any:
        return base[self.slices(base.ndim)]

    def operation(self) -> tuple[Any, ...]:
        return SLICE, *bounds(self.axes, self.starts, self.ends, self.steps)

    def of(self, value: Any) -> Any:
        axes, n = self.axes, value.shape[0]
        if not (axes[0] and n > 1) and max(self.steps) == 1:
            if len(axes) == 1 and not axes[0] and self.starts[0] <= n:
                return value.rows(self.starts[0], self.ends[0])
            run = _run_of(value, axes, self.starts, self.ends)
            if run is not None:
                return run
        if self.operands is None:
            self.operands = tuple([c._value for c in self.operation()[1:]])
        return SLICE.op(value, *self.operands)

    def compute(self, base: Any) -> Any:
        out = slice_of(base, self.axes, self.starts, self.ends, self.steps)
        shape = dims(base)
        limits = zip(self.axes, self.starts, self.ends, self.steps, strict=True)
        sizes = self.sizes or [slice_size(shape[a], s, e, step) for a, s, e, step in limits]
        found = dict(zip(self.axes, sizes, strict=True))
        return declare(out, [found.get(i, n) for i, n in enumerate(shape)])

    def put(self, base: Any, value: Any) -> Any:
        return put_slices(base, value, self.axes, self.starts, self.ends, self.steps)

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = list(base.stride())
        for axis, step in zip(self.axes, self.steps, strict=True):
            strides[axis] *= step
        return tuple(strides)

    def start(self, base: Any) -> int:
        strides = base.stride()
        return sum(s * strides[a] for a, s in zip(self.axes, self.starts, strict=True))


def _run_of(value: Any, axes: Any, starts: Any, ends: Any, drop: int = -1) -> Any:
    """Slices of steps 1 whose elements follow each other, as a part; None where they do not.

    They do if no axis is cut behind one of which more than one index is taken.
    """
    shape = value.shape
    sizes, start, run = list(shape), 0, 1
    for axis in range(len(shape)):
        n = shape[axis]
        if axis in axes:
            i = axes.index(axis)
            low, high = starts[i], min(ends[i], n)
            if low < 0 or high < low or (run > 1 and high - low != n):
                return None
            sizes[axis] = high - low
            start, run = start * n + low, run * (high - low)
        else:
            start, run = start * n, run * n
    if 0 in shape:
        return None
    if drop >= 0:
        del sizes[drop]
    return value.part(start, sizes)


def make_view(base: Any, view: View) -> Tensor:
    """Takes a view and ties it to its base."""
    if STATE.trace is None:
        if base._base is not None:
            base._sync()
        if base._node is None:
            value = view.of(base._value)
            return plain_view(base, view, view.compute(base)._value if value is None else value)
    out = view.run(base)
    if out._node is not None and out._node is not base._node:
        out._node.label = view.label
    out._base = base
    out._view = view
    if base._generation:
        out._view = _of_generation(view, base._generation)
    out._seen = (base if base._base is None else base._root())._version
    return out


def plain_view(base: Any, view: View, value: Any) -> Any:
    """`make_view` outside tape and traces, where the view's value is known."""
    r: Any = _new(tensors.tensor_class)
    r._value, r._base, r._view = value, base, view
    r._seen = (base if base._base is None else base._root())._version
    if base._generation:
        r._view = _of_generation(view, base._generation)
    return r


def _of_generation(view: View, generation: int) -> View:
    own = copy(view)
    own.generation = generation
    return own


def lies_in_root(x: Any) -> bool:
    """Whether a view's value is a part of its root's memory (which is in order, then)."""
    x._sync()
    return bool(x._value.memory == x._root()._value.memory)


@lru_cache(maxsize=4096)
def _reshaped(label: str, target: tuple[int, ...], recorded: bool) -> Reshaped:
    return Reshaped(label, vector(target), RESHAPE_EMPTY if 0 in target else RESHAPE)


def reshape(x: Any, shape: tuple[Any, ...], label: str = "View", only_view: bool = False) -> Any:
    """A view where PyTorch gives one, else a copy (or an error when `only_view`)."""
    eager = STATE.trace is None
    if eager and (x._base is None or lies_in_root(x)):
        value = x._value.viewed(shape)
        if value is not None:
            view = _reshaped(label, value.shape, STATE.grad)
            return plain_view(x, view, value) if x._node is None else make_view(x, view)
    old = dims(x)
    target = resolve_shape(shape, old)
    operand = vector(target) if eager else shape_operand(simplify(target, old))
    h = RESHAPE_EMPTY if 0 in target else RESHAPE
    if x._base is not None and not x.is_contiguous() and not any(map(_symbolic, (*old, *target))):
        shared = view_strides(old, x.stride(), target) is not None
        if not shared and only_view:
            raise ShapeError(
                "view size is not compatible with input tensor's size and stride (at least one "
                "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
            )
        if not shared:
            return apply2(h, x, operand)
    return make_view(x, Reshaped(label, operand, h, () if eager else target))
