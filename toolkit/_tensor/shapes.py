"""Shapes as arguments: sizes, dimensions, and strides as PyTorch has them."""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.consts import vector
from toolkit._tensor.symint import SymInt
from toolkit.errors import OutOfBoundsError, ShapeError
from toolkit.runtime import _core


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


def as_size(v: Any) -> Any:
    """A size or bound: an int, or a `SymInt`; a 0-dim integer tensor of a trace becomes one."""
    if type(v) is int or type(v) is SymInt:
        return v
    if isinstance(v, TensorBase) and type(v._value) is not _core.Tensor and v.dtype.name[0] in "iu":
        return SymInt(v.reshape(1).long()._value, None, None)  # type: ignore[attr-defined]
    return operator.index(v)


def declare(t: Any, sizes: Any) -> Any:
    """Writes sizes that inference did not find onto a symbolic tensor.

    Args:
        t: the tensor, returned; one with a value is left alone.
        sizes: for each axis an int, a `SymInt` or its name; -1 or None where nothing is known.
    """
    if type(t._value) is _core.Tensor or t._value.shape is None:
        return t
    shape = t._value.shape
    found = shape.dims
    if len(found) != len(sizes):
        return t
    merged = list(found)
    for i, (old, size) in enumerate(zip(found, sizes, strict=True)):
        name = size.symbol if type(size) is SymInt else size
        if isinstance(old, int) or old.value is not None or name in (None, -1):
            continue
        if not (isinstance(name, str) and "?" in name):
            merged[i] = name
    if merged != list(found):
        t._value.shape = type(shape)(merged)
    return t


def as_shape(args: Any) -> tuple[Any, ...]:
    """`f(2, 3)`, `f((2, 3))` and `f(Size([2, 3]))` alike."""
    if len(args) == 1:
        if type(args[0]) is int:
            return args
        if isinstance(args[0], (tuple, list)):
            args = args[0]
    for d in args:
        if type(d) is not int:
            return tuple(as_size(d) for d in args)
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
        n = n * (d if _symbolic(d) else max(d, 1))
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


@lru_cache(maxsize=1024)
def swapped(rank: int, dim0: int, dim1: int) -> tuple[int, ...]:
    """The order of axes with two of them swapped."""
    perm = list(range(max(rank, 1)))
    a, b = normalize_dim(dim0, rank), normalize_dim(dim1, rank)
    perm[a], perm[b] = perm[b], perm[a]
    return tuple(perm[:rank])
