"""Views: how one was taken from its base, and how a write to it becomes a write to the base.

Nothing is written in place: `put` computes the base's new value from the view's new value with
ordinary operations, so gradients pass through writes, in eager mode and in a trace alike.
Strides are those PyTorch would have; they only decide whether `reshape` is a view or a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import INT64, wrap
from toolkit._tensor.consts import scalar, vector
from toolkit._tensor.state import STATE
from toolkit._tensor.symint import SymInt
from toolkit.errors import InvalidArgumentError, OutOfBoundsError, ShapeError
from toolkit.ops.dispatch import apply, apply1, apply2, handle, quick
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

IDENTITY, RESHAPE, EXPAND = handle("Identity"), handle("Reshape"), handle("Expand")
SLICE, WHERE = handle("Slice"), handle("Where")
SQUEEZE, UNSQUEEZE = handle("Squeeze"), handle("Unsqueeze")


class View:
    """How a view is taken from its base."""

    __slots__ = ("label", "recorded")

    def __init__(self, label: str) -> None:
        self.label = label
        self.recorded = STATE.grad

    def run(self, base: Any) -> Any:
        """The view's value, computed by recorded operations."""
        raise NotImplementedError

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


class Alias(View):
    """The same elements, outside the tape (`detach`, `data`)."""

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

    __slots__ = ("shape",)

    def __init__(self, label: str, shape: Any) -> None:
        super().__init__(label)
        self.shape = shape  # Const, or a symbolic vector.

    def run(self, base: Any) -> Any:
        return apply2(RESHAPE, base, self.shape)

    def put(self, base: Any, value: Any) -> Any:
        return apply2(RESHAPE, value, shape_operand(base.shape))

    def strides(self, base: Any) -> tuple[int, ...] | None:
        if base.is_contiguous():
            return None
        return view_strides(base.shape, base.stride(), self.run(base).shape)


class Permuted(View):
    """Axes in another order."""

    __slots__ = ("perm",)

    def __init__(self, label: str, perm: tuple[int, ...]) -> None:
        super().__init__(label)
        self.perm = perm

    def run(self, base: Any) -> Any:
        return apply1(quick("Transpose", "perm", self.perm), base)

    def put(self, base: Any, value: Any) -> Any:
        inverse = tuple(self.perm.index(i) for i in range(len(self.perm)))
        return apply1(quick("Transpose", "perm", inverse), value)

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = base.stride()
        return tuple(strides[p] for p in self.perm)


class Expanded(View):
    """Repeated along axes of size 1; it cannot be written to."""

    __slots__ = ("shape",)

    def __init__(self, label: str, shape: Any) -> None:
        super().__init__(label)
        self.shape = shape

    def run(self, base: Any) -> Any:
        return apply2(EXPAND, base, self.shape)

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
        super().__init__(label)
        self.axes = axes

    def run(self, base: Any) -> Any:
        return apply2(SQUEEZE, base, vector(self.axes)) if self.axes else apply1(IDENTITY, base)

    def put(self, base: Any, value: Any) -> Any:
        return apply2(UNSQUEEZE, value, vector(self.axes)) if self.axes else value

    def strides(self, base: Any) -> tuple[int, ...] | None:
        return tuple(s for i, s in enumerate(base.stride()) if i not in self.axes)


class Unsqueezed(View):
    """With axes of size 1 inserted (positions in the result)."""

    __slots__ = ("axes",)

    def __init__(self, label: str, axes: tuple[int, ...]) -> None:
        super().__init__(label)
        self.axes = axes

    def run(self, base: Any) -> Any:
        return apply2(UNSQUEEZE, base, vector(self.axes))

    def put(self, base: Any, value: Any) -> Any:
        return apply2(SQUEEZE, value, vector(self.axes))

    def strides(self, base: Any) -> tuple[int, ...] | None:
        shape, strides = list(base.shape), list(base.stride())
        for axis in self.axes:
            strides.insert(axis, shape[axis] * strides[axis] if axis < len(shape) else 1)
            shape.insert(axis, 1)
        return tuple(strides)


class Selected(View):
    """One index of an axis, which is removed."""

    __slots__ = ("axis", "index")

    def __init__(self, axis: int, index: int) -> None:
        super().__init__("Select")
        self.axis, self.index = axis, index

    def run(self, base: Any) -> Any:
        return apply2(quick("Gather", "axis", self.axis), base, scalar(self.index, INT64))

    def put(self, base: Any, value: Any) -> Any:
        row = apply2(UNSQUEEZE, value, vector((self.axis,)))
        i = self.index
        end = _FAR if i == -1 else i + 1
        return put_slices(base, row, (self.axis,), (i,), (end,), (1,))

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = base.stride()
        return (*strides[: self.axis], *strides[self.axis + 1 :])


