"""Ratios of normal and gamma variables: StudentT and FisherSnedecor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution
from toolkit.distributions.gamma_draws import log_gamma
from toolkit.distributions.utils import T, broadcast_all, tiny
from toolkit.tensor import randn


def log_beta(a: T, b: T) -> T:
    """The logarithm of the beta function."""
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


class StudentT(Distribution):
    """Loc + scale n / sqrt(c / df), n normal and c of the chi-squared distribution of df."""

    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    parameters = {"df": 0, "loc": 0, "scale": 0}
    support = constraints.real
    has_rsample = True

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """The location, NaN for df up to 1."""
        return where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> T:
        """The location."""
        return self.loc

    @property
    def variance(self) -> T:
        """scale^2 df / (df - 2), infinite for df up to 2 and NaN up to 1."""
        found = self.scale**2 * self.df / (self.df - 2)
        return where(self.df > 2, found, where(self.df > 1, math.inf, math.nan))

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Loc + scale n sqrt((df / 2) / g), g a gamma variable of df / 2."""
        shape, half = self._extended_shape(sample_shape), 0.5 * self.df
        spread = (0.5 * (half.log() - log_gamma(half, shape))).exp()
        return self.loc + self.scale * randn(*shape, dtype=self.loc.dtype) * spread

    def log_prob(self, value: T) -> T:
        """-(df + 1) / 2 log(1 + y^2 / df) - log(scale sqrt(df) beta(1/2, df / 2))."""
        self._validate_sample(value)
        y, df = (value - self.loc) / self.scale, self.df
        norm = self.scale.log() + 0.5 * df.log() + log_beta(0.5 * df, 0.5 + 0 * df)
        return -0.5 * (df + 1) * (y * y / df).log1p() - norm

    def entropy(self) -> T:
        """(df + 1) / 2 (digamma((df + 1) / 2) - digamma(df / 2)) + log(norm)."""
        df = self.df
        norm = self.scale.log() + 0.5 * df.log() + log_beta(0.5 * df, 0.5 + 0 * df)
        half = 0.5 * (df + 1)
        return half * (half.digamma() - (0.5 * df).digamma()) + norm


class FisherSnedecor(Distribution):
    """The ratio of two chi-squared variables, each over its degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    parameters = {"df1": 0, "df2": 0}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """df2 / (df2 - 2), NaN for df2 up to 2."""
        return where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan)

    @property
    def mode(self) -> T:
        """(df1 - 2) / df1 df2 / (df2 + 2), NaN for df1 up to 2."""
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return where(self.df1 > 2, found, math.nan)

    @property
    def variance(self) -> T:
        """2 df2^2 (df1 + df2 - 2) / (df1 (df2 - 2)^2 (df2 - 4)), NaN for df2 up to 4."""
        m, n = self.df1, self.df2
        found = 2 * n**2 * (m + n - 2) / (m * (n - 2) ** 2 * (n - 4))
        return where(n > 4, found, math.nan)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """The ratio of two gamma variables, each over its mean."""
        shape, m, n = self._extended_shape(sample_shape), 0.5 * self.df1, 0.5 * self.df2
        top, bottom = log_gamma(m, shape) - m.log(), log_gamma(n, shape) - n.log()
        return (top - bottom).exp().clamp(min=tiny(m))

    def log_prob(self, value: T) -> T:
        """log((r x)^m / x (1 + r x)^-(m + n) / beta(m, n)), m and n halves, r = df1 / df2."""
        self._validate_sample(value)
        m, n, ratio = 0.5 * self.df1, 0.5 * self.df2, self.df1 / self.df2
        power = m * ratio.log() + (m - 1) * value.log()
        return power - (m + n) * (ratio * value).log1p() - log_beta(m, n)
