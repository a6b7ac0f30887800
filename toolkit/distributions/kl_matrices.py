"""Divergences of normal vectors and of Wishart matrices."""

from __future__ import annotations

from toolkit.distributions.kl import register_kl
from toolkit.distributions.matrices import sum_of_squares
from toolkit.distributions.multivariate import LowRankMultivariateNormal, MultivariateNormal
from toolkit.distributions.utils import T
from toolkit.distributions.wishart import Wishart
from toolkit.errors import InvalidArgumentError
from toolkit.linalg import solve_triangular

Normals = MultivariateNormal | LowRankMultivariateNormal


def _of_parts(p: Normals, q: Normals, trace: T) -> T:
    """(log|C_q| - log|C_p| + trace(C_q^-1 C_p) + distance of the means - n) / 2."""
    between = q._log_det() - p._log_det() + q._distance(q.loc - p.loc)
    return 0.5 * (between + trace - p.event_shape[0])


def _require_same_event(p: Normals, q: Normals) -> None:
    if p.event_shape != q.event_shape:
        raise InvalidArgumentError(
            "KL-divergence between two (Low Rank) Multivariate Normals with different event shapes "
            "cannot be computed"
        )


@register_kl(MultivariateNormal, MultivariateNormal)
def _normal(p: MultivariateNormal, q: MultivariateNormal) -> T:
    _require_same_event(p, q)
    ratio = solve_triangular(q._tril, p._tril, upper=False)
    return _of_parts(p, q, sum_of_squares(ratio))


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_normal(p: LowRankMultivariateNormal, q: MultivariateNormal) -> T:
    _require_same_event(p, q)
    factor = solve_triangular(q._tril, p._w, upper=False)
    diagonal = solve_triangular(q._tril, p._d.sqrt().diag_embed(), upper=False)
    return _of_parts(p, q, sum_of_squares(factor) + sum_of_squares(diagonal))


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _normal_low_rank(p: MultivariateNormal, q: LowRankMultivariateNormal) -> T:
    _require_same_event(p, q)
    return _of_parts(p, q, _trace(q, p._tril))


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p: LowRankMultivariateNormal, q: LowRankMultivariateNormal) -> T:
    _require_same_event(p, q)
    a = q._whitened()
    diagonal = (p._d / q._d).sum(-1) - sum_of_squares(a * p._d.sqrt().unsqueeze(-2))
    return _of_parts(p, q, _trace(q, p._w) + diagonal)


def _trace(q: LowRankMultivariateNormal, x: T) -> T:
    """trace(C_q^-1 X X^T), with C_q^-1 = diag(1 / d) - A^T A."""
    scaled = x * q._d.rsqrt().unsqueeze(-1)
    return sum_of_squares(scaled) - sum_of_squares(q._whitened() @ x)


@register_kl(Wishart, Wishart)
def _wishart(p: Wishart, q: Wishart) -> T:
    """log(norm_q / norm_p) + (df_p - df_q) E[log|X|] / 2 + df_p (trace(C_q^-1 C_p) - n) / 2."""
    n = p.event_shape[-1]
    trace = sum_of_squares(solve_triangular(q._tril, p._tril, upper=False))
    norms = q._log_norm() - p._log_norm()
    return norms + 0.5 * (p.df - q.df) * p.mean_log_det() + 0.5 * p.df * (trace - n)
