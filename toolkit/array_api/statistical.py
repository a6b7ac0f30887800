"""Reductions and scans; `axis` is an int, a tuple, or None for all."""

from __future__ import annotations

import builtins
from typing import Any

import toolkit._tensor.factories as factories
from toolkit import dtypes
from toolkit._tensor import functions
from toolkit._tensor.shapes import normalize_dim
from toolkit.array_api.common import array, axes_of, both, sum_dtype
from toolkit.errors import DTypeError, InvalidArgumentError

_Axis = int | tuple[int, ...] | None


def _reduced(x: Any, method: str, axis: _Axis, keepdims: builtins.bool, **options: Any) -> Any:
    """A reduction where no axes mean none, not all."""
    axes = axes_of(x, axis)
    if axes:
        return getattr(x, method)(axes, keepdim=keepdims, **options)
    return getattr(x.unsqueeze(0), method)((0,), keepdim=False, **options)


def sum(
    x: Any, /, *, axis: _Axis = None, dtype: Any = None, keepdims: builtins.bool = False
) -> Any:
    """The sum."""
    return _reduced(
        array("sum", x).to(sum_dtype(x, dtype)), "sum", axis, keepdims, dtype=sum_dtype(x, dtype)
    )


def prod(
    x: Any, /, *, axis: _Axis = None, dtype: Any = None, keepdims: builtins.bool = False
) -> Any:
    """The product."""
    wanted = sum_dtype(array("prod", x), dtype)
    out, axes = x.to(wanted), [normalize_dim(a, x.dim()) for a in axes_of(x, axis)]
    for a in sorted(axes, reverse=True):
        out = out.prod(a, keepdim=keepdims, dtype=wanted)
    return out


def max(x: Any, /, *, axis: _Axis = None, keepdims: builtins.bool = False) -> Any:
    """The maximum; NaN where there is one."""
    return _reduced(array("max", x), "amax", axis, keepdims)


def min(x: Any, /, *, axis: _Axis = None, keepdims: builtins.bool = False) -> Any:
    """The minimum; NaN where there is one."""
    return _reduced(array("min", x), "amin", axis, keepdims)


def mean(x: Any, /, *, axis: _Axis = None, keepdims: builtins.bool = False) -> Any:
    """The mean of floats."""
    return _reduced(array("mean", x), "mean", axis, keepdims)


def var(
    x: Any, /, *, axis: _Axis = None, correction: float = 0.0, keepdims: builtins.bool = False
) -> Any:
    """The variance, divided by n - correction."""
    return _reduced(array("var", x), "var", axis, keepdims, correction=_whole(correction))


def std(
    x: Any, /, *, axis: _Axis = None, correction: float = 0.0, keepdims: builtins.bool = False
) -> Any:
    """The standard deviation, the root of `var`."""
    return _reduced(array("std", x), "std", axis, keepdims, correction=_whole(correction))


def _whole(correction: float) -> float:
    """An int where it is one: sizes of a trace are taken from it."""
    return int(correction) if correction == int(correction) else correction


def any(x: Any, /, *, axis: _Axis = None, keepdims: builtins.bool = False) -> Any:
    """Whether an element is not zero."""
    return ~_reduced(~array("any", x).to(dtypes.bool), "all", axis, keepdims)


def all(x: Any, /, *, axis: _Axis = None, keepdims: builtins.bool = False) -> Any:
    """Whether no element is zero."""
    return _reduced(array("all", x).to(dtypes.bool), "all", axis, keepdims)


def _cumulative(name: str, start: int, x: Any, axis: int | None, dtype: Any, initial: Any) -> Any:
    if axis is None:
        if array(name, x).dim() > 1:
            raise InvalidArgumentError(
                f"{name}: an axis is required for an array of {x.dim()} dimensions, got none."
            )
        axis = 0
    wanted = sum_dtype(array(name, x), dtype)
    method = {"cumulative_sum": "cumsum", "cumulative_prod": "cumprod"}[name]
    out = functions.find(method)(x.to(wanted), axis, dtype=wanted)
    if not initial:
        return out
    shape = list(x.shape)
    shape[axis] = 1
    return factories.cat([factories.full(shape, start, dtype=wanted), out], axis)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None,
    include_initial: builtins.bool = False,
) -> Any:  # fmt: skip
    """The running sum, with a leading 0 if told so."""
    return _cumulative("cumulative_sum", 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None,
    include_initial: builtins.bool = False,
) -> Any:  # fmt: skip
    """The running product, with a leading 1 if told so."""
    return _cumulative("cumulative_prod", 1, x, axis, dtype, include_initial)


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th difference of neighbours along an axis.

    Raises:
        DTypeError: bools.
    """
    if array("diff", x).dtype is dtypes.bool:
        raise DTypeError("diff: a numeric element type is required, got bool.")
    parts = [
        both("diff", x, p)[1] if p is not x else x for p in (prepend, x, append) if p is not None
    ]
    out = factories.cat(parts, axis) if len(parts) > 1 else x
    axis = normalize_dim(axis, x.dim())
    for _ in range(n):
        size = out.shape[axis]
        out = out.narrow(axis, 1, size - 1) - out.narrow(axis, 0, size - 1)
    return out
