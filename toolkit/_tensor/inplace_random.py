"""In-place methods that fill a tensor with random numbers, by inversion of their distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from toolkit import random
from toolkit._tensor.base import BOOL, FLOATS, TensorBase
from toolkit._tensor.inplace import assign
from toolkit._tensor.promote import cast
from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def _uniform(t: Any, generator: Any) -> Any:
    """Numbers of [0, 1) in the tensor's shape; float32 for what is no float."""
    code = t._value.dtype
    return random.uniform(t.shape, code if code in FLOATS else 1, generator)


def _fill(t: Any, drawn: Any) -> Any:
    assign(t, cast(drawn, t._value.dtype))
    return t


def _float(name: str, t: Any) -> None:
    if t._value.dtype not in FLOATS:
        raise InvalidArgumentError(f"{name}: a floating tensor is required, got {t.dtype.name}.")


class InplaceRandom(TensorBase):
    """Draws written into this tensor."""

    def uniform_(self, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Tensor:
        """Uniform numbers in [a, b)."""
        _float("uniform_", self)
        if a > b:
            raise InvalidArgumentError(
                f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}"
            )
        u = _uniform(self, generator)
        return _fill(self, u if (a, b) == (0.0, 1.0) else u * (b - a) + a)

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
        """Normal numbers."""
        _float("normal_", self)
        if std < 0:
            raise InvalidArgumentError(f"normal expects std >= 0.0, but found std {std}")
        z: Any = random.normal(self.shape, self._value.dtype, generator)
        return _fill(self, z if (mean, std) == (0.0, 1.0) else z * std + mean)

    def log_normal_(self, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Tensor:
        """Exponentials of normal numbers."""
        _float("log_normal_", self)
        if std <= 0:
            raise InvalidArgumentError(f"log_normal_ expects std > 0.0, but found std={std}")
        z: Any = random.normal(self.shape, self._value.dtype, generator)
        return _fill(self, (z * std + mean).exp())

    def exponential_(self, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
        """Exponential numbers of a rate: -ln(1 - u) / lambd."""
        _float("exponential_", self)
        if lambd <= 0:
            raise InvalidArgumentError(f"exponential_ expects lambda > 0.0, but found {lambd}")
        return _fill(self, -(1 - _uniform(self, generator)).log() / lambd)

    def cauchy_(self, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Tensor:
        """Cauchy numbers: median + sigma tan(pi (u - 1/2))."""
        _float("cauchy_", self)
        if sigma <= 0:
            raise InvalidArgumentError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
        angle = (_uniform(self, generator) - 0.5) * math.pi
        return _fill(self, angle.tan() * sigma + median)

    def geometric_(self, p: float, *, generator: Any = None) -> Tensor:
        """How many trials of probability p the first success takes."""
        if not 0 < p < 1:
            raise InvalidArgumentError(f"geometric_ expects p to be in (0, 1), but got p={p}")
        count = ((1 - _uniform(self, generator)).log() / math.log1p(-p)).ceil().clamp(min=1)
        return _fill(self, count)

    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Tensor:
        """1 with probability p (a number, or a tensor of them), else 0."""
        if not isinstance(p, TensorBase) and not 0 <= p <= 1:
            raise InvalidArgumentError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        u: Any = random.uniform(self.shape, 1, generator)
        return _fill(self, u < p)

    def random_(self, low: int = 0, high: int | None = None, *, generator: Any = None) -> Tensor:
        """Integers in [low, high)."""
        from toolkit._tensor.draws import randint

        if high is None:
            most = (
                2 if self._value.dtype == BOOL else min(2**24, 2 ** (8 * self.dtype.itemsize - 1))
            )
            low, high = (0, low) if low else (0, most)
        drawn = randint(low, high, tuple(self.shape), dtype=self.dtype, generator=generator)
        return _fill(self, drawn)
