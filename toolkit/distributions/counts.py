"""Counts of independent draws: Binomial and Multinomial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.discrete import Categorical, ProbsOrLogits, one_of
from toolkit.distributions.distribution import Distribution
from toolkit.distributions.utils import (
    T,
    broadcast_all,
    tracing,
)
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import Tensor, arange, rand


class Binomial(ProbsOrLogits, Distribution):
    """Successes in `total_count` draws of probability `probs` each."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    parameters = {"total_count": 0, "probs": 0, "logits": 0}
    has_enumerate_support = True

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        one_of(probs, logits)
        self._most = None if isinstance(total_count, Tensor) else int(total_count)
        if probs is not None:
            self.total_count, self.probs = broadcast_all(total_count, probs)
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
        self.total_count = self.total_count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 to the number of draws."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> T:
        """n probs."""
        return self.total_count * self.probs

    @property
    def mode(self) -> T:
        """floor((n + 1) probs), at most n."""
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self) -> T:
        """n probs (1 - probs)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """The successes among as many draws as the largest count of the batch has."""
        draws = self._most
        if draws is None:
            if tracing():
                raise InvalidArgumentError(
                    "Binomial.sample: a total_count that is known is required, got a tensor of a "
                    "trace. Give a number."
                )
            draws = int(self.total_count.max().item()) if self.total_count.numel() else 0
        with no_grad():
            shape = self._extended_shape(sample_shape)
            u = rand(draws, *shape, dtype=self.probs.dtype)
            index = arange(draws, dtype=self.probs.dtype).reshape(draws, *[1] * len(shape))
            success = (u < self.probs) & (index < self.total_count)
            return success.to(self.probs.dtype).sum(0)

    def log_prob(self, value: T) -> T:
        """log binomial(n, k) + k logits - n softplus(logits)."""
        self._validate_sample(value)
        n, logits = self.total_count, self.logits
        choices = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        softplus = logits.clamp(min=0) + (-logits.abs()).exp().log1p()
        return value * logits + choices - n * softplus

    def _one_count(self, what: str) -> int:
        if self._most is not None:
            return self._most
        n = int(self.total_count.max().item())
        if not bool((self.total_count == n).all()):
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{what}`.")
        return n

    def entropy(self) -> T:
        """-sum p log(p) over all counts; the batch must have one number of draws."""
        self._one_count("entropy")
        found = self.log_prob(self.enumerate_support(False))
        return -(found.exp() * found).sum(0)

    def enumerate_support(self, expand: bool = True) -> T:
        """0 to n."""
        n = self._one_count("enumerate_support")
        values = arange(n + 1, dtype=self._param.dtype)
        values = values.reshape(n + 1, *[1] * len(self._batch_shape))
        return values.expand(n + 1, *self._batch_shape) if expand else values


class Multinomial(Distribution):
    """How often each of K events came in `total_count` draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(
        self,
        total_count: int = 1,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs, logits)
        self._binomial = Binomial(total_count, probs=self.probs)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Over a larger batch."""
        probs = self.probs.expand(*batch_shape, *self._event_shape)
        return type(self)(self.total_count, probs=probs, validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        """Counts that are together at most the number of draws."""
        return constraints.multinomial(self.total_count)

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

    @property
    def mean(self) -> T:
        """n probs."""
        return self.probs * self.total_count

    @property
    def variance(self) -> T:
        """n probs (1 - probs)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Sums of one-hot rows."""
        with no_grad():
            drawn = self._categorical.sample((self.total_count, *sample_shape))
            events = arange(self._event_shape[0])
            return (drawn.unsqueeze(-1) == events).to(self.probs.dtype).sum(0)

    def log_prob(self, value: T) -> T:
        """log(n! / prod k!) + sum k log(probs)."""
        self._validate_sample(value)
        impossible = (value == 0) & (self.logits == -float("inf"))
        logits = where(impossible, 0.0, self.logits)
        counts = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return counts + (logits * value).sum(-1)

    def entropy(self) -> T:
        """n H(probs) - log(n!) + sum over events and counts of p(k) log(k!)."""
        n = self.mean.sum(-1) * 0 + self.total_count
        counts = self._binomial.enumerate_support(expand=False)[1:]
        weights = self._binomial.log_prob(counts).exp()
        extra = (weights * (counts + 1).lgamma()).sum((0, -1))
        return n * self._categorical.entropy() - (n + 1).lgamma() + extra
