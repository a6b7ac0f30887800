"""A distribution of angles: VonMises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.autograd import no_grad
from toolkit.distributions import constraints
from toolkit.distributions.distribution import Distribution
from toolkit.distributions.rejection import first_accepted
from toolkit.distributions.utils import T, broadcast_all, tiny
from toolkit.dtypes import float64
from toolkit.special import i0e, i1e
from toolkit.tensor import rand

_ROUNDS = 24  # A round accepts 66 of 100 or more.


class VonMises(Distribution):
    """exp(k cos(x - loc)) / (2 pi I0(k)) over angles, k the concentration.

    Angles count modulo 2 pi; samples are in [-pi, pi). The variance is the circular one.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    parameters = {"loc": 0, "concentration": 0}
    support = constraints.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> T:
        """The circular mean: the location."""
        return self.loc

    @property
    def mode(self) -> T:
        """The location."""
        return self.loc

    @property
    def variance(self) -> T:
        """1 - I1(k) / I0(k)."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def log_prob(self, value: T) -> T:
        """K (cos(x - loc) - 1) - log(2 pi exp(-k) I0(k))."""
        self._validate_sample(value)
        k = self.concentration
        return k * ((value - self.loc).cos() - 1) - math.log(2 * math.pi) - i0e(k).log()

    def sample(self, sample_shape: Sequence[int] = ()) -> T:
        """Best and Fisher, 1979: proposals of a wrapped Cauchy distribution, in float64."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            k = self.concentration.to(float64)
            r = _proposal(k)

            def propose() -> tuple[T, T]:
                u1, u2, u3 = (rand(*shape, dtype=float64) for _ in range(3))
                z = (math.pi * u1).cos()
                rest = (r - 1) * (1 - z) / (r + z)  # 1 - cos(angle), exact where it is small.
                c = k * (r - 1 + rest)
                u2 = u2.clamp(min=tiny(u2))
                accepted = (c * (2 - c) > u2) | ((c / u2).log() + 1 - c >= 0)
                return (u3 - 0.5).sign() * (0.5 * rest).sqrt(), accepted

            sine = first_accepted(shape, float64, propose, _ROUNDS).to(self.loc.dtype)  # Of half.
            x = 2 * sine.clamp(min=-1, max=1).asin() + self.loc
            return (x + math.pi) % (2 * math.pi) - math.pi


def _proposal(k: T) -> T:
    """r of the proposals; its series 1 / k + k where k is small."""
    tau = 1 + (1 + 4 * k * k).sqrt()
    rho = (tau - (2 * tau).sqrt()) / (2 * k)
    return where(k < 1e-5, 1 / k + k, (1 + rho * rho) / (2 * rho))
