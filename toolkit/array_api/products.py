"""Matrix products."""

from __future__ import annotations

from typing import Any

from toolkit._tensor import functions
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
    a, b = a.movedim(axis, -1), b.movedim(axis, -1)
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(
            f"vecdot: axes of equal size are required, got {a.shape[-1]} and {b.shape[-1]}."
        )
    return a.unsqueeze(-2).matmul(b.unsqueeze(-1)).squeeze((-2, -1))


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """Sums of products over pairs of axes: the last of x1 and first of x2, or as listed."""
    a, b = both("tensordot", array("tensordot", x1), array("tensordot", x2))
    return functions.find("tensordot")(a, b, axes)
