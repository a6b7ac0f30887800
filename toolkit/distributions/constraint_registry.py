"""`biject_to` and `transform_to`: from all real numbers to those that fulfil a constraint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.transforms import (
    ComposeTransform,
    IndependentTransform,
    Transform,
    identity_transform,
)
from toolkit.distributions.transforms_matrix import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
)
from toolkit.distributions.transforms_pointwise import (
    AffineTransform,
    ExpTransform,
    SigmoidTransform,
)
from toolkit.distributions.transforms_shape import (
    CatTransform,
    SoftmaxTransform,
    StackTransform,
    StickBreakingTransform,
)

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """Transforms by the kind of a constraint."""

    def __init__(self) -> None:
        self._registry: dict[type[constraints.Constraint], Factory] = {}

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Registers a factory for a constraint or its class; a decorator without `factory`.

        Raises:
            TypeError: neither.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        if isinstance(constraint, constraints.Constraint):
            constraint = type(constraint)
        if not isinstance(constraint, type) or not issubclass(constraint, constraints.Constraint):
            raise TypeError(
                "Expected constraint to be either a Constraint subclass or instance, but got "
                f"{constraint}"
            )
        self._registry[constraint] = factory
        return factory

    def __call__(self, constraint: Any) -> Transform:
        """The transform to a constraint.

        Raises:
            NotImplementedError: none is registered.
        """
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()


def _greater(constraint: Any) -> Transform:
    if isinstance(constraint.lower_bound, (int, float)) and constraint.lower_bound == 0:
        return ExpTransform()
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.lower_bound, 1)])


def _less(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.upper_bound, -1)])


def _interval(constraint: Any) -> Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    numbers = isinstance(low, (int, float)) and isinstance(high, (int, float))
    if numbers and (low, high) == (0, 1):
        return SigmoidTransform()
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])


def _of_parts(to: ConstraintRegistry, kind: Any) -> Factory:
    """Of a constraint made of others: a transform made of theirs."""

    def factory(constraint: Any) -> Transform:
        if kind is IndependentTransform:
            base = to(constraint.base_constraint)
            return IndependentTransform(base, constraint.reinterpreted_batch_ndims)
        parts = [to(c) for c in constraint.cseq]
        if kind is CatTransform:
            return CatTransform(parts, constraint.dim, constraint.lengths)
        return StackTransform(parts, constraint.dim)

    return factory


for _registry in (biject_to, transform_to):
    _registry.register(constraints.real, lambda _: identity_transform)
    _registry.register(constraints.greater_than, _greater)
    _registry.register(constraints.greater_than_eq, _greater)
    _registry.register(constraints.less_than, _less)
    _registry.register(constraints.interval, _interval)
    _registry.register(constraints.half_open_interval, _interval)
    _registry.register(constraints.independent, _of_parts(_registry, IndependentTransform))
    _registry.register(constraints.cat, _of_parts(_registry, CatTransform))
    _registry.register(constraints.stack, _of_parts(_registry, StackTransform))
    _registry.register(constraints.corr_cholesky, lambda _: CorrCholeskyTransform())
biject_to.register(constraints.simplex, lambda _: StickBreakingTransform())
transform_to.register(constraints.simplex, lambda _: SoftmaxTransform())
transform_to.register(constraints.lower_cholesky, lambda _: LowerCholeskyTransform())
transform_to.register(constraints.positive_definite, lambda _: PositiveDefiniteTransform())
transform_to.register(constraints.positive_semidefinite, lambda _: PositiveDefiniteTransform())
