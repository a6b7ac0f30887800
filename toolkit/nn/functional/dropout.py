"""Dropout: masks by toolkit's counter-based generator, the same bits on every runtime."""

from __future__ import annotations

from toolkit import random
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.tensor import Tensor, ones_like


def _check(where: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise InvalidArgumentError(
            f"{where}: dropout probability has to be between 0 and 1, but got {p}."
        )


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes elements with probability p and scales the others by 1 / (1 - p)."""
    _check("dropout", p)
    if not training or p == 0.0:
        return input
    y = input * 0.0 if p == 1.0 else random.dropout(input, p)[0]
    return input.copy_(y) if inplace else y


def _feature_dropout(n: int, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Zeroes whole channels."""
    where = f"dropout{n}d"
    _check(where, p)
    if input.dim() not in (n + 1, n + 2):
        raise ShapeError(
            f"{where}: {n + 1} or {n + 2} dimensions are required, got {list(input.shape)}."
        )
    if not training or p == 0.0:
        return input
    plane = input.detach()
    for dim in range(input.dim() - n, input.dim()):
        plane = plane.narrow(dim, 0, 1)
    y = input * dropout(ones_like(plane), p)
    return input.copy_(y) if inplace else y


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, L) or (C, L)."""
    return _feature_dropout(1, input, p, training, inplace)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, H, W) or (C, H, W)."""
    return _feature_dropout(2, input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _feature_dropout(3, input, p, training, inplace)
