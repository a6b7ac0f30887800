"""Functions that change shapes and join arrays."""

from __future__ import annotations

from typing import Any

import toolkit._tensor.factories as factories
from toolkit._tensor.base import TensorBase
from toolkit._tensor.joins import broadcast_tensors
from toolkit._tensor.shapes import normalize_dim
from toolkit.array_api.common import array, axes_of
from toolkit.errors import InvalidArgumentError, ShapeError


def broadcast_arrays(*arrays: Any) -> list[Any]:
    """Arrays expanded to their common shape."""
    return list(broadcast_tensors(*arrays))


def broadcast_to(x: Any, /, shape: Any) -> Any:
    """`x` expanded to a shape."""
    return array("broadcast_to", x).expand(tuple(shape))


def concat(arrays: Any, /, *, axis: int | None = 0) -> Any:
    """Arrays joined along an axis; None: flattened first."""
    parts = [x.reshape(-1) for x in arrays] if axis is None else list(arrays)
    return factories.cat(parts, 0 if axis is None else axis)


def stack(arrays: Any, /, *, axis: int = 0) -> Any:
    """Arrays of equal shape joined along a new axis."""
    return factories.stack(list(arrays), axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The arrays along an axis.

    Raises:
        ShapeError: a 0-dimensional array.
    """
    if not array("unstack", x).dim():
        raise ShapeError("unstack: at least one dimension is required, got an array of none.")
    return tuple(x.unbind(axis))


def expand_dims(x: Any, /, axis: int) -> Any:
    """A new axis of size 1."""
    return array("expand_dims", x).unsqueeze(axis)


def squeeze(x: Any, /, axis: Any) -> Any:
    """Without the given axes, whose size must be 1.

    Raises:
        ShapeError: an axis of another size.
    """
    axes = tuple(normalize_dim(a, array("squeeze", x).dim()) for a in axes_of(x, axis))
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: an axis of size 1 is required, got axis {a} of {x.shape}.")
    return x.squeeze(axes)


def flip(x: Any, /, *, axis: Any = None) -> Any:
    """The order of elements reversed along axes; all of them by default."""
    return array("flip", x).flip(axes_of(x, axis))


def moveaxis(x: Any, source: Any, destination: Any, /) -> Any:
    """Axes at other places; the others keep their order."""
    return array("moveaxis", x).movedim(source, destination)


def permute_dims(x: Any, /, axes: Any) -> Any:
    """Axes in another order."""
    return array("permute_dims", x).permute(*axes)


def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Any:
    """The same elements under another shape.

    Raises:
        InvalidArgumentError: `copy=False` where the elements do not lie in that order.
    """
    if copy is False:
        return array("reshape", x).view(tuple(shape))
    out = array("reshape", x).reshape(tuple(shape))
    return out.clone() if copy else out


def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Any:
    """Elements moved along axes; those past the end come in at the start.

    Raises:
        InvalidArgumentError: several shifts that do not match the axes.
    """
    if axis is None:
        return array("roll", x).roll(shift)
    axes = axes_of(x, axis)
    shifts = tuple(shift) if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise InvalidArgumentError(
            f"roll: a shift for each of {len(axes)} axes is required, got {len(shifts)}."
        )
    return array("roll", x).roll(shifts, axes)


def tile(x: Any, repetitions: Any, /) -> Any:
    """`x` repeated as a whole along each axis."""
    return array("tile", x).tile(tuple(repetitions))


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    """Each element repeated in place, the same number of times or by an array of counts."""
    if axis is None:
        x, axis = array("repeat", x).reshape(-1), 0
    if isinstance(repeats, TensorBase):
        repeats = repeats.to(factories.dtypes.int64)  # type: ignore[attr-defined]
    return array("repeat", x).repeat_interleave(repeats, axis)
