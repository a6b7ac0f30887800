"""Divergences from and to Gamma, and those of counts: Binomial, Poisson."""

from __future__ import annotations

import math

from toolkit._tensor.elementwise import where
from toolkit.distributions.counts import Binomial
from toolkit.distributions.discrete import Bernoulli
from toolkit.distributions.extremes import Gumbel, Pareto
from toolkit.distributions.gamma import Gamma
from toolkit.distributions.kl import infinite, register_kl, t_log
from toolkit.distributions.location_scale import Laplace, Normal, Uniform
from toolkit.distributions.positive import Exponential
from toolkit.distributions.rates import Poisson
from toolkit.distributions.utils import EULER, T, normal_log_normalizer, tracing

for _p, _q in (
    (Gamma, Pareto), (Gamma, Uniform), (Gumbel, Gamma), (Laplace, Gamma), (Normal, Gamma),
):  # fmt: skip
    register_kl(_p, _q)(infinite)


def _log_norm(q: Gamma) -> T:
    return q.concentration.lgamma() - q.concentration * q.rate.log()


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> T:
    a, b = p.concentration, q.concentration
    ratio = q.rate / p.rate
    return b.lgamma() - a.lgamma() + (a - b) * a.digamma() - b * ratio.log() + a * (ratio - 1)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> T:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> T:
    """E[log x] = -Euler - log(rate)."""
    ratio, b = q.rate / p.rate, q.concentration
    return b.lgamma() - b * ratio.log() + ratio - 1 + (b - 1) * EULER


@register_kl(Gamma, Normal)
def _gamma_normal(p: Gamma, q: Normal) -> T:
    spread = p.variance + (p.mean - q.loc) ** 2
    return -p.entropy() + normal_log_normalizer(q.scale) + 0.5 * spread / q.scale**2


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Gamma, q: Gumbel) -> T:
    """E[exp(-x / scale)] = (1 + 1 / (rate scale))^-a."""
    shift = q.loc / q.scale
    tail = (shift - p.concentration * (p.rate * q.scale).reciprocal().log1p()).exp()
    return -p.entropy() + q.scale.log() + p.mean / q.scale - shift + tail


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Pareto, q: Gamma) -> T:
    """Infinite where p has no mean."""
    finite = p.alpha > 1
    alpha = where(finite, p.alpha, 2.0)
    log_mean = p.scale.log() + p.alpha.reciprocal()
    mean = alpha * p.scale / (alpha - 1)
    found = p.alpha.log() - log_mean + _log_norm(q) + (1 - q.concentration) * log_mean - 1
    return where(finite, found + q.rate * mean, math.inf)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Uniform, q: Gamma) -> T:
    width = p.high - p.low
    log_mean = (t_log(p.high) - t_log(p.low)) / width - 1
    found = _log_norm(q) - width.log() + (1 - q.concentration) * log_mean + q.rate * p.mean
    return where(p.low < 0, math.inf, found)


@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def _poisson_infinite(p: Poisson, q: Bernoulli) -> T:
    return p.rate * 0 + q.logits * 0 + math.inf


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> T:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> T:
    return -p.entropy() - p.probs * q.rate.log() + q.rate


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> T:
    """N times the divergence of one draw; infinite where p counts further than q."""
    if not tracing() and bool((p.total_count < q.total_count).any()):
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    draw = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return where(p.total_count > q.total_count, math.inf, p.total_count * draw)
