"""Distributions made of others: Independent, TransformedDistribution, and mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.discrete import Categorical
from toolkit.distributions.distribution import Distribution
from toolkit.distributions.transforms import ComposeTransform, Transform
from toolkit.distributions.utils import T, broadcast_shape, sum_rightmost
from toolkit.errors import InvalidArgumentError


class Independent(Distribution):
    """The last `reinterpreted_batch_ndims` dimensions of a batch as dimensions of the event."""

    arg_constraints: Any = {}

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        base = tuple(base_distribution.batch_shape)
        if reinterpreted_batch_ndims > len(base):
            raise InvalidArgumentError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{reinterpreted_batch_ndims} vs {len(base)}"
            )
        split = len(base) - reinterpreted_batch_ndims
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        event = (*base[split:], *base_distribution.event_shape)
        super().__init__(base[:split], event, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Over a larger batch."""
        event = tuple(self._event_shape)[: self.reinterpreted_batch_ndims]
        base = self.base_dist.expand((*batch_shape, *event))
        return type(self)(base, self.reinterpreted_batch_ndims, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the base has."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Only of the base alone."""
        return self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support

    @constraints.dependent_property
    def support(self) -> Any:
        """The base's over more dimensions."""
        more = self.reinterpreted_batch_ndims
        return constraints.independent(self.base_dist.support, more) if more else (
            self.base_dist.support
        )  # fmt: skip

    @property
    def mean(self) -> T:
        """The base's."""
        return self.base_dist.mean

    @property
    def mode(self) -> T:
        """The base's."""
        return self.base_dist.mode

    @property
    def variance(self) -> T:
        """The base's."""
        return self.base_dist.variance

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """The base's."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """The base's."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: T) -> T:
        """The base's, summed over the event."""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> T:
        """The base's, summed over the event."""
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> T:
        """The base's, if no dimension is reinterpreted."""
        if self.reinterpreted_batch_ndims > 0:
            raise NotImplementedError("Enumeration over cartesian product is not implemented")
        return self.base_dist.enumerate_support(expand=expand)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class TransformedDistribution(Distribution):
    """The distribution of transform(x), where x has the base distribution."""

    arg_constraints: Any = {}

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if any(not isinstance(t, Transform) for t in self.transforms):
            raise InvalidArgumentError(
                f"transforms must be a Transform or a list, but was {transforms}"
            )
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        event_dim = len(base_distribution.event_shape)
        transform = ComposeTransform(self.transforms)
        if len(shape) < transform.domain.event_dim:
            raise InvalidArgumentError(
                "base_distribution needs to have shape with size at least "
                f"{transform.domain.event_dim}, but got {shape}."
            )
        forward = transform.forward_shape(shape)
        base_distribution = base_distribution.expand(
            transform.inverse_shape(forward)[: len(shape) - event_dim]
        )
        more = transform.domain.event_dim - event_dim
        if more > 0:
            base_distribution = Independent(base_distribution, more)
        self.base_dist = base_distribution
        change = transform.codomain.event_dim - transform.domain.event_dim
        event = max(transform.codomain.event_dim, event_dim + change)
        cut = len(forward) - event
        super().__init__(forward[:cut], forward[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Over a larger batch."""
        new: Any = super().expand(batch_shape, _instance)
        shape = (*batch_shape, *self._event_shape)
        for transform in reversed(self.transforms):
            shape = transform.inverse_shape(shape)
        cut = len(shape) - len(self.base_dist.event_shape)
        new.base_dist = self.base_dist.expand(shape[:cut])
        return new

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the base has."""
        return self.base_dist.has_rsample

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """The last transform's codomain, over the event."""
        if not self.transforms:
            return self.base_dist.support
        support = self.transforms[-1].codomain
        more = len(self._event_shape) - support.event_dim
        return constraints.independent(support, more) if more > 0 else support

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Transformed samples of the base."""
        with no_grad():
            x = self.base_dist.sample(sample_shape)
            for transform in self.transforms:
                x = transform(x)
            return x

    def rsample(self, sample_shape: Sequence[int] = ()) -> T:
        """As `sample`, with gradients."""
        x = self.base_dist.rsample(sample_shape)
        for transform in self.transforms:
            x = transform(x)
        return x

    def log_prob(self, value: T) -> T:
        """Log p(x) - log |dy / dx|."""
        self._validate_sample(value)
        event_dim, total, y = len(self._event_shape), None, value
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            term = transform.log_abs_det_jacobian(x, y)
            term = sum_rightmost(term, event_dim - transform.domain.event_dim)
            total = -term if total is None else total - term
            y = x
        base = self.base_dist.log_prob(y)
        base = sum_rightmost(base, event_dim - len(self.base_dist.event_shape))
        return base if total is None else total + base

    def cdf(self, value: T) -> T:
        """The base's, turned around where a transform falls."""
        self._validate_sample(value)
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        return self._turned(self.base_dist.cdf(value))

    def icdf(self, value: T) -> T:
        """The inverse of `cdf`."""
        value = self.base_dist.icdf(self._turned(value))
        for transform in self.transforms:
            value = transform(value)
        return value

    def _turned(self, value: T) -> T:
        sign: Any = 1
        for transform in self.transforms:
            sign = sign * transform.sign
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5


class MixtureSameFamily(Distribution):
    """A mixture: a Categorical chooses one along the last dimension of a batch."""

    arg_constraints: Any = {}

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise InvalidArgumentError(
                " The Mixture distribution needs to be an  instance of "
                "torch.distributions.Categorical"
            )
        components = tuple(component_distribution.batch_shape)
        count = mixture_distribution.param_shape[-1]
        if not components or components[-1] != count:
            raise InvalidArgumentError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({components[-1:]})"
            )
        broadcast_shape(mixture_distribution.batch_shape, components[:-1])
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        self._event_ndims = len(component_distribution.event_shape)
        super().__init__(components[:-1], component_distribution.event_shape, validate_args)

    @property
    def mixture_distribution(self) -> Categorical:
        """Which component."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components."""
        return self._component_distribution

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Over a larger batch."""
        count = self._component_distribution.batch_shape[-1]
        components = self._component_distribution.expand((*batch_shape, count))
        mixture = self._mixture_distribution.expand(batch_shape)
        return type(self)(mixture, components, validate_args=False)

    @constraints.dependent_property
    def support(self) -> Any:
        """That of all components."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    def _weights(self) -> T:
        probs = self._mixture_distribution.probs
        return probs.reshape(*probs.shape, *[1] * self._event_ndims)

    @property
    def mean(self) -> T:
        """The weighted mean."""
        return (self._weights() * self._component_distribution.mean).sum(-1 - self._event_ndims)

    @property
    def variance(self) -> T:
        """The mean of variances and the variance of means."""
        axis, parts = -1 - self._event_ndims, self._component_distribution
        within = (self._weights() * parts.variance).sum(axis)
        offset = parts.mean - self.mean.unsqueeze(axis)
        return within + (self._weights() * offset * offset).sum(axis)

    def cdf(self, value: T) -> T:
        """The weighted cdf."""
        found = self._component_distribution.cdf(self._padded(value))
        return (found * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, value: T) -> T:
        """Logsumexp of log weights and log densities."""
        self._validate_sample(value)
        found = self._component_distribution.log_prob(self._padded(value))
        return (found + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """A component's sample each."""
        with no_grad():
            chosen = self._mixture_distribution.sample(sample_shape)
            values = self._component_distribution.sample(sample_shape)
            axis, event = chosen.ndim, tuple(self._event_shape)
            index = chosen.reshape(*chosen.shape, 1, *[1] * len(event))
            shape = (*values.shape[:axis], 1, *event)
            return values.gather(axis, index.expand(*shape)).squeeze(axis)

    def _padded(self, value: T) -> T:
        return value.unsqueeze(-1 - self._event_ndims)

    def __repr__(self) -> str:
        return (
            f"MixtureSameFamily(\n  {self._mixture_distribution!r},\n"
            f"  {self._component_distribution!r})"
        )
