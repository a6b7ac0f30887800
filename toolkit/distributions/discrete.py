"""Bernoulli, Categorical and the one-hot form of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution, ExponentialFamily, shown
from toolkit.distributions.utils import (
    T,
    binary_cross_entropy,
    broadcast_all,
    broadcast_shape,
    largest,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import arange, eye, rand


def one_of(probs: Any, logits: Any) -> None:
    """Refuses both or neither.

    Raises:
        InvalidArgumentError: not just one is given.
    """
    if (probs is None) == (logits is None):
        raise InvalidArgumentError("Either `probs` or `logits` must be specified, but not both.")


class ProbsOrLogits:
    """Both parameters of a distribution that was given one of them."""

    _binary = True  # Logits are log odds, else log probabilities.

    @property
    def _param(self) -> T:
        return getattr(self, "probs" if "probs" in self.__dict__ else "logits")

    @lazy_property
    def logits(self) -> T:
        """The log odds, or the log probabilities of categories."""
        return probs_to_logits(self.probs, is_binary=self._binary)

    @lazy_property
    def probs(self) -> T:
        """Of 1 or a success, or of each category."""
        return logits_to_probs(self.logits, is_binary=self._binary)

    @property
    def param_shape(self) -> Any:
        """The parameter's shape."""
        return self._param.shape


class Bernoulli(ProbsOrLogits, ExponentialFamily):
    """1 with probability `probs`, else 0."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    parameters = {"probs": 0, "logits": 0}
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """Probs."""
        return self.probs

    @property
    def mode(self) -> T:
        """1 where it is more likely, NaN where both are alike."""
        even = self.probs == 0.5
        return (self.probs >= 0.5).to(self.probs.dtype).masked_fill(even, math.nan)

    @property
    def variance(self) -> T:
        """Probs (1 - probs)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Zeros and ones."""
        with no_grad():
            u = rand(*self._extended_shape(sample_shape), dtype=self.probs.dtype)
            return (u < self.probs).to(self.probs.dtype)

    def log_prob(self, value: T) -> T:
        """X log(probs) + (1 - x) log(1 - probs)."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy(logits, value)

    def entropy(self) -> T:
        """The cross entropy with itself."""
        return binary_cross_entropy(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> T:
        """0 and 1."""
        values = arange(2, dtype=self._param.dtype)
        values = values.reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(2, *self._batch_shape) if expand else values


class Categorical(ProbsOrLogits, Distribution):
    """The index of one of K events; the last dimension of `probs` or `logits` holds the events."""

    _binary = False
    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    parameters = {"probs": 1, "logits": 1}
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        given = probs if probs is not None else logits
        if given.ndim < 1:
            raise InvalidArgumentError(
                f"`{'probs' if logits is None else 'logits'}` parameter must be at least "
                "one-dimensional."
            )
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 to K - 1."""
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> T:
        """There is none: NaN."""
        return self.probs.sum(-1) * math.nan

    @property
    def variance(self) -> T:
        """There is none: NaN."""
        return self.probs.sum(-1) * math.nan

    @property
    def mode(self) -> T:
        """The most likely event."""
        return self.probs.argmax(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """The number of cumulated probabilities that a uniform number is above."""
        with no_grad():
            u = rand(*self._extended_shape(sample_shape), 1, dtype=self.probs.dtype)
            edges = self.probs.cumsum(-1)
            u = u * edges[..., -1:]  # Rounding may leave the sum beside 1.
            found = (u >= edges).sum(-1)
            return found.clamp(max=self._num_events - 1)

    def log_prob(self, value: T) -> T:
        """The logarithm of the event's probability."""
        self._validate_sample(value)
        index = value.long()
        shape = broadcast_shape(index.shape, self.logits.shape[:-1])
        index = index.expand(*shape).unsqueeze(-1)
        logits = self.logits.expand(*shape, self._num_events)
        return logits.gather(-1, index).squeeze(-1)

    def entropy(self) -> T:
        """-sum p log(p)."""
        logits = self.logits.clamp(min=-largest(self.logits))
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> T:
        """0 to K - 1."""
        values = arange(self._num_events).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class OneHotCategorical(Distribution):
    """As Categorical, with values that are 1 at the event and 0 elsewhere."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
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

    @property
    def mean(self) -> T:
        """Probs."""
        return self.probs

    @property
    def mode(self) -> T:
        """The most likely event."""
        return self._one_hot(self.probs.argmax(-1))

    @property
    def variance(self) -> T:
        """Probs (1 - probs)."""
        return self.probs * (1 - self.probs)

    def _one_hot(self, index: T) -> T:
        events = arange(self._event_shape[0])
        return (index.unsqueeze(-1) == events).to(self.probs.dtype)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Rows of zeros with a one."""
        with no_grad():
            return self._one_hot(self._categorical.sample(sample_shape))

    def log_prob(self, value: T) -> T:
        """The logarithm of the event's probability."""
        self._validate_sample(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> T:
        """-sum p log(p)."""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> T:
        """The rows of the identity."""
        n = self._event_shape[0]
        values = eye(n, dtype=self.probs.dtype).reshape(n, *[1] * len(self._batch_shape), n)
        return values.expand(n, *self._batch_shape, n) if expand else values

    def __repr__(self) -> str:
        which = "probs" if "probs" in self._categorical.__dict__ else "logits"
        return f"{type(self).__name__}({which}: {shown(getattr(self._categorical, which))})"


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """Samples whose gradient is that of the probabilities (Bengio et al., 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """Sample + probs - probs, the last without gradient."""
        probs = self.probs
        return self.sample(sample_shape) + (probs - probs.detach())
