"""Triangular factors of covariance matrices: distances, determinants, and where they come from."""

from __future__ import annotations

from typing import Any

from toolkit.distributions.utils import T, broadcast_shape, lazy_property
from toolkit.errors import InvalidArgumentError
from toolkit.linalg import cholesky, solve_triangular
from toolkit.tensor import eye


def mahalanobis(tril: T, x: T) -> T:
    """x^T (L L^T)^-1 x for factors L (..., n, n) and vectors (..., n).

    What x has in front of the batch of L becomes columns of one system.
    """
    extra = x.ndim - (tril.ndim - 1)
    if extra <= 0:
        return (solve_triangular(tril, x.unsqueeze(-1), upper=False) ** 2).sum((-2, -1))
    columns = x.flatten(0, extra - 1).movedim(0, -1)
    squares = (solve_triangular(tril, columns, upper=False) ** 2).sum(-2)
    return squares.movedim(-1, 0).reshape(*x.shape[:extra], *squares.shape[:-1])


def half_log_det(tril: T) -> T:
    """Half the log determinant of L L^T: the sum of log(diagonal)."""
    return tril.diagonal(0, -2, -1).log().sum(-1)


def sum_of_squares(x: T) -> T:
    """The trace of X X^T."""
    return (x * x).sum((-2, -1))


def times(matrix: T, vector: T) -> T:
    """Matrices times vectors."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def inverse_of_square(tril: T) -> T:
    """(L L^T)^-1."""
    inverse = solve_triangular(tril, eye(tril.shape[-1], dtype=tril.dtype), upper=False)
    return inverse.mT @ inverse


def tril_of_inverse(matrix: T) -> T:
    """The factor of P^-1: with F the factor of P turned around, that of F turned back, inverted."""
    turned = cholesky(matrix.flip((-2, -1))).flip((-2, -1)).mT
    return solve_triangular(turned, eye(matrix.shape[-1], dtype=matrix.dtype), upper=False)


class Covariance:
    """What a distribution has that is given one of three matrices; it keeps the factor in `_tril`.

    `_tril` has the batch that it was given with, the three have that of the distribution.
    """

    _tril: T
    _batch_shape: Any

    def _set_matrix(self, where: str, shape: Any, **given: T | None) -> None:
        """Keeps the one that is not None.

        Raises:
            InvalidArgumentError: there are none or several, or it is no matrix.
        """
        matrices = {name: value for name, value in given.items() if value is not None}
        if len(matrices) != 1:
            raise InvalidArgumentError(
                f"{where}: Exactly one of covariance_matrix or precision_matrix or scale_tril may "
                "be specified."
            )
        ((name, matrix),) = matrices.items()
        if matrix.ndim < 2:
            raise InvalidArgumentError(
                f"{where}: {name} must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        batch = broadcast_shape(matrix.shape[:-2], shape)
        self.__dict__[name] = matrix.expand(*batch, *matrix.shape[-2:])
        self._given = name, matrix

    def _factor(self) -> None:
        """Computes `_tril`, once the matrix was checked."""
        name, matrix = self.__dict__.pop("_given")
        if name == "covariance_matrix":
            matrix = cholesky(matrix)
        elif name == "precision_matrix":
            matrix = tril_of_inverse(matrix)
        self._tril = matrix

    def _spread(self, matrix: T) -> T:
        return matrix.expand(*self._batch_shape, *matrix.shape[-2:])

    @lazy_property
    def scale_tril(self) -> T:
        """The lower triangular factor of the covariance."""
        return self._spread(self._tril)

    @lazy_property
    def covariance_matrix(self) -> T:
        """The covariance."""
        return self._spread(self._tril @ self._tril.mT)

    @lazy_property
    def precision_matrix(self) -> T:
        """The inverse of the covariance."""
        return self._spread(inverse_of_square(self._tril))
