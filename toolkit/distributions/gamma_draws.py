"""Draws of gamma variables with the gradient of their shape, in logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit._tensor.elementwise import where
from toolkit.autograd import no_grad
from toolkit.distributions.rejection import first_accepted
from toolkit.distributions.utils import T, tiny, tracing
from toolkit.tensor import rand, randn, tensor

_ROUNDS = 8  # A round accepts 95 of 100 or more.


def log_gamma(concentration: T, shape: Sequence[Any]) -> T:
    """The logarithm of gamma variables of rate 1; small shapes do not underflow.

    Its gradient is implicit (Figurnov et al., 2018): -(dP / da) / (dP / dx), where P is the
    regularised incomplete gamma function.
    """
    a = concentration.expand(*shape)
    with no_grad():
        found = _marsaglia_tsang(a, shape)
    if not a.requires_grad and not tracing():
        return found
    with no_grad():
        slope = log_gamma_slope(a.detach(), found)
    return found.detach() + (a - a.detach()) * slope.detach()


def _marsaglia_tsang(a: T, shape: Sequence[Any]) -> T:
    """Marsaglia and Tsang, 2000: d v where v = (1 + n / sqrt(9 d))^3 is accepted."""
    small = a < 1
    d = where(small, a + 1, a) - 1 / 3
    scale = (9 * d).rsqrt()

    def propose() -> tuple[T, T]:
        n = randn(*shape, dtype=a.dtype)
        u = 1 - rand(*shape, dtype=a.dtype)
        step = 1 + scale * n
        log_v = 3 * where(step > 0, step, 1.0).log()
        accepted = (step > 0) & (u.log() < 0.5 * n * n + d * (1 - log_v.exp() + log_v))
        return log_v, accepted

    kept = first_accepted(shape, a.dtype, propose, _ROUNDS)
    boost = (1 - rand(*shape, dtype=a.dtype)).log() / a
    return d.log() + kept + where(small, boost, 0.0)


def log_gamma_slope(a: T, log_x: T) -> T:
    """d log(x) / da at a fixed probability P(a, x).

    It is the integral over v from -infinity to 0 of exp(a v - x (e^v - 1)) (digamma(a) - log(x) -
    v), or over v from 0 to infinity with the other sign, by double exponential quadrature (Takahasi
    and Mori, 1974) on the side where the integrand falls from v = 0.
    """
    x = log_x.exp()
    below = x <= a.clamp(min=0.3)
    sign = where(below, -1.0, 1.0).to(a.dtype)
    spread = where(below, a.minimum(a.sqrt()), x.clamp(min=tiny(x)).sqrt())
    width = 1 / ((-sign * (a - x)).clamp(min=0) + spread)
    nodes, weights = _half_line()
    v = (sign * width).unsqueeze(-1) * tensor(nodes, dtype=a.dtype)
    a_, x_, log_x = a.unsqueeze(-1), x.unsqueeze(-1), log_x.unsqueeze(-1)
    height = (a_ * v - x_ * v.expm1()).exp()
    terms = height * (log_x + v - a_.digamma()) * tensor(weights, dtype=a.dtype)
    return sign * width * terms.sum(-1)


def _half_line() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Nodes exp(t - exp(-t)) of the half line and their weights."""
    t = np.linspace(-3.2, 4.6, 53)
    nodes = np.exp(t - np.exp(-t))
    return nodes, nodes * (1 + np.exp(-t)) * (t[1] - t[0])
