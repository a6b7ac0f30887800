"""Shares of gamma variables: Dirichlet and Beta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions import constraints
from toolkit.distributions.distribution import ExponentialFamily
from toolkit.distributions.gamma_draws import log_gamma
from toolkit.distributions.utils import T, broadcast_all, clamp_probs
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import arange, ones_like, stack


class Dirichlet(ExponentialFamily):
    """prod x^(a - 1) over the simplex, a the concentration of each share."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    parameters = {"concentration": 1}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: T, validate_args: bool | None = None) -> None:
        if concentration.ndim < 1:
            raise InvalidArgumentError(
                "`concentration` parameter must be at least one-dimensional."
            )
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> T:
        """A / sum a."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> T:
        """(a - 1) / sum (a - 1); the corner of the largest where all are below 1."""
        above = (self.concentration - 1).clamp(min=0)
        found = above / above.sum(-1, keepdim=True)
        largest = self.concentration.argmax(-1, keepdim=True)
        corner = largest == arange(self._event_shape[0])
        corners = (self.concentration < 1).all(-1, keepdim=True)
        return where(corners, corner.to(found.dtype), found)

    @property
    def variance(self) -> T:
        """A (s - a) / (s^2 (s + 1)), s the sum of a."""
        a, total = self.concentration, self.concentration.sum(-1, keepdim=True)
        return a * (total - a) / (total**2 * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Gamma variables over their sum."""
        return log_gamma(self.concentration, self._extended_shape(sample_shape)).softmax(-1)

    def log_prob(self, value: T) -> T:
        """Sum (a - 1) log(x) + log gamma(sum a) - sum log gamma(a)."""
        self._validate_sample(value)
        a = self.concentration
        return (a - 1).xlogy(value).sum(-1) - self._log_norm()

    def _log_norm(self) -> T:
        a = self.concentration
        return a.lgamma().sum(-1) - a.sum(-1).lgamma()

    def entropy(self) -> T:
        """log(norm) + (s - k) digamma(s) - sum (a - 1) digamma(a)."""
        a, total = self.concentration, self.concentration.sum(-1)
        spread = (total - self._event_shape[0]) * total.digamma()
        return self._log_norm() + spread - ((a - 1) * a.digamma()).sum(-1)


class Beta(ExponentialFamily):
    """x^(a - 1) (1 - x)^(b - 1) over [0, 1], the concentrations a and b."""

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    parameters = {"concentration1": 0, "concentration0": 0}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """A / (a + b)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> T:
        """(a - 1) / (a + b - 2); the end of the larger where both are below 1."""
        return self._dirichlet().mode[..., 0]

    @property
    def variance(self) -> T:
        """A b / ((a + b)^2 (a + b + 1))."""
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def _dirichlet(self) -> Dirichlet:
        return Dirichlet(stack([self.concentration1, self.concentration0], -1), False)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """The first of two shares, within (0, 1)."""
        return clamp_probs(self._dirichlet().rsample(sample_shape)[..., 0])

    def log_prob(self, value: T) -> T:
        """(a - 1) log(x) + (b - 1) log(1 - x) - log beta(a, b)."""
        self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        value, _ = broadcast_all(value, ones_like(a))
        return (a - 1).xlogy(value) + (b - 1).xlogy(1 - value) - self._dirichlet()._log_norm()

    def entropy(self) -> T:
        """That of the two shares."""
        return self._dirichlet().entropy()
