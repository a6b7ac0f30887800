"""Distributions with a location and a scale: Normal, Laplace, Cauchy, Uniform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution, ExponentialFamily
from toolkit.distributions.utils import T, broadcast_all, epsilon, normal_log_normalizer, tiny
from toolkit.tensor import rand, randn


class _LocationScale(Distribution):
    """The base: loc + scale times a draw of the standard distribution."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    parameters = {"loc": 0, "scale": 0}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def _standard(self, value: T) -> T:
        self._validate_sample(value)
        return (value - self.loc) / self.scale

    @property
    def mean(self) -> T:
        """The location."""
        return self.loc

    @property
    def mode(self) -> T:
        """The location."""
        return self.loc


class Normal(_LocationScale, ExponentialFamily):
    """The normal distribution with mean `loc` and standard deviation `scale`."""

    @property
    def stddev(self) -> T:
        """The scale."""
        return self.scale

    @property
    def variance(self) -> T:
        """scale^2."""
        return self.scale * self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Loc + scale n."""
        shape = self._extended_shape(sample_shape)
        return self.loc + randn(*shape, dtype=self.loc.dtype) * self.scale

    def log_prob(self, value: T) -> T:
        """-((x - loc) / scale)^2 / 2 - log(scale) - log(2 pi) / 2."""
        x = self._standard(value)
        return -0.5 * x * x - normal_log_normalizer(self.scale)

    def cdf(self, value: T) -> T:
        """(1 + erf((x - loc) / (scale sqrt(2)))) / 2."""
        return 0.5 * (1 + (self._standard(value) / math.sqrt(2)).erf())

    def icdf(self, value: T) -> T:
        """Loc + scale sqrt(2) erfinv(2 q - 1)."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> T:
        """log(scale) + (1 + log(2 pi)) / 2."""
        return 0.5 + normal_log_normalizer(self.scale)


class Laplace(_LocationScale):
    """exp(-|x - loc| / scale) / (2 scale)."""

    @property
    def variance(self) -> T:
        """2 scale^2."""
        return 2 * self.scale * self.scale

    @property
    def stddev(self) -> T:
        """sqrt(2) scale."""
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Loc - scale sign(u) log(1 - |u|), u uniform in (-1, 1)."""
        u = rand(*self._extended_shape(sample_shape), dtype=self.loc.dtype)
        u = u * (2 - epsilon(u)) + (epsilon(u) - 1)
        return self.loc - self.scale * u.sign() * (-u.abs().clamp(min=tiny(u))).log1p()

    def log_prob(self, value: T) -> T:
        """-log(2 scale) - |x - loc| / scale."""
        return -(2 * self.scale).log() - self._standard(value).abs()

    def cdf(self, value: T) -> T:
        """(1 - sign(x) (exp(-|x|) - 1)) / 2 of the standardised x."""
        x = self._standard(value)
        return 0.5 - 0.5 * x.sign() * (-x.abs()).expm1()

    def icdf(self, value: T) -> T:
        """Loc - scale sign(q - 1/2) log(1 - 2 |q - 1/2|)."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> T:
        """1 + log(2 scale)."""
        return 1 + (2 * self.scale).log()


class Cauchy(_LocationScale):
    """scale / (pi (scale^2 + (x - loc)^2)): the ratio of two normal variables."""

    @property
    def mean(self) -> T:
        """There is none: NaN."""
        return self.loc * math.nan

    @property
    def variance(self) -> T:
        """Infinite."""
        return self.loc * 0 + math.inf

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Loc + scale tan(pi (u - 1/2))."""
        u = rand(*self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + self.scale * (math.pi * (u - 0.5)).tan()

    def log_prob(self, value: T) -> T:
        """-log(pi) - log(scale) - log(1 + ((x - loc) / scale)^2)."""
        x = self._standard(value)
        return -math.log(math.pi) - self.scale.log() - (x * x).log1p()

    def cdf(self, value: T) -> T:
        """atan((x - loc) / scale) / pi + 1/2."""
        return self._standard(value).atan() / math.pi + 0.5

    def icdf(self, value: T) -> T:
        """Loc + scale tan(pi (q - 1/2))."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> T:
        """log(4 pi scale)."""
        return math.log(4 * math.pi) + self.scale.log()


class Uniform(Distribution):
    """The same density everywhere in [low, high)."""

    has_rsample = True
    parameters = {"low": 0, "high": 0}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> Any:
        """`low` below `high`."""
        return {
            "low": constraints.less_than(self.high),
            "high": constraints.greater_than(self.low),
        }

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """[low, high]."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> T:
        """(low + high) / 2."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> T:
        """None is more likely than others: NaN."""
        return math.nan * self.high

    @property
    def stddev(self) -> T:
        """(high - low) / sqrt(12)."""
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> T:
        """(high - low)^2 / 12."""
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Low + u (high - low)."""
        u = rand(*self._extended_shape(sample_shape), dtype=self.low.dtype)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: T) -> T:
        """-log(high - low), outside -infinity."""
        self._validate_sample(value)
        inside = (self.low <= value) & (self.high > value)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def cdf(self, value: T) -> T:
        """(x - low) / (high - low) within [0, 1]."""
        self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: T) -> T:
        """Low + q (high - low)."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> T:
        """log(high - low)."""
        return (self.high - self.low).log()
