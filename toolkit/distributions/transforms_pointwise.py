"""Transforms of each element."""

from __future__ import annotations

import math
from typing import Any

from toolkit.distributions import constraints
from toolkit.distributions.transforms import Transform
from toolkit.distributions.utils import T, epsilon, sum_rightmost, tiny
from toolkit.tensor import Tensor, zeros_like

_LOG2 = math.log(2.0)


def softplus(x: T) -> T:
    """log(1 + exp(x))."""
    return x.clamp(min=0) + (-x.abs()).exp().log1p()


class _Pointwise(Transform):
    """A bijective map of each element."""

    bijective = True
    domain: Any = constraints.real
    codomain: Any = constraints.real
    sign: Any = 1


class ExpTransform(_Pointwise):
    """y = exp(x)."""

    codomain = constraints.positive

    def _call(self, x: T) -> T:
        return x.exp()

    def _inverse(self, y: T) -> T:
        return y.log()

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """X."""
        return x


class PowerTransform(_Pointwise):
    """y = x^exponent of positive x."""

    domain = constraints.positive
    codomain = constraints.positive

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = exponent

    @property
    def sign(self) -> Any:
        """That of the exponent."""
        e = self.exponent
        return e.sign() if isinstance(e, Tensor) else math.copysign(1, e)

    def _call(self, x: T) -> T:
        return x**self.exponent

    def _inverse(self, y: T) -> T:
        return y ** (1 / self.exponent)

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Log |exponent y / x|."""
        return (self.exponent * y / x).abs().log()

    def _key(self) -> tuple[Any, ...]:
        return (self.exponent,)


class SigmoidTransform(_Pointwise):
    """y = 1 / (1 + exp(-x))."""

    codomain = constraints.unit_interval

    def _call(self, x: T) -> T:
        y = x.sigmoid()
        return y.clamp(min=tiny(y), max=1 - epsilon(y))

    def _inverse(self, y: T) -> T:
        y = y.clamp(min=tiny(y), max=1 - epsilon(y))
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """-softplus(-x) - softplus(x)."""
        return -softplus(-x) - softplus(x)


class SoftplusTransform(_Pointwise):
    """y = log(1 + exp(x))."""

    codomain = constraints.positive

    def _call(self, x: T) -> T:
        return softplus(x)

    def _inverse(self, y: T) -> T:
        return (-(-y).expm1()).log() + y

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """-softplus(-x)."""
        return -softplus(-x)


class TanhTransform(_Pointwise):
    """y = tanh(x)."""

    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x: T) -> T:
        return x.tanh()

    def _inverse(self, y: T) -> T:
        return y.atanh()

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """2 (log(2) - x - softplus(-2 x)), stable for large x."""
        return 2.0 * (_LOG2 - x - softplus(-2.0 * x))


class AbsTransform(Transform):
    """y = |x|; the inverse is the positive one."""

    domain = constraints.real
    codomain = constraints.positive

    def _call(self, x: T) -> T:
        return x.abs()

    def _inverse(self, y: T) -> T:
        return y


class AffineTransform(Transform):
    """y = loc + scale x."""

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        """As given."""
        return self._event_dim

    @property
    def domain(self) -> Any:
        """Real numbers."""
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else (
            constraints.real
        )  # fmt: skip

    @property
    def codomain(self) -> Any:
        """Real numbers."""
        return self.domain

    @property
    def sign(self) -> Any:
        """That of the scale."""
        if isinstance(self.scale, Tensor):
            return self.scale.sign()
        return 1 if float(self.scale) > 0 else -1 if float(self.scale) < 0 else 0

    def _call(self, x: T) -> T:
        return self.loc + self.scale * x

    def _inverse(self, y: T) -> T:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: T, y: T) -> T:
        """Log |scale|."""
        if isinstance(self.scale, Tensor):
            result = self.scale.abs().log() + zeros_like(x)
        else:
            result = zeros_like(x) + math.log(abs(self.scale))
        return sum_rightmost(result, self._event_dim)

    def _key(self) -> tuple[Any, ...]:
        return self.loc, self.scale
