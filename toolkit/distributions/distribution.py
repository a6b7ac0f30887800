"""`Distribution`: the base of probability distributions, with the interface of PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from toolkit.autograd import enable_grad, grad, no_grad
from toolkit.distributions import constraints
from toolkit.distributions.utils import T, lazy_property, sum_rightmost, tracing
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import Size, Tensor


class Distribution:
    """The base: a batch of independent distributions over events.

    A subclass sets its parameters and then calls `Distribution.__init__`.

    Args:
        batch_shape: the shape of the batch.
        event_shape: the shape of one event.
        validate_args: check parameters and values; they are not known while a trace records.

    Attributes:
        has_rsample: whether `rsample` has gradients.
        has_enumerate_support: whether `enumerate_support` exists.
        arg_constraints: a constraint for each parameter.
        parameters: what depends on the batch, with the number of its event dimensions.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: Any
    parameters: dict[str, int] = {}
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether parameters and values are checked where nothing else is said."""
        if value not in (True, False):
            raise ValueError(f"True or False is required, got {value!r}.")
        Distribution._validate_args = value

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args and not tracing():
            self._check_parameters()

    def _check_parameters(self) -> None:
        for name, constraint in self.arg_constraints.items():
            if constraints.is_dependent(constraint):
                continue
            lazy = isinstance(getattr(type(self), name, None), lazy_property)
            if name not in self.__dict__ and lazy:
                continue
            value = getattr(self, name)
            if not bool(constraint.check(value).all()):
                raise InvalidArgumentError(
                    f"Expected parameter {name} ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                    f"{constraint!r}, but found invalid values:\n{value}"
                )

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same distribution over a larger batch, without copies of memory."""
        new = copy.copy(self) if _instance is None else _instance
        shape = tuple(batch_shape)
        for name, value in self.__dict__.items():
            if isinstance(value, Distribution):
                new.__dict__[name] = value.expand(shape)
            elif name in self.parameters:
                event = tuple(value.shape)[value.ndim - self.parameters[name] :]
                new.__dict__[name] = value.expand(*shape, *event)
        new._batch_shape, new._event_shape = Size(shape), self._event_shape
        new._validate_args = self._validate_args
        return new

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one event."""
        return self._event_shape

    @property
    def support(self) -> Any:
        """The constraint that values fulfil."""
        raise NotImplementedError

    @property
    def mean(self) -> T:
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self) -> T:
        """The most likely value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> T:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> T:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Values of shape sample_shape + batch_shape + event_shape, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """As `sample`, with gradients of the parameters."""
        raise NotImplementedError

    def sample_n(self, n: int) -> T:
        """`n` samples."""
        return self.sample((n,))

    def log_prob(self, value: T) -> T:
        """The logarithm of the density or probability."""
        raise NotImplementedError

    def cdf(self, value: T) -> T:
        """The probability of values up to this one."""
        raise NotImplementedError

    def icdf(self, value: T) -> T:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> T:
        """All values of a discrete distribution, along a first dimension."""
        raise NotImplementedError

    def entropy(self) -> T:
        """The entropy in nats."""
        raise NotImplementedError

    def perplexity(self) -> T:
        """The exponential of the entropy."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Sequence[int] = ()) -> tuple[Any, ...]:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def _validate_sample(self, value: T) -> None:
        """Refuses a value outside the support, if arguments are validated."""
        if not self._validate_args or tracing():
            return
        if not isinstance(value, Tensor):
            raise InvalidArgumentError("The value argument to log_prob must be a Tensor")
        shape, event = tuple(value.shape), tuple(self._event_shape)
        if shape[len(shape) - len(event) :] != event:
            raise InvalidArgumentError(
                f"The right-most size of value must match event_shape: {shape} vs {event}."
            )
        expected = (*self._batch_shape, *event)
        for i, j in zip(reversed(shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise InvalidArgumentError(
                    f"Value is not broadcastable with batch_shape+event_shape: {shape} vs "
                    f"{expected}."
                )
        if not bool(self.support.check(value).all()):
            raise InvalidArgumentError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within "
                f"the support ({self.support!r}) of the distribution {self!r}, but found invalid "
                f"values:\n{value}"
            )

    def __repr__(self) -> str:
        parts = []
        for name in self.arg_constraints:
            value = self.__dict__.get(name)
            if value is not None:
                parts.append(f"{name}: {shown(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


def shown(value: T) -> Any:
    """A parameter as `repr` shows it: its number, or its shape."""
    if tracing() or value.numel() != 1:
        return Size(value.shape)
    return value if value.ndim else value.item()


class ExponentialFamily(Distribution):
    """exp(t(x) . p - A(p) + k(x)), p the natural parameters.

    A subclass that defines `_natural_params`, `_log_normalizer` and `_mean_carrier_measure` has an
    entropy, and a divergence between two of its kind, by the derivative of A.
    """

    @property
    def _natural_params(self) -> tuple[T, ...]:
        """The p, as tensors."""
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: T) -> T:
        """A(p)."""
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        """E[k(x)]."""
        raise NotImplementedError

    def _normalizer_and_slopes(self) -> tuple[T, list[T], Sequence[T]]:
        """A(p), p and dA / dp."""
        with enable_grad():
            parameters = [p.detach().requires_grad_() for p in self._natural_params]
            found = self._log_normalizer(*parameters)
            slopes = grad(found.sum(), parameters, create_graph=True)
        return found, parameters, slopes

    def entropy(self) -> T:
        """A(p) - p . A'(p) - E[k(x)]."""
        found, parameters, slopes = self._normalizer_and_slopes()
        result = found - self._mean_carrier_measure
        for p, slope in zip(parameters, slopes, strict=True):
            result = result - sum_rightmost(p * slope, len(self._event_shape))
        return result
