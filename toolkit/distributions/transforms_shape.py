"""Transforms of vectors, of shapes, and of parts of a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.transforms import Transform
from toolkit.distributions.transforms_pointwise import softplus
from toolkit.distributions.utils import T, epsilon, sum_rightmost, tiny
from toolkit.tensor import arange, cat, stack, zeros_like


class SoftmaxTransform(Transform):
    """y = softmax(x) over the last dimension; no bijection."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: T) -> T:
        return x.softmax(-1)

    def _inverse(self, y: T) -> T:
        return y.log()


class StickBreakingTransform(Transform):
    """K - 1 numbers to K that sum to 1: each takes a part of what is left of a stick."""

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: T) -> T:
        z = self._parts(x)
        left = (-z).log1p().cumsum(-1).exp()  # The product of 1 - z.
        one = zeros_like(z[..., :1]) + 1
        return cat([z, one], -1) * cat([one, left], -1)

    def _inverse(self, y: T) -> T:
        cropped = y[..., :-1]
        left = (1 - cropped.cumsum(-1)).clamp(min=tiny(y))
        return cropped.log() - left.log() + self._offset(cropped).log()

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Sum -x' + log sigmoid(x') + log(y) over the first K - 1, with x' as it is used."""
        x = x - self._offset(x).log()
        return (-x - softplus(-x) + y[..., :-1].log()).sum(-1)

    def _parts(self, x: T) -> T:
        z = (x - self._offset(x).log()).sigmoid()
        return z.clamp(min=tiny(z), max=1 - epsilon(z))

    @staticmethod
    def _offset(x: T) -> T:
        """K - 1, K - 2, ... 1: zeros break the stick into equal parts."""
        n = x.shape[-1]
        return n - arange(n, dtype=x.dtype)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One more."""
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One less."""
        return (*shape[:-1], shape[-1] - 1)


class ReshapeTransform(Transform):
    """Another shape of the events."""

    bijective = True

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError("in_shape, out_shape have different numbers of elements")

    @property
    def domain(self) -> Any:
        """Real numbers of the first shape."""
        return constraints.independent(constraints.real, len(self.in_shape))

    @property
    def codomain(self) -> Any:
        """Real numbers of the second shape."""
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x: T) -> T:
        return x.reshape(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def _inverse(self, y: T) -> T:
        return y.reshape(*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Zeros."""
        return zeros_like(sum_rightmost(x, len(self.in_shape)))

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The second shape at the end."""
        return (*shape[: len(shape) - len(self.in_shape)], *self.out_shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The first shape at the end."""
        return (*shape[: len(shape) - len(self.out_shape)], *self.in_shape)

    def _key(self) -> tuple[Any, ...]:
        return self.in_shape, self.out_shape


class StackTransform(Transform):
    """A transform for each slice of a dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all are."""
        return all(t.bijective for t in self.transforms)

    @property
    def domain(self) -> Any:
        """Theirs, slice by slice."""
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @property
    def codomain(self) -> Any:
        """Theirs, slice by slice."""
        return constraints.stack([t.codomain for t in self.transforms], self.dim)

    def _slices(self, x: T) -> list[T]:
        return [x.select(self.dim, i) for i in range(len(self.transforms))]

    def _call(self, x: T) -> T:
        parts = zip(self._slices(x), self.transforms, strict=True)
        return stack([t(part) for part, t in parts], self.dim)

    def _inverse(self, y: T) -> T:
        parts = zip(self._slices(y), self.transforms, strict=True)
        return stack([t.inv(part) for part, t in parts], self.dim)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Theirs, slice by slice."""
        parts = zip(self._slices(x), self._slices(y), self.transforms, strict=True)
        return stack([t.log_abs_det_jacobian(a, b) for a, b, t in parts], self.dim)


class CatTransform(Transform):
    """A transform for each of several pieces of a dimension."""

    def __init__(
        self,
        tseq: Sequence[Transform],
        dim: int = 0,
        lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        self.dim = dim

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all are."""
        return all(t.bijective for t in self.transforms)

    @property
    def event_dim(self) -> int:
        """The largest."""
        return max(t.event_dim for t in self.transforms)

    @property
    def length(self) -> int:
        """Of all pieces together."""
        return sum(self.lengths)

    @property
    def domain(self) -> Any:
        """Theirs, piece by piece."""
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Any:
        """Theirs, piece by piece."""
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)

    def _pieces(self, x: T) -> list[T]:
        starts = [sum(self.lengths[:i]) for i in range(len(self.lengths))]
        return [x.narrow(self.dim, s, n) for s, n in zip(starts, self.lengths, strict=True)]

    def _call(self, x: T) -> T:
        parts = zip(self._pieces(x), self.transforms, strict=True)
        return cat([t(part) for part, t in parts], self.dim)

    def _inverse(self, y: T) -> T:
        parts = zip(self._pieces(y), self.transforms, strict=True)
        return cat([t.inv(part) for part, t in parts], self.dim)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Theirs, over the dimensions of the largest, together or piece by piece."""
        found = []
        for a, b, t in zip(self._pieces(x), self._pieces(y), self.transforms, strict=True):
            term = t.log_abs_det_jacobian(a, b)
            found.append(sum_rightmost(term, self.event_dim - t.event_dim))
        dim = self.dim if self.dim < 0 else self.dim - x.ndim
        dim += self.event_dim
        if dim < 0:
            return cat(found, dim)
        total = found[0]
        for term in found[1:]:
            total = total + term
        return total


class CumulativeDistributionTransform(Transform):
    """y = distribution.cdf(x)."""

    bijective = True
    codomain = constraints.unit_interval
    sign: Any = 1

    def __init__(self, distribution: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Any:
        """The distribution's support."""
        return self.distribution.support

    def _call(self, x: T) -> T:
        return self.distribution.cdf(x)

    def _inverse(self, y: T) -> T:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """The distribution's log density."""
        return self.distribution.log_prob(x)
