"""Dropout: masks by toolkit's counter-based generator, the same bits on every runtime."""

from __future__ import annotations

import math
import warnings
from typing import Any

from toolkit import random
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.tensor import Tensor, ones_like

_SATURATION = 1.7580993408473766  # Of SELU: -alpha * scale is what it tends to.


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


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Sets elements to SELU's saturation; mean and variance stay (Klambauer et al., 2017)."""
    _check("alpha_dropout", p)
    return _alpha(input, input, p, training, inplace)


def feature_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, ...)."""
    _check("feature_dropout", p)
    plane = _channels("feature_dropout", input)
    if not training or p == 0.0:
        return input
    y = input * dropout(ones_like(plane), p)
    return input.copy_(y) if inplace else y


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels of (N, C, ...)."""
    _check("feature_alpha_dropout", p)
    return _alpha(input, _channels("feature_alpha_dropout", input), p, training, inplace)


def _channels(where: str, input: Tensor) -> Any:
    """One element of each channel of (N, C, ...), outside the tape."""
    if input.dim() < 2:
        raise ShapeError(
            f"{where}: an input of at least 2 dimensions is required, got {list(input.shape)}. "
            "Feature dropout requires at least 2 dimensions in the input."
        )
    plane = input.detach()
    for dim in range(2, input.dim()):
        plane = plane.narrow(dim, 0, 1)
    return plane


def _alpha(input: Tensor, plane: Any, p: float, training: bool, inplace: bool) -> Tensor:
    """Scale * (x where kept, else the saturation) + shift; drawn once for each of `plane`."""
    if not training or p == 0.0:
        return input
    if p == 1.0:
        y: Any = input * 0.0
    else:
        scale = 1.0 / math.sqrt((_SATURATION**2 * p + 1.0) * (1.0 - p))
        kept = (random.dropout(ones_like(plane.detach()), p)[1]).to(input.dtype)
        y = input * (kept * scale) + (kept - 1.0 + p) * (_SATURATION * scale)
    return input.copy_(y) if inplace else y


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, L) or (C, L)."""
    _check("dropout1d", p)
    if input.dim() not in (2, 3):
        raise ShapeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input."
        )
    return _batched(input, 3, p, training, inplace)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, H, W); (N, C, L) is taken as by `dropout1d`."""
    _check("dropout2d", p)
    if input.dim() == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
            "dropout behavior is desired - input is interpreted as shape (N, C, L), where C is "
            "the channel dim.",
            stacklevel=2,
        )
    else:
        _warn_rank("dropout2d", input, (3, 4))
    return feature_dropout(input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    _check("dropout3d", p)
    _warn_rank("dropout3d", input, (4, 5))
    return _batched(input, 5, p, training, inplace)


def _warn_rank(where: str, input: Tensor, ranks: tuple[int, ...]) -> None:
    if input.dim() not in ranks:
        warnings.warn(
            f"{where}: Received a {input.dim()}-D input to {where}, which is deprecated and will "
            "result in an error in a future release. Please use dropout instead.",
            stacklevel=3,
        )


def _batched(input: Tensor, rank: int, p: float, training: bool, inplace: bool) -> Tensor:
    """`feature_dropout`, with a batch of one in front where the rank has none."""
    if input.dim() == rank:
        return feature_dropout(input, p, training, inplace)
    y = feature_dropout(input.unsqueeze(0), p, training).squeeze(0)
    return input.copy_(y) if inplace and training and p > 0.0 else y
