"""The gamma distribution and its relatives: Gamma, Chi2, InverseGamma."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions import constraints
from toolkit.distributions.distribution import ExponentialFamily
from toolkit.distributions.gamma_draws import log_gamma
from toolkit.distributions.transformed import TransformedDistribution
from toolkit.distributions.transforms_pointwise import PowerTransform
from toolkit.distributions.utils import T, broadcast_all, tiny
from toolkit.special import gammainc
from toolkit.tensor import ones_like


class Gamma(ExponentialFamily):
    """rate^a x^(a - 1) exp(-rate x) / gamma(a), a the concentration."""

    arg_constraints: Any = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    parameters = {"concentration": 0, "rate": 0}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """A / rate."""
        return self.concentration / self.rate

    @property
    def mode(self) -> T:
        """(a - 1) / rate, at least 0."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> T:
        """A / rate^2."""
        return self.concentration / self.rate**2

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Marsaglia and Tsang's draw / rate, with its implicit gradient."""
        drawn = log_gamma(self.concentration, self._extended_shape(sample_shape)).exp()
        return (drawn / self.rate).clamp(min=tiny(drawn))

    def log_prob(self, value: T) -> T:
        """A log(rate) + (a - 1) log(x) - rate x - log gamma(a)."""
        self._validate_sample(value)
        a, rate = self.concentration, self.rate
        return a * rate.log() + (a - 1).xlogy(value) - rate * value - a.lgamma()

    def cdf(self, value: T) -> T:
        """The regularised incomplete gamma function of a and rate x."""
        self._validate_sample(value)
        return gammainc(self.concentration, self.rate * value)

    def entropy(self) -> T:
        """A - log(rate) + log gamma(a) + (1 - a) digamma(a)."""
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()


class Chi2(Gamma):
    """Sums of `df` squared standard normal variables."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (df,) = broadcast_all(df)
        super().__init__(0.5 * df, 0.5 * ones_like(df), validate_args=validate_args)

    @property
    def df(self) -> T:
        """Degrees of freedom."""
        return self.concentration * 2


class InverseGamma(TransformedDistribution):
    """1 / x of a gamma variable x."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, PowerTransform(-ones_like(base.rate)), validate_args)

    @property
    def concentration(self) -> T:
        """Of the gamma variable."""
        return self.base_dist.concentration  # type: ignore[attr-defined]

    @property
    def rate(self) -> T:
        """Of the gamma variable."""
        return self.base_dist.rate  # type: ignore[attr-defined]

    @property
    def mean(self) -> T:
        """Rate / (a - 1), infinite for a up to 1."""
        a = self.concentration
        return where(a > 1, self.rate / (a - 1), float("inf"))

    @property
    def mode(self) -> T:
        """Rate / (a + 1)."""
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> T:
        """rate^2 / ((a - 1)^2 (a - 2)), infinite for a up to 2."""
        a = self.concentration
        return where(a > 2, self.rate**2 / ((a - 1) ** 2 * (a - 2)), float("inf"))

    def entropy(self) -> T:
        """A + log(rate) + log gamma(a) - (1 + a) digamma(a)."""
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()
