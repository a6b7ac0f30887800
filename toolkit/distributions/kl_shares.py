"""Divergences from and to distributions of shares: Beta, Dirichlet, ContinuousBernoulli."""

from __future__ import annotations

import math

from toolkit._tensor.elementwise import where
from toolkit.distributions.bounded import ContinuousBernoulli
from toolkit.distributions.extremes import Gumbel, Pareto
from toolkit.distributions.gamma import Gamma
from toolkit.distributions.kl import infinite, register_kl, t_log
from toolkit.distributions.location_scale import Laplace, Normal, Uniform
from toolkit.distributions.positive import Exponential
from toolkit.distributions.ratios import log_beta
from toolkit.distributions.simplex import Beta, Dirichlet
from toolkit.distributions.utils import T, normal_log_normalizer

for _p, _q in (
    (Beta, Pareto), (ContinuousBernoulli, Pareto), (Exponential, Beta),
    (Exponential, ContinuousBernoulli), (Gamma, Beta), (Gamma, ContinuousBernoulli),
    (Gumbel, Beta), (Gumbel, ContinuousBernoulli), (Laplace, Beta), (Laplace, ContinuousBernoulli),
    (Normal, Beta), (Normal, ContinuousBernoulli), (Pareto, Beta), (Pareto, ContinuousBernoulli),
):  # fmt: skip
    register_kl(_p, _q)(infinite)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> T:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    slopes = (a - c) * a.digamma() + (b - d) * b.digamma() + (c + d - a - b) * (a + b).digamma()
    return log_beta(c, d) - log_beta(a, b) + slopes


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> T:
    a, b = p.concentration, q.concentration
    slope = a.digamma() - a.sum(-1, keepdim=True).digamma()
    return q._log_norm() - p._log_norm() + ((a - b) * slope).sum(-1)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous(p: ContinuousBernoulli, q: ContinuousBernoulli) -> T:
    norms = p._log_norm() + (-p.probs).log1p() - q._log_norm() - (-q.probs).log1p()
    return p.mean * (p.logits - q.logits) + norms


@register_kl(Beta, ContinuousBernoulli)
def _to_continuous(p: Beta, q: ContinuousBernoulli) -> T:
    """-E[log q(x)] = -mean logits - log(1 - probs) - log(norm)."""
    return -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._log_norm()


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous(p: Uniform, q: ContinuousBernoulli) -> T:
    found = -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._log_norm()
    return where((p.high > 1) | (p.low < 0), math.inf, found)


@register_kl(Beta, Exponential)
@register_kl(ContinuousBernoulli, Exponential)
def _to_exponential(p: Beta, q: Exponential) -> T:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Normal)
@register_kl(ContinuousBernoulli, Normal)
def _to_normal(p: Beta, q: Normal) -> T:
    """-E[log q(x)] = log(scale sqrt(2 pi)) + (variance + (mean - loc)^2) / (2 scale^2)."""
    spread = p.variance + (p.mean - q.loc) ** 2
    return -p.entropy() + normal_log_normalizer(q.scale) + 0.5 * spread / q.scale**2


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _to_uniform(p: Beta, q: Uniform) -> T:
    found = -p.entropy() + (q.high - q.low).log()
    return where((q.low > 0) | (q.high < 1), math.inf, found)


@register_kl(Beta, Gamma)
def _beta_gamma(p: Beta, q: Gamma) -> T:
    a, total = p.concentration1, p.concentration1 + p.concentration0
    log_mean = a.digamma() - total.digamma()
    norm = q.concentration.lgamma() - q.concentration * q.rate.log()
    return -p.entropy() + norm - (q.concentration - 1) * log_mean + q.rate * p.mean


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> T:
    """E[log x] and E[log(1 - x)] are differences of t log(t) - t over the width."""
    width = p.high - p.low
    left = (t_log(p.high) - t_log(p.low)) / width - 1
    right = (t_log(1 - p.low) - t_log(1 - p.high)) / width - 1
    a, b = q.concentration1, q.concentration0
    found = log_beta(a, b) - width.log() - (a - 1) * left - (b - 1) * right
    return where((p.high > 1) | (p.low < 0), math.inf, found)
