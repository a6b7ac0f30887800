"""Normal vectors: MultivariateNormal, and LowRankMultivariateNormal of a factored covariance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution
from toolkit.distributions.matrices import (
    Covariance,
    half_log_det,
    mahalanobis,
    times,
)
from toolkit.distributions.utils import T, broadcast_shape, lazy_property
from toolkit.errors import InvalidArgumentError
from toolkit.linalg import cholesky, solve_triangular
from toolkit.tensor import eye, randn


class _NormalVector(Distribution):
    """The base: a location, and a squared distance and a log determinant of the covariance."""

    support = constraints.real_vector
    has_rsample = True
    loc: T

    @property
    def mean(self) -> T:
        """The location."""
        return self.loc

    @property
    def mode(self) -> T:
        """The location."""
        return self.loc

    def _distance(self, x: T) -> T:
        """x^T C^-1 x."""
        raise NotImplementedError

    def _log_det(self) -> T:
        """Log |C|."""
        raise NotImplementedError

    def log_prob(self, value: T) -> T:
        """-(n log(2 pi) + log|C| + (x - loc)^T C^-1 (x - loc)) / 2."""
        self._validate_sample(value)
        norm = self._event_shape[0] * math.log(2 * math.pi) + self._log_det()
        return -0.5 * (norm + self._distance(value - self.loc))

    def entropy(self) -> T:
        """(n (1 + log(2 pi)) + log|C|) / 2."""
        found = 0.5 * (self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._log_det())
        return found.expand(*self._batch_shape)


def _require_vector(where: str, loc: T) -> None:
    if loc.ndim < 1:
        raise InvalidArgumentError(f"{where}: loc must be at least one-dimensional.")


class MultivariateNormal(_NormalVector, Covariance):
    """Normal vectors of mean `loc` and a covariance, its inverse or its triangular factor."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    parameters = {"loc": 1, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2}

    def __init__(
        self,
        loc: T,
        covariance_matrix: T | None = None,
        precision_matrix: T | None = None,
        scale_tril: T | None = None,
        validate_args: bool | None = None,
    ) -> None:
        _require_vector("MultivariateNormal", loc)
        self._set_matrix(
            "MultivariateNormal",
            loc.shape[:-1],
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        batch = self.__dict__[self._given[0]].shape[:-2]
        self.loc = loc.expand(*batch, loc.shape[-1])
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._factor()

    @property
    def variance(self) -> T:
        """The diagonal of the covariance."""
        found = (self._tril * self._tril).sum(-1)
        return found.expand(*self._batch_shape, *self._event_shape)

    def _distance(self, x: T) -> T:
        return mahalanobis(self._tril, x)

    def _log_det(self) -> T:
        return 2 * half_log_det(self._tril)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Loc + L n."""
        n = randn(*self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + times(self._tril, n)


class LowRankMultivariateNormal(_NormalVector):
    """Normal vectors of covariance W W^T + diag(d), W with few columns.

    Everything is computed by the m x m matrix I + W^T diag(1 / d) W (Woodbury's identity).

    Args:
        loc: the mean (..., n).
        cov_factor: W (..., n, m).
        cov_diag: d (..., n).
        validate_args: see `Distribution`.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    parameters: Any = {
        "loc": 1, "cov_factor": 2, "cov_diag": 1, "variance": 1,
        "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2,
    }  # fmt: skip

    def __init__(
        self, loc: T, cov_factor: T, cov_diag: T, validate_args: bool | None = None
    ) -> None:
        where = "LowRankMultivariateNormal"
        _require_vector(where, loc)
        n = loc.shape[-1]
        if cov_factor.ndim < 2:
            raise InvalidArgumentError(
                f"{where}: cov_factor must be at least two-dimensional, with optional leading "
                "batch dimensions"
            )
        if cov_factor.shape[-2] != n:
            raise InvalidArgumentError(
                f"{where}: cov_factor must be a batch of matrices with shape {n} x m"
            )
        if cov_diag.shape[-1] != n:
            raise InvalidArgumentError(
                f"{where}: cov_diag must be a batch of vectors with shape ({n},)"
            )
        batch = broadcast_shape(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        self.loc = loc.expand(*batch, n)
        self.cov_factor = cov_factor.expand(*batch, *cov_factor.shape[-2:])
        self.cov_diag = cov_diag.expand(*batch, n)
        super().__init__(batch, (n,), validate_args=validate_args)
        self._w, self._d = cov_factor, cov_diag  # With the batch that they were given with.
        scaled = cov_factor * cov_diag.rsqrt().unsqueeze(-1)
        self._capacitance = cholesky(_plus_one(scaled.mT @ scaled))

    def _whitened(self) -> T:
        """A with C^-1 = diag(1 / d) - A^T A."""
        right = (self._w / self._d.unsqueeze(-1)).mT
        return solve_triangular(self._capacitance, right, upper=False)

    def _distance(self, x: T) -> T:
        inside = times(self._w.mT, x / self._d)
        return (x * x / self._d).sum(-1) - mahalanobis(self._capacitance, inside)

    def _log_det(self) -> T:
        return 2 * half_log_det(self._capacitance) + self._d.log().sum(-1)

    @lazy_property
    def variance(self) -> T:
        """The diagonal of the covariance."""
        found = (self._w * self._w).sum(-1) + self._d
        return found.expand(*self._batch_shape, *self._event_shape)

    @lazy_property
    def scale_tril(self) -> T:
        """sqrt(d) times the factor of I + W' W'^T, W' = W / sqrt(d): well conditioned."""
        root = self._d.sqrt().unsqueeze(-1)
        scaled = self._w / root
        return self._spread(root * cholesky(_plus_one(scaled @ scaled.mT)))

    @lazy_property
    def covariance_matrix(self) -> T:
        """W W^T + diag(d)."""
        return self._spread(self._w @ self._w.mT + self._d.diag_embed())

    @lazy_property
    def precision_matrix(self) -> T:
        """The inverse of the covariance."""
        a = self._whitened()
        return self._spread(self._d.reciprocal().diag_embed() - a.mT @ a)

    def _spread(self, matrix: T) -> T:
        return matrix.expand(*self._batch_shape, *matrix.shape[-2:])

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Loc + W n + sqrt(d) n'."""
        shape, kind = self._extended_shape(sample_shape), self.loc.dtype
        inner = randn(*shape[:-1], self._w.shape[-1], dtype=kind)
        outer = randn(*shape, dtype=kind)
        return self.loc + times(self._w, inner) + self._d.sqrt() * outer


def _plus_one(matrix: T) -> T:
    return matrix + eye(matrix.shape[-1], dtype=matrix.dtype)
