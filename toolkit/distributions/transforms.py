"""Transforms: differentiable maps with their inverses and the logarithm of their Jacobian."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.utils import T, sum_rightmost
from toolkit.tensor import Tensor, zeros_like


class Transform:
    """The base: `transform(x)`, `transform.inv(y)`, `log_abs_det_jacobian(x, y)`.

    Args:
        cache_size: 1 keeps the latest pair, so that the inverse of a result is what it came from.

    Attributes:
        domain: the constraint of x.
        codomain: the constraint of y.
        bijective: whether it has an inverse.
        sign: of its derivative, for one dimension.
    """

    bijective = False
    domain: Any
    codomain: Any

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size
        self._pair: tuple[Any, Any] = (None, None)

    @property
    def event_dim(self) -> int:
        """The dimensions from the right that x and y are taken together in."""
        if self.domain.event_dim == self.codomain.event_dim:
            return int(self.domain.event_dim)
        raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")

    @property
    def inv(self) -> Transform:
        """The inverse."""
        return _InverseTransform(self)

    @property
    def sign(self) -> Any:
        """1 or -1."""
        raise NotImplementedError

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with another cache size."""
        if self._cache_size == cache_size:
            return self
        new = copy.copy(self)
        new._cache_size, new._pair = cache_size, (None, None)
        return new

    def __call__(self, x: T) -> T:
        """Y for x."""
        if self._cache_size == 0:
            return self._call(x)
        if x is not self._pair[0]:
            self._pair = x, self._call(x)
        return self._pair[1]

    def _inv_call(self, y: T) -> T:
        if self._cache_size == 0:
            return self._inverse(y)
        if y is not self._pair[1]:
            self._pair = self._inverse(y), y
        return self._pair[0]

    def _call(self, x: T) -> T:
        raise NotImplementedError

    def _inverse(self, y: T) -> T:
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Log |dy / dx|."""
        raise NotImplementedError

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of y for that of x."""
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of x for that of y."""
        return tuple(shape)

    def _key(self) -> tuple[Any, ...]:
        return ()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and _same(self._key(), other._key())

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    def equal(x: Any, y: Any) -> bool:
        if isinstance(x, Tensor) or isinstance(y, Tensor):
            return bool((x == y).all()) if x is not y else True
        return bool(x == y)

    return len(a) == len(b) and all(map(equal, a, b))


class _InverseTransform(Transform):
    """Turns a transform around; shares its cache."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform._cache_size)
        self._inv = transform

    @property
    def domain(self) -> Any:
        return self._inv.codomain

    @property
    def codomain(self) -> Any:
        return self._inv.domain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self._inv.bijective

    @property
    def sign(self) -> Any:
        return self._inv.sign

    @property
    def inv(self) -> Transform:
        return self._inv

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self._inv.with_cache(cache_size).inv

    def __call__(self, x: T) -> T:
        return self._inv._inv_call(x)

    def _inv_call(self, y: T) -> T:
        return self._inv(y)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._inv.forward_shape(shape)

    def _key(self) -> tuple[Any, ...]:
        return (self._inv,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inv!r})"


class ComposeTransform(Transform):
    """One after the other; none is the identity."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = [p.with_cache(cache_size) for p in parts] if cache_size else list(parts)

    @property
    def domain(self) -> Any:
        """Of the first, over as many dimensions as any asks for."""
        if not self.parts:
            return constraints.real
        domain, event_dim = self.parts[0].domain, self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            event_dim += part.domain.event_dim - part.codomain.event_dim
            event_dim = max(event_dim, part.domain.event_dim)
        more = event_dim - domain.event_dim
        return constraints.independent(domain, more) if more > 0 else domain

    @property
    def codomain(self) -> Any:
        """Of the last, over as many dimensions as any asks for."""
        if not self.parts:
            return constraints.real
        codomain, event_dim = self.parts[-1].codomain, self.parts[0].domain.event_dim
        for part in self.parts:
            event_dim += part.codomain.event_dim - part.domain.event_dim
            event_dim = max(event_dim, part.codomain.event_dim)
        more = event_dim - codomain.event_dim
        return constraints.independent(codomain, more) if more > 0 else codomain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all are."""
        return all(p.bijective for p in self.parts)

    @property
    def sign(self) -> Any:
        """The product of the signs."""
        sign: Any = 1
        for part in self.parts:
            sign = sign * part.sign
        return sign

    @property
    def inv(self) -> Transform:
        """The inverses in the opposite order."""
        return _InverseTransform(self)

    def _call(self, x: T) -> T:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: T) -> T:
        for part in reversed(self.parts):
            y = part.inv(y)
        return y

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """The sum of all, each over the dimensions of the whole."""
        if not self.parts:
            return zeros_like(x)
        values = [x]
        for part in self.parts[:-1]:
            values.append(part(values[-1]))
        values.append(y)
        event_dim, total = self.domain.event_dim, None
        for part, a, b in zip(self.parts, values[:-1], values[1:], strict=True):
            term = sum_rightmost(part.log_abs_det_jacobian(a, b), event_dim - part.domain.event_dim)
            total = term if total is None else total + term
            event_dim += part.codomain.event_dim - part.domain.event_dim
        return total

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Through all."""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Back through all."""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return tuple(shape)

    def _key(self) -> tuple[Any, ...]:
        return tuple(self.parts)

    def __repr__(self) -> str:
        parts = ",\n    ".join(map(repr, self.parts))
        return f"{type(self).__name__}(\n    {parts}\n)"


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform whose Jacobian is summed over more dimensions."""

    def __init__(
        self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def domain(self) -> Any:
        """That of the base over more dimensions."""
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @property
    def codomain(self) -> Any:
        """That of the base over more dimensions."""
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether the base is."""
        return self.base_transform.bijective

    @property
    def sign(self) -> Any:
        """That of the base."""
        return self.base_transform.sign

    def _call(self, x: T) -> T:
        return self.base_transform(x)

    def _inverse(self, y: T) -> T:
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """The base's, summed."""
        result = self.base_transform.log_abs_det_jacobian(x, y)
        return sum_rightmost(result, self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The base's."""
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The base's."""
        return self.base_transform.inverse_shape(shape)

    def _key(self) -> tuple[Any, ...]:
        return self.base_transform, self.reinterpreted_batch_ndims

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({self.base_transform!r}, {self.reinterpreted_batch_ndims})"