class Sliced(View):
    """Every `step`-th index of [start, end) along some axes; bounds are not negative."""

    __slots__ = ("axes", "ends", "starts", "steps")

    def __init__(
        self, label: str, axes: tuple[int, ...], starts: Any, ends: Any, steps: tuple[int, ...]
    ) -> None:
        super().__init__(label)
        self.axes, self.starts, self.ends, self.steps = axes, starts, ends, steps

    def run(self, base: Any) -> Any:
        return slice_of(base, self.axes, self.starts, self.ends, self.steps)

    def put(self, base: Any, value: Any) -> Any:
        return put_slices(base, value, self.axes, self.starts, self.ends, self.steps)

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = list(base.stride())
        for axis, step in zip(self.axes, self.steps, strict=True):
            strides[axis] *= step
        return tuple(strides)


def slice_of(x: Any, axes: Any, starts: Any, ends: Any, steps: Any) -> Any:
    """ONNX Slice with constant bounds."""
    plain = all(s == 1 for s in steps)
    return apply(
        SLICE, x, vector(starts, keyed=False), vector(ends, keyed=False), vector(tuple(axes)),
        *(() if plain else (vector(tuple(steps)),)),
    )  # fmt: skip


def put_slices(base: Any, value: Any, axes: Any, starts: Any, ends: Any, steps: Any) -> Any:
    """`base` with the slices along `axes` replaced by `value`."""
    if not axes:
        return value
    axis, start, end, step = axes[0], starts[0], ends[0], steps[0]
    size = base.shape[axis]
    full = step == 1 and start == 0 and (end == size if type(size) is int else end >= _FAR)
    if full:
        return put_slices(base, value, axes[1:], starts[1:], ends[1:], steps[1:])
    if len(axes) > 1:
        inner = slice_of(base, (axis,), (start,), (end,), (step,))
        value = put_slices(inner, value, axes[1:], starts[1:], ends[1:], steps[1:])
    if step != 1:
        return _put_strided(base, value, axis, start, end, step)
    parts = [value]
    if start > 0:
        parts.insert(0, slice_of(base, (axis,), (0,), (start,), (1,)))
    if type(size) is not int:
        if end < _FAR:
            parts.append(slice_of(base, (axis,), (end,), (_FAR,), (1,)))
    elif end < size:
        parts.append(slice_of(base, (axis,), (end,), (size,), (1,)))
    return apply(handle("Concat", axis=axis), *parts) if len(parts) > 1 else value


_FAR = 2**62  # Past every end, where a size is not known.


def _put_strided(base: Any, value: Any, axis: int, start: int, end: int, step: int) -> Any:
    size = base.shape[axis]
    if type(size) is not int:
        raise InvalidArgumentError(
            "assignment in a trace: a slice with a step needs an axis of fixed size, got axis "
            f"{axis} of a symbolic size."
        )
    places = range(start, min(end, size), step)
    source, mask = [0] * size, [0] * size
    for i, p in enumerate(places):
        source[p], mask[p] = i, 1
    spread = apply2(handle("Gather", axis=axis), value, vector(tuple(source)))
    column = (1,) * axis + (size,) + (1,) * (base.dim() - axis - 1)
    keep = apply2(RESHAPE, apply1(handle("Cast", to=9), vector(tuple(mask))), vector(column))
    return apply(WHERE, keep, spread, base)


# -- taking views ------------------------------------------------------------------------------


def make_view(base: Any, view: View) -> Tensor:
    """Takes a view and ties it to its base."""
    out = view.run(base)
    if out._node is not None and out._node is not base._node:
        out._node.label = view.label
    out._base = base
    out._view = view
    out._seen = (base if base._base is None else base._root())._version
    return out


def shape_operand(shape: Any) -> Any:
    """A shape as an int64 vector: constant, or built from symbolic dimensions."""
    for d in shape:
        if type(d) is SymInt:
            from toolkit.tracing import shape_vector

            return shape_vector(shape)
    return vector(tuple(shape))


def _symbolic(d: Any) -> bool:
    return type(d) is SymInt


def dims(x: Any) -> Any:
    """The shape as a plain tuple where the value is concrete."""
    value = x._value
    return value.shape if type(value) is _core.Tensor else x.shape


