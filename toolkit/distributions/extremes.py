"""Transforms of uniform and exponential variables: Gumbel, Weibull, Pareto, Kumaraswamy."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions import constraints
from toolkit.distributions.location_scale import Uniform
from toolkit.distributions.positive import Exponential
from toolkit.distributions.transformed import TransformedDistribution
from toolkit.distributions.transforms_pointwise import AffineTransform, ExpTransform, PowerTransform
from toolkit.distributions.utils import EULER, T, broadcast_all, epsilon, tiny
from toolkit.tensor import full_like, ones_like


class Gumbel(TransformedDistribution):
    """The largest of many: loc - scale log(-log(u))."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    parameters = {"loc": 0, "scale": 0}
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        low, high = full_like(self.loc, tiny(self.loc)), full_like(self.loc, 1 - epsilon(self.loc))
        one = ones_like(self.scale)
        steps = [
            ExpTransform().inv,
            AffineTransform(loc=0, scale=-one),
            ExpTransform().inv,
            AffineTransform(loc=self.loc, scale=-self.scale),
        ]
        super().__init__(Uniform(low, high, validate_args), steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Over a larger batch."""
        shape = tuple(batch_shape)
        new = type(self)(self.loc.expand(*shape), self.scale.expand(*shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: T) -> T:
        """Z - exp(z) - log(scale), z = (loc - x) / scale."""
        self._validate_sample(value)
        z = (self.loc - value) / self.scale
        return z - z.exp() - self.scale.log()

    @property
    def mean(self) -> T:
        """Loc + 0.5772 scale."""
        return self.loc + self.scale * EULER

    @property
    def mode(self) -> T:
        """The location."""
        return self.loc

    @property
    def stddev(self) -> T:
        """Pi scale / sqrt(6)."""
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> T:
        """pi^2 scale^2 / 6."""
        return self.stddev**2

    def entropy(self) -> T:
        """log(scale) + 1.5772."""
        return self.scale.log() + (1 + EULER)


class Pareto(TransformedDistribution):
    """alpha scale^alpha / x^(alpha + 1) from `scale` on."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}
    parameters = {"alpha": 0, "scale": 0}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args)
        steps = [ExpTransform(), AffineTransform(loc=0, scale=self.scale)]
        super().__init__(base, steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Over a larger batch."""
        shape = tuple(batch_shape)
        new = type(self)(self.scale.expand(*shape), self.alpha.expand(*shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From the scale on."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> T:
        """Alpha scale / (alpha - 1), infinite up to alpha = 1."""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> T:
        """The scale."""
        return self.scale

    @property
    def variance(self) -> T:
        """scale^2 alpha / ((alpha - 1)^2 (alpha - 2)), infinite up to alpha = 2."""
        a = self.alpha.clamp(min=2)
        return self.scale**2 * a / ((a - 1) ** 2 * (a - 2))

    def entropy(self) -> T:
        """log(scale / alpha) + 1 + 1 / alpha."""
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())


class Weibull(TransformedDistribution):
    """scale e^(1 / concentration) of an exponential e."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    parameters = {"scale": 0, "concentration": 0, "concentration_reciprocal": 0}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        steps = [
            PowerTransform(exponent=self.concentration_reciprocal),
            AffineTransform(loc=0, scale=self.scale),
        ]
        base = Exponential(ones_like(self.scale), validate_args)
        super().__init__(base, steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Over a larger batch."""
        shape = tuple(batch_shape)
        parts = self.scale.expand(*shape), self.concentration.expand(*shape)
        new = type(self)(*parts, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> T:
        """Scale gamma(1 + 1 / concentration)."""
        return self.scale * (1 + self.concentration_reciprocal).lgamma().exp()

    @property
    def mode(self) -> T:
        """Scale (1 - 1 / concentration)^(1 / concentration), 0 for a concentration below 1."""
        k = self.concentration
        return self.scale * ((k - 1).clamp(min=0) / k) ** k.reciprocal()

    @property
    def variance(self) -> T:
        """scale^2 (gamma(1 + 2 / concentration) - gamma(1 + 1 / concentration)^2)."""
        r = self.concentration_reciprocal
        return self.scale**2 * ((1 + 2 * r).lgamma().exp() - (2 * (1 + r).lgamma()).exp())

    def entropy(self) -> T:
        """0.5772 (1 - 1 / concentration) + log(scale / concentration) + 1."""
        r = self.concentration_reciprocal
        return EULER * (1 - r) + (self.scale * r).log() + 1


class Kumaraswamy(TransformedDistribution):
    """(1 - u^(1 / concentration0))^(1 / concentration1), near a Beta distribution."""

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    parameters = {"concentration1": 0, "concentration0": 0}
    support = constraints.unit_interval

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        zero = full_like(self.concentration0, 0)
        base = Uniform(zero, zero + 1, validate_args)
        steps = [
            PowerTransform(exponent=self.concentration0.reciprocal()),
            AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=self.concentration1.reciprocal()),
        ]
        super().__init__(base, steps, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Over a larger batch."""
        shape = tuple(batch_shape)
        parts = self.concentration1.expand(*shape), self.concentration0.expand(*shape)
        new = type(self)(*parts, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _moment(self, n: int) -> T:
        """B B(1 + n / a, b)."""
        part = 1 + n / self.concentration1
        b = self.concentration0
        return (b.log() + part.lgamma() + b.lgamma() - (part + b).lgamma()).exp()

    @property
    def mean(self) -> T:
        """The first moment."""
        return self._moment(1)

    @property
    def mode(self) -> T:
        """((a - 1) / (a b - 1))^(1 / a); NaN where the density has none inside."""
        a, b = self.concentration1, self.concentration0
        log_mode = ((a - 1).log() - (a * b - 1).log()) / a
        inside = (a >= 1) & (b >= 1) & ~((a == 1) & (b == 1))
        return where(inside, log_mode.exp(), math.nan)

    @property
    def variance(self) -> T:
        """The second moment less the square of the first."""
        return self._moment(2) - self.mean**2

    def entropy(self) -> T:
        """1 - 1 / b + (1 - 1 / a) H(b) - log(a) - log(b), H(b) = digamma(b + 1) + 0.5772."""
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + EULER
        parts = (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic
        return parts - a.log() - b.log()
