"""Functions that search, sort, pick and tell elements apart."""

from __future__ import annotations

from typing import Any, NamedTuple

from toolkit import dtypes
from toolkit._tensor import sets
from toolkit._tensor.elementwise import where as _where
from toolkit._tensor.shapes import normalize_dim
from toolkit.array_api.common import array, axes_of, both
from toolkit.errors import InvalidArgumentError


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Any
    inverse_indices: Any


def _extreme(name: str, x: Any, axis: int | None, keepdims: bool) -> Any:
    out = getattr(array(name, x), name)(axis, keepdims)
    return out.reshape((1,) * x.dim()) if axis is None and keepdims else out


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the first maximum."""
    return _extreme("argmax", x, axis, keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the first minimum."""
    return _extreme("argmin", x, axis, keepdims)


def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements are not zero."""
    counted = array("count_nonzero", x).to(dtypes.bool).to(dtypes.int64)
    axes = axes_of(x, axis)
    return counted.sum(axes, keepdims) if axes else counted


def nonzero(x: Any, /) -> tuple[Any, ...]:
    """The indices of elements that are not zero, an array an axis.

    Raises:
        InvalidArgumentError: a 0-dimensional array.
    """
    if not array("nonzero", x).dim():
        raise InvalidArgumentError("nonzero: at least one dimension is required, got none.")
    return tuple(x.nonzero(as_tuple=True))


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """Where each element of x2 would be inserted into the sorted vector x1."""
    a, b = both("searchsorted", array("searchsorted", x1), x2)
    return sets.searchsorted(a, b, side=side, sorter=sorter)


def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """Elements of x1 where the condition holds, else of x2."""
    return _where(array("where", condition), *both("where", x1, x2))


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Elements in order along an axis."""
    return array("sort", x).sort(axis, descending, stable=stable).values


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The indices that sort along an axis."""
    return array("argsort", x).sort(axis, descending, stable=stable).indices


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
    """Slices at a vector of indices along an axis, which only a vector may leave out.

    Raises:
        InvalidArgumentError: no axis, but several dimensions.
    """
    if axis is None:
        if array("take", x).dim() != 1:
            raise InvalidArgumentError(
                f"take: an axis is required for an array of {x.dim()} dimensions, got none."
            )
        axis = 0
    rank, at = array("take", x).dim(), array("take", indices)
    axis = normalize_dim(axis, rank)
    picked = x.index_select(axis, at.reshape(-1))
    return picked.reshape((*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
    """Elements picked along an axis by an array of indices of the same rank."""
    return array("take_along_axis", x).take_along_dim(indices, axis)


def _unique(name: str, x: Any) -> tuple[Any, Any, Any, Any]:
    return sets.unique_parts(array(name, x))


def unique_all(x: Any, /) -> UniqueAll:
    """Distinct elements, where each occurs first, the place of each element of x, and counts."""
    return UniqueAll(*_unique("unique_all", x))


def unique_counts(x: Any, /) -> UniqueCounts:
    """Distinct elements and how often each occurs."""
    values, _, _, counts = _unique("unique_counts", x)
    return UniqueCounts(values, counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """Distinct elements and the place of each element of x among them."""
    values, _, inverse, _ = _unique("unique_inverse", x)
    return UniqueInverse(values, inverse)


def unique_values(x: Any, /) -> Any:
    """Distinct elements."""
    return _unique("unique_values", x)[0]