def as_shape(args: Any) -> tuple[Any, ...]:
    """`f(2, 3)`, `f((2, 3))` and `f(Size([2, 3]))` alike."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    for d in args:
        if type(d) is not int:
            return tuple(d if type(d) is int or type(d) is SymInt else int(d) for d in args)
    return tuple(args)


def normalize_dim(dim: int, rank: int, extra: int = 0) -> int:
    """A dimension in [0, rank), from one that may be negative (0-dim tensors have dimension 0)."""
    n = max(rank, 1) + extra
    if not -n <= dim < n:
        raise OutOfBoundsError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"
        )
    return dim + n if dim < 0 else dim


def row_major(shape: Any) -> tuple[int, ...]:
    """Strides of a contiguous tensor."""
    strides, n = [], 1
    for d in reversed(shape):
        strides.append(n)
        n *= max(d, 1)
    return tuple(reversed(strides))


def view_strides(shape: Any, strides: Any, new: Any) -> tuple[int, ...] | None:
    """Strides of a reshape that shares memory; None when there are none (PyTorch's rule)."""
    if 0 in shape:
        return row_major(new)
    dims = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    out: list[int] = [0] * len(new)
    k = len(new) - 1
    i = len(dims) - 1
    while i >= 0:
        count, step = dims[i][0], dims[i][1]
        while i > 0 and dims[i - 1][1] == dims[i][0] * dims[i][1]:
            i -= 1
            count *= dims[i][0]
        i -= 1
        while k >= 0 and (count > 1 or new[k] == 1):
            if count % new[k]:
                return None
            out[k] = step
            step *= new[k]
            count //= new[k]
            k -= 1
        if count != 1:
            return None
    for j in range(k, -1, -1):
        out[j] = out[j + 1] * new[j + 1] if j + 1 < len(new) else 1
    return tuple(out)


def resolve_shape(shape: tuple[Any, ...], old: Any) -> tuple[Any, ...]:
    """Fills in -1 and checks the number of elements.

    Raises:
        ShapeError: the elements do not fit, or -1 is not determined.
    """
    for d in (*shape, *old):
        if type(d) is SymInt:
            return shape
    n = 1
    for d in old:
        n *= d
    known, at = 1, -1
    for i, d in enumerate(shape):
        if d == -1:
            if at >= 0:
                raise ShapeError("only one dimension can be inferred")
            at = i
        elif d < 0:
            raise ShapeError(f"invalid shape dimension {d}")
        else:
            known *= d
    fits = known == n if at < 0 else known > 0 and n % known == 0
    if not fits:
        if at >= 0 and n == 0 and known == 0:
            raise ShapeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return shape if at < 0 else (*shape[:at], n // known, *shape[at + 1 :])


def reshape(x: Any, shape: tuple[Any, ...], label: str = "View", only_view: bool = False) -> Any:
    """A view where PyTorch gives one, else a copy (or an error when `only_view`)."""
    old = dims(x)
    target = resolve_shape(shape, old)
    eager = STATE.trace is None
    operand = vector(target) if eager else shape_operand(simplify(target, old))
    if x._base is not None and not x.is_contiguous() and not any(map(_symbolic, (*old, *target))):
        shared = view_strides(old, x.stride(), target) is not None
        if not shared and only_view:
            raise ShapeError(
                "view size is not compatible with input tensor's size and stride (at least one "
                "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
            )
        if not shared:
            return apply2(RESHAPE, x, operand)
    return make_view(x, Reshaped(label, operand))


def simplify(target: tuple[Any, ...], old: Any) -> tuple[Any, ...]:
    """One symbolic dimension of a target becomes -1, so that no Shape node is needed."""
    if 0 not in target:  # Zero copies the dimension at the same place.
        target = tuple(
            0 if _symbolic(d) and i < len(old) and _symbolic(old[i]) and d == old[i] else d
            for i, d in enumerate(target)
        )
        zeros = [i for i, d in enumerate(target) if type(d) is int and d == 0]
        if len(zeros) == 1 and -1 not in target and not any(_symbolic(d) for d in target):
            return tuple(-1 if i == zeros[0] else d for i, d in enumerate(target))
    unknown = [i for i, d in enumerate(target) if _symbolic(d)]
    if len(unknown) == 1 and -1 not in target and not any(d == 0 for d in old if type(d) is int):
        i = unknown[0]
        return (*target[:i], -1, *target[i + 1 :])
    return target
