"""Counts of events that come at a rate: Poisson and NegativeBinomial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit._tensor.creation import poisson
from toolkit._tensor.elementwise import where
from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.discrete import ProbsOrLogits, one_of
from toolkit.distributions.distribution import Distribution, ExponentialFamily
from toolkit.distributions.gamma_draws import log_gamma
from toolkit.distributions.transforms_pointwise import softplus
from toolkit.distributions.utils import (
    T,
    broadcast_all,
)


class Poisson(ExponentialFamily):
    """rate^k exp(-rate) / k!."""

    arg_constraints = {"rate": constraints.nonnegative}
    parameters = {"rate": 0}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """The rate."""
        return self.rate

    @property
    def mode(self) -> T:
        """floor(rate)."""
        return self.rate.floor()

    @property
    def variance(self) -> T:
        """The rate."""
        return self.rate

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """`toolkit.poisson` of the rates."""
        with no_grad():
            return poisson(self.rate.expand(*self._extended_shape(sample_shape)))

    def log_prob(self, value: T) -> T:
        """K log(rate) - rate - log(k!)."""
        self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()


class NegativeBinomial(ProbsOrLogits, Distribution):
    """Successes of probability `probs` before `total_count` failures."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    parameters = {"total_count": 0, "probs": 0, "logits": 0}
    support = constraints.nonnegative_integer

    def __init__(
        self,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        one_of(probs, logits)
        if probs is not None:
            self.total_count, self.probs = broadcast_all(total_count, probs)
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
        self.total_count = self.total_count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """N exp(logits)."""
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> T:
        """floor((n - 1) exp(logits)), at least 0."""
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self) -> T:
        """Mean / (1 - probs)."""
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Poisson draws whose rates are gamma variables of n, times exp(logits)."""
        with no_grad():
            shape = self._extended_shape(sample_shape)
            some = self.total_count > 0
            drawn = log_gamma(where(some, self.total_count, 1.0), shape) + self.logits
            return poisson(where(some, drawn.exp(), 0.0))

    def log_prob(self, value: T) -> T:
        """N log(1 - probs) + k log(probs) + log(gamma(n + k) / (k! gamma(n)))."""
        self._validate_sample(value)
        n, logits = self.total_count, self.logits
        likely = -n * softplus(logits) - value * softplus(-logits)
        choices = (value + 1).lgamma() + n.lgamma() - (n + value).lgamma()
        return likely - where(n + value == 0, 0.0, choices)
