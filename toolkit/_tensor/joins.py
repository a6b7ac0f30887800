"""Functions of several tensors that join or broadcast them, and copies of views."""

from __future__ import annotations

import itertools
from typing import Any

from toolkit._tensor.base import Size
from toolkit._tensor.factories import as_tensor, cat, stack, tensor, zeros
from toolkit._tensor.promote import cast, promote_codes
from toolkit._tensor.shapes import _symbolic, as_shape
from toolkit._tensor.symint import sym_max
from toolkit.errors import InvalidArgumentError, ShapeError


def _several(tensors: Any) -> list[Any]:
    """`f(a, b)` and `f((a, b))` alike."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    return list(tensors)


def _atleast(rank: int, grow: Any) -> Any:
    def function(*tensors: Any) -> Any:
        made = tuple(grow(as_tensor(t)) for t in _several(tensors))
        alone = len(tensors) == 1 and not isinstance(tensors[0], (list, tuple))
        return made[0] if alone else made

    function.__name__ = function.__qualname__ = f"atleast_{rank}d"
    function.__doc__ = f"Each tensor with at least {rank} dimensions."
    return function


def _grow_3d(t: Any) -> Any:
    if t.dim() == 2:
        return t.unsqueeze(-1)
    return t if t.dim() > 2 else t.reshape(1, -1, 1)


atleast_1d = _atleast(1, lambda t: t if t.dim() else t.reshape(1))
atleast_2d = _atleast(2, lambda t: t if t.dim() > 1 else t.reshape(1, -1))
atleast_3d = _atleast(3, _grow_3d)


def vstack(tensors: Any) -> Any:
    """Joins along the first dimension; vectors are rows."""
    return cat(atleast_2d(list(tensors)), 0)


def hstack(tensors: Any) -> Any:
    """Joins along the second dimension (vectors: the first)."""
    parts = atleast_1d(list(tensors))
    return cat(parts, 0 if parts and parts[0].dim() == 1 else 1)


def dstack(tensors: Any) -> Any:
    """Joins along the third dimension."""
    return cat(atleast_3d(list(tensors)), 2)


def column_stack(tensors: Any) -> Any:
    """Joins along the second dimension; vectors are columns."""
    return hstack([t if t.dim() > 1 else t.reshape(-1, 1) for t in tensors])


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that all of these broadcast to.

    Raises:
        ShapeError: there is none.
    """
    given = [as_shape((s,)) if not isinstance(s, int) else (s,) for s in shapes]
    rank = max((len(s) for s in given), default=0)
    out: list[Any] = [1] * rank
    for shape in given:
        for i, n in enumerate(reversed(shape), 1):
            old = out[-i]
            if not _symbolic(n) and n < 0:
                raise InvalidArgumentError(
                    f"Trying to create tensor with negative dimension ({n}): {list(shape)}"
                )
            if _symbolic(n) or _symbolic(old):
                if _symbolic(n) and _symbolic(old):
                    out[-i] = sym_max(n, old)  # One of them may be 1.
                else:
                    known, other = (old, n) if _symbolic(n) else (n, old)
                    out[-i] = other if known == 1 else known
            elif old == 1:
                out[-i] = n
            elif n not in (1, old):
                raise ShapeError(
                    "Shape mismatch: objects cannot be broadcast to a single shape: "
                    + ", ".join(str(list(s)) for s in given)
                )
    return Size(out)


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Tensors expanded to their common shape."""
    parts = _several(tensors)
    shape = broadcast_shapes(*(tuple(t.shape) for t in parts))
    return tuple(t.expand(shape) for t in parts)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Coordinate grids of vectors."""
    parts = _several(tensors)
    if indexing not in ("ij", "xy"):
        raise InvalidArgumentError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for t in parts:
        if t.dim() > 1:
            raise ShapeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t!r}"
            )
        if t._value.dtype != parts[0]._value.dtype:
            raise InvalidArgumentError(
                "torch.meshgrid expects all tensors to have the same dtype, got "
                f"{parts[0].dtype.name} and {t.dtype.name}"
            )
    swap = indexing == "xy" and len(parts) > 1
    order = [parts[1], parts[0], *parts[2:]] if swap else parts
    shape = tuple(t.shape[0] if t.dim() else 1 for t in order)
    grids = [
        t.reshape(*((1,) * i), -1, *((1,) * (len(order) - i - 1))).expand(shape)
        for i, t in enumerate(order)
    ]
    if swap:
        grids = [grids[1], grids[0], *grids[2:]]
    return tuple(grids)


def block_diag(*tensors: Any) -> Any:
    """Matrices (or vectors, numbers) on the diagonal of one matrix, zeros elsewhere."""
    parts = [as_tensor(t) for t in tensors] or [zeros(1, 0)]
    for i, t in enumerate(parts):
        if t.dim() > 2:
            raise ShapeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{i} has {t.dim()} dimensions"
            )
    code = parts[0]._value.dtype
    for t in parts[1:]:
        code = promote_codes(code, t._value.dtype)
    blocks = [cast(t, code).reshape(1, -1) if t.dim() < 2 else cast(t, code) for t in parts]
    rows: list[Any] = []
    before: Any = 0
    total: Any = 0
    for t in blocks:
        total = total + t.shape[1]
    for t in blocks:
        n, after = t.shape[1], total - before - t.shape[1]
        sides = [zeros(t.shape[0], k, dtype=t.dtype) for k in (before, after)]
        rows.append(cat([sides[0], t, sides[1]], 1))
        before = before + n
    return cat(rows, 0)


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of elements of vectors, one a row."""
    parts = _several(tensors)
    for t in parts:
        if t.dim() != 1:
            raise ShapeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(parts) == 1:
        return parts[0]
    return stack(meshgrid(*parts), -1).reshape(-1, len(parts))


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All combinations of `r` elements of a vector, one a row."""
    if input.dim() != 1:
        raise ShapeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise InvalidArgumentError(f"Expect a non-negative number, but got {r}")
    if _symbolic(input.shape[0]):
        raise InvalidArgumentError(
            f"combinations: a vector of known size is required, got size {input.shape[0]}."
        )
    if r == 0:
        return input.new_zeros(0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.shape[0]), r))
    places = tensor([i for row in rows for i in row] or [0] * 0).long()
    return input.index_select(0, places).reshape(len(rows), r)


def slice_copy(input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy of a slice of a dimension."""
    d = dim + input.dim() if dim < 0 else dim
    return input[(slice(None),) * d + (slice(start, end, step),)].clone()


def _copied(name: str) -> Any:
    """The function that gives a copy of what a method views."""

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        made: Any = getattr(input, name)(*args, **kwargs)
        return tuple(t.clone() for t in made) if isinstance(made, tuple) else made.clone()

    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"A copy of `{name}`."
    return function


_VIEWS = """
    as_strided detach diagonal expand permute select split split_with_sizes squeeze t transpose
    unbind unfold unsqueeze view
"""
FUNCTIONS: dict[str, Any] = {
    **{f"{name}_copy": _copied(name) for name in _VIEWS.split()},
    "alias_copy": lambda input: input.clone(), "slice_copy": slice_copy,
    "vstack": vstack, "hstack": hstack, "dstack": dstack, "row_stack": vstack,
    "column_stack": column_stack, "atleast_1d": atleast_1d, "atleast_2d": atleast_2d,
    "atleast_3d": atleast_3d, "broadcast_shapes": broadcast_shapes,
    "broadcast_tensors": broadcast_tensors, "meshgrid": meshgrid, "block_diag": block_diag,
    "cartesian_prod": cartesian_prod, "combinations": combinations,
}  # fmt: skip
