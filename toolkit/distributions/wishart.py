"""Distributions of matrices: Wishart's of covariances, LKJCholesky of correlations' factors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution, ExponentialFamily
from toolkit.distributions.gamma_draws import log_gamma
from toolkit.distributions.matrices import (
    Covariance,
    half_log_det,
    inverse_of_square,
)
from toolkit.distributions.simplex import Beta
from toolkit.distributions.utils import T, broadcast_all, tiny, tracing
from toolkit.errors import InvalidArgumentError, ToolkitWarning
from toolkit.linalg import slogdet
from toolkit.tensor import Tensor, arange, randn, tensor


class Wishart(ExponentialFamily, Covariance):
    """The scatter matrix of `df` normal vectors of a covariance C (its inverse, its factor).

    Its density is |X|^((df - p - 1) / 2) exp(-trace(C^-1 X) / 2), normalised.
    """

    parameters = {"df": 0, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2}
    support = constraints.positive_definite
    has_rsample = True

    def __init__(
        self,
        df: Any,
        covariance_matrix: T | None = None,
        precision_matrix: T | None = None,
        scale_tril: T | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._set_matrix(
            "Wishart",
            df.shape if isinstance(df, Tensor) else (),
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        shape = self.__dict__[self._given[0]].shape
        kind = self._given[1].dtype
        df = df if isinstance(df, Tensor) else tensor(float(df), dtype=kind)
        self.df = df.expand(*shape[:-2])
        if not tracing():
            self._check_df(shape[-1])
        super().__init__(shape[:-2], shape[-2:], validate_args=validate_args)
        self._factor()

    def _check_df(self, p: int) -> None:
        if bool((self.df <= p - 1).any()):
            raise InvalidArgumentError(
                f"Value of df={self.df} expected to be greater than ndim - 1 = {p - 1}."
            )
        if bool((self.df < p).any()):
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for ndim - 1 "
                "< df < ndim.",
                ToolkitWarning,
                stacklevel=4,
            )

    @property
    def arg_constraints(self) -> Any:
        """`df` above p - 1."""
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self._event_shape[-1] - 1),
        }

    def _per_matrix(self, x: T) -> T:
        return x.unsqueeze(-1).unsqueeze(-1)

    @property
    def mean(self) -> T:
        """Df C."""
        return self._per_matrix(self.df) * self.covariance_matrix

    @property
    def mode(self) -> T:
        """(df - p - 1) C, NaN for df up to p + 1."""
        factor = self.df - self._event_shape[-1] - 1
        return self._per_matrix(where(factor > 0, factor, math.nan)) * self.covariance_matrix

    @property
    def variance(self) -> T:
        """Df (C_ij^2 + C_ii C_jj)."""
        c = self.covariance_matrix
        diagonal = c.diagonal(0, -2, -1)
        products = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self._per_matrix(self.df) * (c * c + products)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """L A A^T L^T (Bartlett, 1933): A normal below the diagonal, roots of chi-squared on it."""
        shape, p = self._extended_shape(sample_shape), self._event_shape[-1]
        kind = self._tril.dtype
        half = 0.5 * (self.df.unsqueeze(-1) - arange(p, dtype=kind))
        diagonal = (0.5 * (math.log(2) + log_gamma(half, shape[:-1]))).exp()
        a = randn(*shape, dtype=kind).tril(-1) + diagonal.clamp(min=tiny(half)).diag_embed()
        factor = self._tril @ a
        return factor @ factor.mT

    def _log_norm(self) -> T:
        """The logarithm of the normaliser."""
        p = self._event_shape[-1]
        return self.df * (0.5 * p * math.log(2) + half_log_det(self._tril)) + (
            0.5 * self.df
        ).mvlgamma(p)

    def log_prob(self, value: T) -> T:
        """((df - p - 1) log|X| - trace(C^-1 X)) / 2 - the logarithm of the normaliser."""
        self._validate_sample(value)
        p = self._event_shape[-1]
        trace = (inverse_of_square(self._tril) * value).sum((-2, -1))
        determinant: Any = slogdet(value)
        power = (self.df - p - 1) * determinant.logabsdet
        return 0.5 * (power - trace) - self._log_norm()

    def entropy(self) -> T:
        """log(norm) - (df - p - 1) E[log|X|] / 2 + df p / 2."""
        p = self._event_shape[-1]
        power = 0.5 * (self.df - p - 1) * self.mean_log_det()
        return self._log_norm() - power + 0.5 * self.df * p

    def mean_log_det(self) -> T:
        """E[log|X|]: the sum of digamma((df - i) / 2), + p log(2) + log|C|."""
        p = self._event_shape[-1]
        halves = 0.5 * (self.df.unsqueeze(-1) - arange(p, dtype=self.df.dtype))
        return halves.digamma().sum(-1) + p * math.log(2) + 2 * half_log_det(self._tril)


class LKJCholesky(Distribution):
    """Triangular factors of correlation matrices M of density |M|^(concentration - 1).

    Lewandowski, Kurowicka and Joe, 2009. At 1 all correlation matrices are as likely.

    Args:
        dim: rows of the matrices, 2 or more.
        concentration: positive; the larger, the nearer to the identity.
        validate_args: see `Distribution`.
    """

    arg_constraints = {"concentration": constraints.positive}
    parameters = {"concentration": 0}
    support = constraints.corr_cholesky

    def __init__(
        self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        if dim < 2:
            raise InvalidArgumentError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """The onion method: a row is a direction times a length whose square is Beta's."""
        shape, kind = self._extended_shape(sample_shape), self.concentration.dtype
        with no_grad():
            before = (arange(self.dim, dtype=kind) - 1).clamp(min=0)
            left = self.concentration.unsqueeze(-1) + 0.5 * (self.dim - 2 - before)
            squares = Beta(0.5 * (1 + before), left, False).sample(sample_shape)
            normal = randn(*shape, dtype=kind).tril(-1)
            length = (normal * normal).sum(-1, keepdim=True).sqrt()
            direction = normal / where(length == 0, 1.0, length)  # The first row has none.
            rows = squares.sqrt().unsqueeze(-1) * direction
            rest = (1 - (rows * rows).sum(-1)).clamp(min=tiny(rows))
            return rows + rest.sqrt().diag_embed()

    def log_prob(self, value: T) -> T:
        """Sum over rows i from 2 of (2 (concentration - 1) + dim - i) log(L_ii) - log(norm)."""
        self._validate_sample(value)
        a, rows = self.concentration, self.dim - 1
        order = 2 * (a - 1).unsqueeze(-1) + (rows - 1 - arange(rows, dtype=a.dtype))
        found = (order * value.diagonal(0, -2, -1)[..., 1:].log()).sum(-1)
        alpha = a + 0.5 * rows
        log_norm = 0.5 * rows * math.log(math.pi) + (alpha - 0.5).mvlgamma(rows)
        return found - (log_norm - rows * alpha.lgamma())
