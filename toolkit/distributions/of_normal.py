"""Transforms of normal and Cauchy variables: LogNormal, HalfNormal, HalfCauchy, LogisticNormal."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions import constraints
from toolkit.distributions.location_scale import Cauchy, Normal
from toolkit.distributions.transformed import TransformedDistribution
from toolkit.distributions.transforms_pointwise import AbsTransform, ExpTransform
from toolkit.distributions.transforms_shape import StickBreakingTransform
from toolkit.distributions.utils import T
from toolkit.tensor import zeros_like

_LOG2 = math.log(2)


class LogNormal(TransformedDistribution):
    """exp of a normal variable."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args), ExpTransform(), validate_args)

    @property
    def loc(self) -> T:
        """Of the logarithm."""
        return self.base_dist.loc  # type: ignore[attr-defined]

    @property
    def scale(self) -> T:
        """Of the logarithm."""
        return self.base_dist.scale  # type: ignore[attr-defined]

    @property
    def mean(self) -> T:
        """exp(loc + scale^2 / 2)."""
        return (self.loc + self.scale**2 / 2).exp()

    @property
    def mode(self) -> T:
        """exp(loc - scale^2)."""
        return (self.loc - self.scale**2).exp()

    @property
    def variance(self) -> T:
        """(exp(scale^2) - 1) exp(2 loc + scale^2)."""
        square = self.scale**2
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self) -> T:
        """That of the logarithm, plus loc."""
        return self.base_dist.entropy() + self.loc


class _Half(TransformedDistribution):
    """The absolute value of a symmetric variable around 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    base: Any

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(self.base(0, scale, validate_args=False), AbsTransform(), validate_args)

    @property
    def scale(self) -> T:
        """Of the symmetric variable."""
        return self.base_dist.scale  # type: ignore[attr-defined]

    @property
    def mode(self) -> T:
        """0."""
        return zeros_like(self.scale)

    def log_prob(self, value: T) -> T:
        """Log 2 + that of the symmetric variable; -infinity below 0."""
        self._validate_sample(value)
        found = self.base_dist.log_prob(value) + _LOG2
        return where(value >= 0, found, -math.inf)

    def cdf(self, value: T) -> T:
        """2 cdf(x) - 1 of the symmetric variable."""
        self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: T) -> T:
        """That of (q + 1) / 2 of the symmetric variable."""
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> T:
        """That of the symmetric variable, less log 2."""
        return self.base_dist.entropy() - _LOG2


class HalfNormal(_Half):
    """|x| of a normal x."""

    base = Normal

    @property
    def mean(self) -> T:
        """Scale sqrt(2 / pi)."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> T:
        """scale^2 (1 - 2 / pi)."""
        return self.scale**2 * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """|x| of a Cauchy x."""

    base = Cauchy

    @property
    def mean(self) -> T:
        """Infinite."""
        return self.scale * math.inf

    @property
    def variance(self) -> T:
        """Infinite."""
        return self.scale * math.inf


class LogisticNormal(TransformedDistribution):
    """Points of a simplex: broken sticks of normal variables."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.simplex

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args)
        if not base.batch_shape:
            base = base.expand([1])
        super().__init__(base, StickBreakingTransform(), validate_args)

    @property
    def loc(self) -> T:
        """Of the normal variables."""
        return self.base_dist.base_dist.loc  # type: ignore[attr-defined]

    @property
    def scale(self) -> T:
        """Of the normal variables."""
        return self.base_dist.base_dist.scale  # type: ignore[attr-defined]
