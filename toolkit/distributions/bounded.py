"""ContinuousBernoulli and GeneralizedPareto."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions import constraints
from toolkit.distributions.discrete import one_of
from toolkit.distributions.distribution import Distribution, ExponentialFamily
from toolkit.distributions.utils import (
    T,
    binary_cross_entropy,
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from toolkit.tensor import rand


class ContinuousBernoulli(ExponentialFamily):
    """probs^x (1 - probs)^(1 - x) on [0, 1], normalised (Loaiza-Ganem and Cunningham, 2019).

    Near probs = 1/2, within `lims`, the formulas are Taylor series.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    parameters = {"probs": 0, "logits": 0}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        one_of(probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
            shape = self.probs.shape
        else:
            (self.logits,) = broadcast_all(logits)
            shape = self.logits.shape
        self._lims = lims
        super().__init__(shape, validate_args=validate_args)
        if probs is not None:
            self.probs = clamp_probs(self.probs)

    @lazy_property
    def logits(self) -> T:
        """The log odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> T:
        """The parameter in (0, 1)."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _far(self) -> T:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut(self) -> T:
        """probs, but the lower limit near 1/2."""
        return where(self._far(), self.probs, self._lims[0])

    def _odds(self) -> T:
        cut = self._cut()
        return (-cut).log1p() - cut.log()

    def _log_norm(self) -> T:
        cut, x = self._cut(), (self.probs - 0.5) ** 2
        found = self._odds().abs().log() - (1 - 2 * cut).abs().log()
        return where(self._far(), found, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self) -> T:
        """p / (2 p - 1) + 1 / log((1 - p) / p)."""
        cut, x = self._cut(), self.probs - 0.5
        found = cut / (2.0 * cut - 1.0) + 1.0 / self._odds()
        return where(self._far(), found, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x)

    @property
    def variance(self) -> T:
        """p (p - 1) / (1 - 2 p)^2 + 1 / log((1 - p) / p)^2."""
        cut, x = self._cut(), (self.probs - 0.5) ** 2
        found = cut * (cut - 1.0) / (1.0 - 2.0 * cut) ** 2 + 1.0 / self._odds() ** 2
        return where(self._far(), found, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    @property
    def param_shape(self) -> Any:
        """The parameter's shape."""
        return self._batch_shape

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """icdf(u)."""
        return self.icdf(rand(*self._extended_shape(sample_shape), dtype=self.probs.dtype))

    def log_prob(self, value: T) -> T:
        """x log(p) + (1 - x) log(1 - p) + the logarithm of the normaliser."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return self._log_norm() - binary_cross_entropy(logits, value)

    def cdf(self, value: T) -> T:
        """(p^x (1 - p)^(1 - x) + p - 1) / (2 p - 1)."""
        self._validate_sample(value)
        cut = self._cut()
        found = (cut**value * (1.0 - cut) ** (1.0 - value) + cut - 1.0) / (2.0 * cut - 1.0)
        return where(self._far(), found, value).clamp(min=0, max=1)

    def icdf(self, value: T) -> T:
        """log((1 - p + q (2 p - 1)) / (1 - p)) / log(p / (1 - p))."""
        cut = self._cut()
        found = ((value * (2.0 * cut - 1.0) - cut).log1p() - (-cut).log1p()) / -self._odds()
        return where(self._far(), found, value)

    def entropy(self) -> T:
        """mean log((1 - p) / p) - log(normaliser) - log(1 - p)."""
        log0, log1 = (-self.probs).log1p(), self.probs.log()
        return self.mean * (log0 - log1) - self._log_norm() - log0


class GeneralizedPareto(Distribution):
    """The tail above a threshold: (1 + c (x - loc) / scale)^(-1 / c - 1) / scale.

    c is the `concentration`; at 0 it is exponential, below 0 bounded.
    """

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    parameters = {"loc": 0, "scale": 0, "concentration": 0}
    has_rsample = True

    def __init__(
        self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From the location on, up to loc - scale / c for a negative c."""
        ends = self.concentration < 0
        end = self.loc - self.scale / where(ends, self.concentration, -1.0)
        return constraints.interval(self.loc, where(ends, end, math.inf))

    def _parts(self, value: T) -> tuple[T, T, T]:
        """The standardised value, where c is 0, and c with 1 there."""
        zero = self.concentration.abs() <= 1e-8
        return (value - self.loc) / self.scale, zero, where(zero, 1.0, self.concentration)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """icdf(u)."""
        return self.icdf(rand(*self._extended_shape(sample_shape), dtype=self.loc.dtype))

    def log_prob(self, value: T) -> T:
        """-(1 / c + 1) log(1 + c z) - log(scale)."""
        self._validate_sample(value)
        z, zero, c = self._parts(value)
        found = -(1 / c + 1) * (self.concentration * z).log1p()
        return where(zero, -z, found) - self.scale.log()

    def log_survival_function(self, value: T) -> T:
        """-log(1 + c z) / c."""
        self._validate_sample(value)
        z, zero, c = self._parts(value)
        return where(zero, -z, -(self.concentration * z).log1p() / c)

    def log_cdf(self, value: T) -> T:
        """log(1 - exp(log_survival_function))."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: T) -> T:
        """1 - (1 + c z)^(-1 / c)."""
        return -self.log_survival_function(value).expm1()

    def icdf(self, value: T) -> T:
        """loc + scale ((1 - q)^(-c) - 1) / c."""
        _, zero, c = self._parts(value)
        left = (-value).log1p()
        return self.loc + self.scale * where(zero, -left, (-c * left).expm1() / c)

    @property
    def mean(self) -> T:
        """loc + scale / (1 - c), infinite from c = 1 on."""
        finite = self.concentration < 1
        c = where(finite, self.concentration, 0.5)
        return where(finite, self.loc + self.scale / (1 - c), math.inf)

    @property
    def variance(self) -> T:
        """scale^2 / ((1 - c)^2 (1 - 2 c)), infinite from c = 1/2 on."""
        finite = self.concentration < 0.5
        c = where(finite, self.concentration, 0.25)
        return where(finite, self.scale**2 / ((1 - c) ** 2 * (1 - 2 * c)), math.inf)

    @property
    def mode(self) -> T:
        """The location."""
        return self.loc

    def entropy(self) -> T:
        """log(scale) + c + 1."""
        return self.scale.log() + self.concentration + 1
