"""`kl_divergence` and the pairs of distributions that have one in closed form."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions.discrete import Bernoulli, Categorical, OneHotCategorical
from toolkit.distributions.distribution import Distribution, ExponentialFamily
from toolkit.distributions.extremes import Gumbel, Pareto
from toolkit.distributions.location_scale import Cauchy, Laplace, Normal, Uniform
from toolkit.distributions.of_normal import HalfNormal, LogNormal
from toolkit.distributions.positive import Exponential, Geometric
from toolkit.distributions.transformed import Independent, TransformedDistribution
from toolkit.distributions.transforms_pointwise import softplus
from toolkit.distributions.utils import EULER, T, sum_rightmost

Rule = Callable[[Any, Any], T]
_RULES: dict[tuple[type, type], Rule] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Rule], Rule]:
    """Registers a function for a pair of types and what is derived from them.

    Raises:
        TypeError: one of them is no distribution.
    """
    for kind in (type_p, type_q):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(f"Expected a Distribution subclass but got {kind}")

    def decorate(rule: Rule) -> Rule:
        _RULES[type_p, type_q] = rule
        _find.cache_clear()
        return rule

    return decorate


@functools.cache
def _find(p: Any, q: Any) -> Rule | None:
    """The rule of the nearest types, first of p and then of q."""
    found = [pair for pair in _RULES if issubclass(p, pair[0]) and issubclass(q, pair[1])]
    if not found:
        return None
    order = lambda pair: (p.__mro__.index(pair[0]), q.__mro__.index(pair[1]))  # noqa: E731
    return _RULES[min(found, key=order)]


def kl_divergence(p: Distribution, q: Distribution) -> T:
    """The Kullback-Leibler divergence of q from p: E_p[log p(x) - log q(x)].

    Raises:
        NotImplementedError: no rule is registered for the pair.
    """
    kinds: Any = type(p), type(q)
    rule = _find(*kinds)
    if rule is None:
        raise _missing(p, q)
    return rule(p, q)


def _missing(p: Distribution, q: Distribution) -> NotImplementedError:
    return NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


def t_log(x: T) -> T:
    """X log x, 0 at 0."""
    return where(x == 0, 0.0, x * where(x == 0, 1.0, x).log())


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> T:
    t1 = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    t1 = where(q.probs == 0, math.inf, t1)
    t1 = where(p.probs == 0, 0.0, t1)
    t2 = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    t2 = where(q.probs == 1, math.inf, t2)
    return t1 + where(p.probs == 1, 0.0, t2)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> T:
    t = p.probs * (p.logits - q.logits)
    t = where(q.probs == 0, math.inf, t)
    return where(p.probs == 0, 0.0, t).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> T:
    return _categorical(p._categorical, q._categorical)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> T:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> T:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> T:
    ratio, low, high = p.scale / q.scale, q.loc / q.scale, p.loc / q.scale
    t3 = (low - high + (1 + ratio).lgamma()).exp()
    return high - low - ratio.log() + ratio * EULER + t3 - (1 + EULER)


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Normal, q: Gumbel) -> T:
    shift, square = (p.loc - q.loc) / q.scale, (p.scale / q.scale) ** 2
    t3 = (0.5 * square - shift).exp()
    return shift - 0.5 * square.log() + t3 - 0.5 * (1 + math.log(2 * math.pi))


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Exponential, q: Gumbel) -> T:
    scaled, shift = p.rate * q.scale, q.loc / q.scale
    return scaled.log() - 1 - shift + scaled.reciprocal() + shift.exp() * scaled / (scaled + 1)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Uniform, q: Gumbel) -> T:
    width = (p.high - p.low) / q.scale
    low, high = (p.low - q.loc) / q.scale, (p.high - q.loc) / q.scale
    return ((-low).exp() - (-high).exp()) / width - width.log() + (low + high) / 2


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> T:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> T:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> T:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(LogNormal, LogNormal)
def _log_normal(p: LogNormal, q: LogNormal) -> T:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> T:
    """Chyzak and Nielsen, 2019."""
    t = (p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2
    return t.log() - (4 * p.scale * q.scale).log()


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> T:
    ratio, shape = p.scale / q.scale, q.alpha / p.alpha
    found = q.alpha * ratio.log() - shape.log() + shape - 1
    return where(p.support.lower_bound < q.support.lower_bound, math.inf, found)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> T:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return where((q.low > p.low) | (q.high < p.high), math.inf, found)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> T:
    width = p.high - p.low
    spread = width**2 / 12 + ((p.high + p.low - 2 * q.loc) / 2) ** 2
    return (math.sqrt(math.pi * 2) * q.scale / width).log() + 0.5 * spread / q.scale**2


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> T:
    found = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return where(p.low < 0, math.inf, found)


@register_kl(Exponential, Normal)
def _exponential_normal(p: Exponential, q: Normal) -> T:
    square = q.scale**2
    mean = p.rate.reciprocal()
    t1 = 0.5 * (p.rate**2 * square * 2 * math.pi).log()
    return t1 - 1 + (mean**2 - mean * q.loc + q.loc**2 / 2) / square


@register_kl(Laplace, Normal)
def _laplace_normal(p: Laplace, q: Normal) -> T:
    square = q.scale**2
    ratio = p.scale**2 / square
    t1 = 0.5 * (2 * ratio / math.pi).log()
    return -t1 + ratio + (0.5 * p.loc**2 - p.loc * q.loc + 0.5 * q.loc**2) / square - 1


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> T:
    z = (p.loc - q.loc) / p.scale
    near = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z * z).exp()
    far = (p.loc - q.loc) * (math.sqrt(0.5) * z).erf()
    scaled = (near + far) / q.scale
    return scaled - (p.scale / q.scale).log() - 0.5 * math.log(0.5 * math.pi) - 0.5


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> T:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise _missing(p, q)
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> T:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise _missing(p, q)
    found = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(found, len(p.event_shape) - len(p.base_dist.event_shape))


@register_kl(ExponentialFamily, ExponentialFamily)
def _family(p: ExponentialFamily, q: ExponentialFamily) -> T:
    """Two of one family: the Bregman divergence of the log normaliser A (Nielsen and Nock, 2010).

    A(q) - A(p) - (q - p) A'(p), p and q the natural parameters.
    """
    if type(p) is not type(q):
        raise _missing(p, q)
    found, parameters, slopes = p._normalizer_and_slopes()
    result = q._log_normalizer(*q._natural_params) - found
    for a, b, slope in zip(parameters, q._natural_params, slopes, strict=True):
        result = result - sum_rightmost((b - a) * slope, len(q.event_shape))
    return result


def infinite(p: Any, q: Any) -> T:
    """The support of p is no part of that of q."""
    return p.entropy() * 0 + (q.entropy() * 0 + math.inf)


for _p, _q in (
    (Exponential, Uniform), (Exponential, Pareto), (Laplace, Exponential), (Laplace, Pareto),
    (Laplace, Uniform), (Normal, Exponential), (Normal, Pareto), (Normal, Uniform),
    (Pareto, Uniform), (Uniform, Pareto), (Gumbel, Exponential), (Gumbel, Pareto),
    (Gumbel, Uniform),
):  # fmt: skip
    register_kl(_p, _q)(infinite)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Uniform, q: Pareto) -> T:
    """Infinite where p begins below q's scale."""
    width = p.high - p.low
    t1 = (q.alpha * q.scale**q.alpha * width).log()
    t2 = (t_log(p.high) - t_log(p.low) - width) / width
    return where(p.low < q.scale, math.inf, t2 * (q.alpha + 1) - t1)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Pareto, q: Exponential) -> T:
    scaled = p.scale * q.rate
    found = (p.alpha / scaled).log() - p.alpha.reciprocal() + p.alpha * scaled / (p.alpha - 1) - 1
    return where(p.alpha <= 1, math.inf, found)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Pareto, q: Normal) -> T:
    square = 2 * q.scale**2
    t1 = (math.sqrt(2 * math.pi) * q.scale * p.alpha / p.scale).log()
    t3 = p.alpha * p.scale**2 / (p.alpha - 2)
    t4 = (p.alpha * p.scale / (p.alpha - 1) - q.loc) ** 2
    mean = p.alpha * p.scale / (p.alpha - 1)
    t5 = t3 - mean**2
    return where(p.alpha <= 2, math.inf, t1 - p.alpha.reciprocal() + (t5 + t4) / square - 1)


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Gumbel, q: Normal) -> T:
    ratio = p.scale / q.scale
    t1 = (ratio / math.sqrt(2 * math.pi)).log()
    t3 = ((p.loc + p.scale * EULER - q.loc) / q.scale) ** 2
    return -t1 + (math.pi * ratio * 0.5) ** 2 / 3 + t3 * 0.5 - (EULER + 1)
