"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.shapes import normalize_dim
from toolkit.array_api.common import array, both
from toolkit.errors import ShapeError


def matmul(x1: Any, x2: Any, /) -> Any:
    """Matrix product of (..., M, K) and (..., K, N); vectors are rows or columns."""
    a, b = both("matmul", array("matmul", x1), array("matmul", x2))
    if not a.dim() or not b.dim():
        raise ShapeError("matmul: at least one dimension is required, got an array of none.")
    return a.matmul(b)


def matrix_transpose(x: Any, /) -> Any:
    """The last two axes swapped."""
    return array("matrix_transpose", x).mT


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Sums of products along an axis, counted from the end."""
    a, b = both("vecdot", array("vecdot", x1), array("vecdot", x2))
    if axis >= 0:
        axis -= min(a.dim(), b.dim())
    a = a.movedim(normalize_dim(axis, a.dim()), -1)
    b = b.movedim(normalize_dim(axis, b.dim()), -1)
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(
            f"vecdot: axes of equal size are required, got {a.shape[-1]} and {b.shape[-1]}."
        )
    return a.unsqueeze(-2).matmul(b.unsqueeze(-1)).squeeze((-2, -1))


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """Sums of products over pairs of axes: the last of x1 and first of x2, or as listed."""
    a, b = both("tensordot", array("tensordot", x1), array("tensordot", x2))
    if isinstance(axes, int):
        axes = (range(a.dim() - axes, a.dim()), range(axes))
    left = [normalize_dim(i, a.dim()) for i in axes[0]]
    right = [normalize_dim(i, b.dim()) for i in axes[1]]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(
            f"tensordot: axes of equal sizes are required, got {left} of {a.shape} and {right} "
            f"of {b.shape}."
        )
    rows = [i for i in range(a.dim()) if i not in left]
    columns = [i for i in range(b.dim()) if i not in right]
    shape = [*(a.shape[i] for i in rows), *(b.shape[i] for i in columns)]
    n, k, m = (
        math.prod(a.shape[i] for i in rows),
        math.prod(a.shape[i] for i in left),
        math.prod(b.shape[i] for i in columns),
    )
    a, b = a.permute(*rows, *left).reshape(n, k), b.permute(*right, *columns).reshape(k, m)
    return a.matmul(b).reshape(shape)
