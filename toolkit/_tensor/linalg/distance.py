"""Distances between rows."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.elementwise import where
from toolkit._tensor.factories import arange
from toolkit._tensor.linalg.checks import differ, nothing
from toolkit._tensor.linalg.norms import real_floats, vector_norm
from toolkit.errors import InvalidArgumentError, ShapeError


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of a difference."""
    return vector_norm(input - other, p)


_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist",
          "donot_use_mm_for_euclid_dist")  # fmt: skip


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Any:
    """(..., P, R): the p-norm distance of each row of x1 (..., P, M) to each of x2 (..., R, M)."""
    a, b = real_floats("cdist", x1, None), real_floats("cdist", x2, None)
    if a.dim() < 2 or b.dim() < 2:
        raise ShapeError(
            f"cdist only supports at least 2D tensors, X1 and X2 got: {a.dim()}D and {b.dim()}D"
        )
    if differ(a.shape[-1], b.shape[-1]):
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}"
        )
    if not p >= 0:
        raise InvalidArgumentError(f"cdist only supports non-negative p values, got {p}")
    mode = compute_mode or _MODES[0]
    if mode not in _MODES:
        raise ValueError(f"{mode} is not a valid value for compute_mode")
    sizes = (a.shape[-2], b.shape[-2])
    many = all(type(n) is int for n in sizes) and max(sizes) > 25
    if p == 2 and (mode == _MODES[1] or (mode == _MODES[0] and many)):
        squares = (a * a).sum(-1, keepdim=True) + (b * b).sum(-1).unsqueeze(-2) - 2 * (a @ b.mT)
        zero = squares <= 0
        return where(zero, squares * 0, where(zero, squares * 0 + 1, squares).sqrt())
    return _norm_of_rows(a.unsqueeze(-2) - b.unsqueeze(-3), p)


def _norm_of_rows(x: Any, p: float) -> Any:
    if nothing(x.shape[-1]):
        return x.sum(-1)
    return vector_norm(x, p, -1)


def pdist(input: Any, p: float = 2.0) -> Any:
    """(N (N - 1) / 2): the p-norm distance of each row of (N, M) to each later one."""
    x = real_floats("pdist", input, None)
    if x.dim() != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {x.dim()}D")
    if not p >= 0:
        raise InvalidArgumentError(f"pdist only supports non-negative p values, got {p}")
    numbers = arange(x.shape[0])
    pairs = (numbers.unsqueeze(-1) < numbers).nonzero()
    rows = [x.index_select(0, pairs.select(1, i)) for i in (0, 1)]
    return _norm_of_rows(rows[0] - rows[1], p)
