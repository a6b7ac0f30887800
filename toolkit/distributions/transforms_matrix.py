"""Transforms to triangular factors and positive definite matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.distributions import constraints
from toolkit.distributions.transforms import Transform
from toolkit.distributions.transforms_pointwise import TanhTransform
from toolkit.distributions.utils import T, epsilon
from toolkit.linalg import cholesky
from toolkit.tensor import cat, eye, from_numpy, ones_like, zeros_like


class LowerCholeskyTransform(Transform):
    """A lower triangle with a positive diagonal: its logarithm is x's."""

    domain: Any = constraints.independent(constraints.real, 2)
    codomain: Any = constraints.lower_cholesky

    def _call(self, x: T) -> T:
        return x.tril(-1) + x.diagonal(0, -2, -1).exp().diag_embed()

    def _inverse(self, y: T) -> T:
        return y.tril(-1) + y.diagonal(0, -2, -1).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """L L^T of the factor L that `LowerCholeskyTransform` makes."""

    domain: Any = constraints.independent(constraints.real, 2)
    codomain: Any = constraints.positive_definite
    _factor = LowerCholeskyTransform()

    def _call(self, x: T) -> T:
        factor = self._factor(x)
        return factor @ factor.mT

    def _inverse(self, y: T) -> T:
        return self._factor.inv(cholesky(y))


class CorrCholeskyTransform(Transform):
    """A vector of D (D - 1) / 2 numbers to the factor of a correlation matrix.

    Row by row, tanh(x) is the share, with its sign, that an element takes of what is left of the
    row's length 1; the diagonal takes the rest.
    """

    bijective = True
    domain: Any = constraints.real_vector
    codomain: Any = constraints.corr_cholesky

    def _call(self, x: T) -> T:
        eps = epsilon(x)
        shares = _to_lower(x.tanh().clamp(min=-1 + eps, max=1 - eps), self._rows(x.shape[-1]))
        left = (1 - shares * shares).sqrt().cumprod(-1)
        return (shares + eye(shares.shape[-1], dtype=x.dtype)) * _before(left)

    def _inverse(self, y: T) -> T:
        left = _before(1 - (y * y).cumsum(-1))
        return (_below(y, 1) / _below(left, 1).sqrt()).atanh()

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Of x to the triangle of y: half of sum log(what is left), + that of tanh."""
        left = _below(1 - (y * y).cumsum(-1), 2)
        return 0.5 * left.log().sum(-1) + TanhTransform().log_abs_det_jacobian(x, y).sum(-1)

    @staticmethod
    def _rows(n: int) -> int:
        rows = round(math.sqrt(0.25 + 2 * n) + 0.5)
        if rows * (rows - 1) // 2 != n:
            raise ValueError(
                f"Input is not a flattened lower-diagonal number: D (D - 1) / 2 elements are "
                f"required, got {n}."
            )
        return rows

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(..., N) to (..., D, D)."""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        rows = self._rows(shape[-1])
        return (*shape[:-1], rows, rows)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(..., D, D) to (..., N)."""
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _to_lower(x: T, rows: int) -> T:
    """Elements row by row below the diagonal, zeros elsewhere."""
    places = np.full((rows, rows), x.shape[-1])
    places[np.tril_indices(rows, -1)] = np.arange(x.shape[-1])
    padded = cat([x, zeros_like(x[..., :1])], -1)
    return padded.index_select(-1, from_numpy(places.ravel())).unflatten(-1, (rows, rows))


def _below(y: T, offset: int) -> T:
    """The elements `offset` or more below the diagonal, row by row."""
    rows, columns = np.tril_indices(y.shape[-1], -offset)
    places = from_numpy(rows * y.shape[-1] + columns)
    return y.flatten(-2).index_select(-1, places)


def _before(left: T) -> T:
    """What each column finds: 1, then what the columns before it left."""
    return cat([ones_like(left[..., :1]), left[..., :-1]], -1)
