"""Slices with constant or symbolic bounds, and writing into them by concatenation."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.consts import vector
from toolkit._tensor.shapes import _symbolic, shape_operand
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply, apply1, apply2, apply_constants, handle

SLICE, WHERE, RESHAPE = handle("Slice"), handle("Where"), handle("Reshape")
FAR = 2**62  # Past every end, where a size is not known.


def slice_of(x: Any, axes: Any, starts: Any, ends: Any, steps: Any) -> Any:
    """ONNX Slice."""
    if any(map(_symbolic, (*starts, *ends))):
        bounds = (shape_operand(starts), shape_operand(ends), vector(tuple(axes)))
        return apply(SLICE, x, *bounds, vector(tuple(steps)))
    starts, ends, along = vector(starts, keyed=False), vector(ends, keyed=False), vector(axes)
    if max(steps, default=1) == 1:
        return apply_constants(SLICE, x, starts, ends, along)
    return apply_constants(SLICE, x, starts, ends, along, vector(steps))


def put_slices(base: Any, value: Any, axes: Any, starts: Any, ends: Any, steps: Any) -> Any:
    """`base` with the slices along `axes` replaced by `value`."""
    if not axes:
        return value
    axis, start, end, step = axes[0], starts[0], ends[0], steps[0]
    size = base.shape[axis]
    if _symbolic(start) or _symbolic(end):
        full = False
    else:
        full = step == 1 and start == 0 and (end == size if type(size) is int else end >= FAR)
    if full:
        return put_slices(base, value, axes[1:], starts[1:], ends[1:], steps[1:])
    if len(axes) > 1:
        inner = slice_of(base, (axis,), (start,), (end,), (step,))
        value = put_slices(inner, value, axes[1:], starts[1:], ends[1:], steps[1:])
    if step != 1:
        return _put_strided(base, value, axis, start, end, step)
    parts = [value]
    if _symbolic(start) or start > 0:
        parts.insert(0, slice_of(base, (axis,), (0,), (start,), (1,)))
    if _symbolic(end) or type(size) is not int:
        if _symbolic(end) or end < FAR:
            parts.append(slice_of(base, (axis,), (end,), (FAR,), (1,)))
    elif end < size:
        parts.append(slice_of(base, (axis,), (end,), (size,), (1,)))
    return apply(handle("Concat", axis=axis), *parts) if len(parts) > 1 else value


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
