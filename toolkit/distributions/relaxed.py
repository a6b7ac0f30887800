"""Continuous relaxations of discrete choices (Maddison et al., 2017; Jang et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.discrete import Bernoulli, Categorical
from toolkit.distributions.distribution import Distribution
from toolkit.distributions.transformed import TransformedDistribution
from toolkit.distributions.transforms_pointwise import ExpTransform, SigmoidTransform
from toolkit.distributions.utils import T, broadcast_all, clamp_probs
from toolkit.tensor import Tensor, rand, tensor


class LogitRelaxedBernoulli(Distribution):
    """The logit of a relaxed Bernoulli variable: (logits + logistic noise) / temperature."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self.temperature = temperature
        self._bernoulli = Bernoulli(probs, logits)
        super().__init__(self._bernoulli.batch_shape, validate_args=validate_args)

    @property
    def probs(self) -> T:
        """Of 1."""
        return self._bernoulli.probs

    @property
    def logits(self) -> T:
        """The log odds."""
        return self._bernoulli.logits

    @property
    def param_shape(self) -> Any:
        """The parameter's shape."""
        return self._bernoulli.param_shape

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """(log(u) - log(1 - u) + logits) / temperature."""
        u = clamp_probs(rand(*self._extended_shape(sample_shape), dtype=self.probs.dtype))
        return (u.log() - (-u).log1p() + self.logits) / self.temperature

    def log_prob(self, value: T) -> T:
        """log(temperature) + d - 2 log(1 + exp(d)), d = logits - temperature x."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        d = logits - value * self.temperature
        temperature = self.temperature
        size = temperature.log() if isinstance(temperature, Tensor) else math.log(temperature)
        return size + d - 2 * (d.clamp(min=0) + (-d.abs()).exp().log1p())


class RelaxedBernoulli(TransformedDistribution):
    """Numbers in (0, 1) near 0 and 1, the nearer the lower the temperature."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args)

    @property
    def temperature(self) -> Any:
        """Of the noise."""
        return self.base_dist.temperature  # type: ignore[attr-defined]

    @property
    def probs(self) -> T:
        """Of 1."""
        return self.base_dist.probs  # type: ignore[attr-defined]

    @property
    def logits(self) -> T:
        """The log odds."""
        return self.base_dist.logits  # type: ignore[attr-defined]


class ExpRelaxedCategorical(Distribution):
    """The logarithm of a relaxed one-hot variable: log softmax of (logits + Gumbel noise) / t."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self.temperature = temperature
        self._categorical = Categorical(probs, logits)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> T:
        """Probabilities."""
        return self._categorical.probs

    @property
    def logits(self) -> T:
        """Log probabilities."""
        return self._categorical.logits

    @property
    def param_shape(self) -> Any:
        """The parameter's shape."""
        return self._categorical.param_shape

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Log softmax((logits - log(-log(u))) / temperature)."""
        u = clamp_probs(rand(*self._extended_shape(sample_shape), dtype=self.logits.dtype))
        return ((self.logits - (-u.log()).log()) / self.temperature).log_softmax(-1)

    def log_prob(self, value: T) -> T:
        """log((K - 1)!) + (K - 1) log(t) + sum of log softmax(logits - t x)."""
        self._validate_sample(value)
        n = self._event_shape[0]
        logits, value = broadcast_all(self.logits, value)
        t = self.temperature if isinstance(self.temperature, Tensor) else tensor(
            float(self.temperature), dtype=logits.dtype
        )  # fmt: skip
        scale = math.lgamma(n) + t.log() * (n - 1)
        return (logits - value * t).log_softmax(-1).sum(-1) + scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """Points of the simplex near its corners, the nearer the lower the temperature."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args)

    @property
    def temperature(self) -> Any:
        """Of the noise."""
        return self.base_dist.temperature  # type: ignore[attr-defined]

    @property
    def probs(self) -> T:
        """Probabilities."""
        return self.base_dist.probs  # type: ignore[attr-defined]

    @property
    def logits(self) -> T:
        """Log probabilities."""
        return self.base_dist.logits  # type: ignore[attr-defined]
