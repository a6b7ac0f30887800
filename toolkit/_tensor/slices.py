"""Slices along axes, and writing into them by concatenation; bounds may be symbolic sizes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from toolkit._tensor.base import INT64
from toolkit._tensor.consts import scalar, vector
from toolkit._tensor.shapes import _symbolic, shape_operand
from toolkit._tensor.state import STATE
from toolkit._tensor.symint import counts, difference
from toolkit.ops.dispatch import apply, apply1, apply2, apply_constants, handle

SLICE, WHERE, RESHAPE = handle("Slice"), handle("Where"), handle("Reshape")
SCATTER_ND, RANGE = handle("ScatterND"), handle("Range")
FAR = 2**62  # Past every end, where a size is not known.


@lru_cache(maxsize=4096)
def bounds(axes: Any, starts: Any, ends: Any, steps: Any) -> tuple[Any, ...]:
    """The operands of Slice; steps of one are left out."""
    found = (vector(starts, keyed=False), vector(ends, keyed=False), vector(axes))
    return found if max(steps, default=1) == 1 else (*found, vector(steps))


def _bounds(values: Any) -> Any:
    values = tuple(values)
    return shape_operand(values) if any(map(_symbolic, values)) else vector(values, keyed=False)


def slice_of(x: Any, axes: Any, starts: Any, ends: Any, steps: Any) -> Any:
    """ONNX Slice."""
    if STATE.trace is None:
        return apply_constants(SLICE, x, *bounds(axes, starts, ends, steps))
    plain = all(not _symbolic(s) and s == 1 for s in steps)
    return apply(
        SLICE, x, _bounds(starts), _bounds(ends), vector(tuple(axes)),
        *(() if plain else (shape_operand(tuple(steps)),)),
    )  # fmt: skip


def slice_size(n: Any, start: Any, end: Any, step: Any) -> Any:
    """The size of a slice with a symbolic bound or axis, or its name; None: not known.

    As `torch.export`, a bound that is a size of another axis is taken to lie within the axis.
    """
    if step != 1 or not any(_symbolic(v) for v in (n, start, end)):
        return None
    if not (counts(start) if _symbolic(start) else start >= 0):
        return None
    if _symbolic(end):
        return difference(end, start) if counts(end) else None
    if end == FAR:
        return difference(n, start)
    if _symbolic(start):
        return None
    # A dimension is at least 1.
    return difference(n, start - end) if end < 0 else 1 if (start, end) == (0, 1) else None


def put_slices(base: Any, value: Any, axes: Any, starts: Any, ends: Any, steps: Any) -> Any:
    """`base` with the slices along `axes` replaced by `value`."""
    if not axes:
        return value
    axis, start, end, step = axes[0], starts[0], ends[0], steps[0]
    size = base.shape[axis]
    known = not any(map(_symbolic, (size, start, end)))
    at_start = not _symbolic(start) and start == 0
    at_end = not _symbolic(end) and (end >= size if known else end >= FAR)
    if step == 1 and at_start and at_end:
        return put_slices(base, value, axes[1:], starts[1:], ends[1:], steps[1:])
    if len(axes) > 1:
        inner = slice_of(base, (axis,), (start,), (end,), (step,))
        value = put_slices(inner, value, axes[1:], starts[1:], ends[1:], steps[1:])
    if step != 1:
        put = _put_strided if known else _put_counted
        return put(base, value, axis, start, end, step)
    parts = [value]
    if not at_start:
        parts.insert(0, slice_of(base, (axis,), (0,), (start,), (1,)))
    if not at_end:
        parts.append(slice_of(base, (axis,), (end,), (size if known else FAR,), (1,)))
    return apply(handle("Concat", axis=axis), *parts) if len(parts) > 1 else value


def _put_strided(base: Any, value: Any, axis: int, start: int, end: int, step: int) -> Any:
    size = base.shape[axis]
    places = range(start, min(end, size), step)
    source, mask = [0] * size, [0] * size
    for i, p in enumerate(places):
        source[p], mask[p] = i, 1
    spread = apply2(handle("Gather", axis=axis), value, vector(tuple(source)))
    column = (1,) * axis + (size,) + (1,) * (base.dim() - axis - 1)
    keep = apply2(RESHAPE, apply1(handle("Cast", to=9), vector(tuple(mask))), vector(column))
    return apply(WHERE, keep, spread, base)


def _put_counted(base: Any, value: Any, axis: int, start: Any, end: Any, step: Any) -> Any:
    """The same where sizes are not known: by the places that the slice of 0, 1, 2, ... has."""
    size = base.shape[axis]
    count = size.tensor() if _symbolic(size) else scalar(size, INT64)
    every = apply(RANGE, scalar(0, INT64), count, scalar(1, INT64))
    places = slice_of(every, (0,), (start,), (end,), (step,))
    order = [axis, *(i for i in range(base.dim()) if i != axis)]
    front = handle("Transpose", perm=order)
    back = handle("Transpose", perm=[order.index(i) for i in range(len(order))])
    places = apply2(RESHAPE, places, vector((-1, 1)))
    return apply1(back, apply(SCATTER_ND, apply1(front, base), places, apply1(front, value)))
