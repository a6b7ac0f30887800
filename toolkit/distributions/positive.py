"""Distributions of waiting: Exponential and Geometric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution, ExponentialFamily
from toolkit.distributions.utils import (
    T,
    binary_cross_entropy,
    broadcast_all,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
    tiny,
    tracing,
)
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import rand, zeros_like


class Exponential(ExponentialFamily):
    """rate exp(-rate x)."""

    arg_constraints = {"rate": constraints.positive}
    parameters = {"rate": 0}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> T:
        """0."""
        return zeros_like(self.rate)

    @property
    def stddev(self) -> T:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> T:
        """1 / rate^2."""
        return self.rate**-2

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """-log(1 - u) / rate."""
        u = rand(*self._extended_shape(sample_shape), dtype=self.rate.dtype)
        return -(-u).log1p() / self.rate

    def log_prob(self, value: T) -> T:
        """log(rate) - rate x."""
        self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: T) -> T:
        """1 - exp(-rate x)."""
        self._validate_sample(value)
        return 1 - (-self.rate * value).exp()

    def icdf(self, value: T) -> T:
        """-log(1 - q) / rate."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> T:
        """1 - log(rate)."""
        return 1.0 - self.rate.log()


class Geometric(Distribution):
    """Failures before the first success: (1 - probs)^k probs."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    parameters = {"probs": 0, "logits": 0}
    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise InvalidArgumentError(
                "Either `probs` or `logits` must be specified, but not both."
            )
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        shape = (self.probs if probs is not None else self.logits).shape
        super().__init__(shape, validate_args=validate_args)
        checked = self._validate_args and probs is not None and not tracing()
        if checked and not bool((self.probs > 0).all()):
            raise InvalidArgumentError(
                f"Expected parameter probs of distribution {self!r} to be positive, but found "
                f"invalid values:\n{self.probs}"
            )

    @lazy_property
    def logits(self) -> T:
        """The log odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> T:
        """Of a success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def mean(self) -> T:
        """1 / probs - 1."""
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> T:
        """0."""
        return zeros_like(self.probs)

    @property
    def variance(self) -> T:
        """(1 / probs - 1) / probs."""
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """floor(log(u) / log(1 - probs))."""
        with no_grad():
            u = rand(*self._extended_shape(sample_shape), dtype=self.probs.dtype)
            return (u.clamp(min=tiny(u)).log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: T) -> T:
        """K log(1 - probs) + log(probs)."""
        self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        certain = (probs == 1) & (value == 0)  # There 0 log(0) is 0.
        probs = probs.masked_fill(certain, 0.0)
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self) -> T:
        """The cross entropy with itself over probs."""
        return binary_cross_entropy(self.logits, self.probs) / self.probs
