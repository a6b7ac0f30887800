"""Approximations of low rank by random projections (Halko, Martinsson and Tropp 2009)."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.draws import randn
from toolkit._tensor.linalg.checks import matrices
from toolkit._tensor.linalg.eigen import svd
from toolkit._tensor.linalg.factor import qr
from toolkit.errors import InvalidArgumentError


def _basis(a: Any, q: int, niter: int) -> Any:
    """Orthonormal columns (..., m, q) near the range of a."""
    y = a @ randn(a.shape[-1], q, dtype=a.dtype)
    basis = qr(y).Q
    for _ in range(niter):
        basis = qr(a.mT @ basis).Q
        basis = qr(a @ basis).Q
    return basis


def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> Any:
    """U, S, V of nearly A = U diag(S) V', with q columns.

    Args:
        A: (..., m, n).
        q: an overestimate of the rank.
        niter: subspace iterations.
        M: a matrix that is taken off A first.
    """
    matrices("svd_lowrank", A)
    q, niter = 6 if q is None else q, 2 if niter is None else niter
    a = A if M is None else A - M
    m, n = a.shape[-2:]
    wide = type(m) is int and type(n) is int and m < n
    a = a.mT if wide else a
    basis = _basis(a, q, niter)
    u, s, vh = svd(basis.mT @ a, False)
    u, v = basis @ u, vh.mT
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """The first q principal components of rows: U, S, V of the centred matrix.

    Raises:
        InvalidArgumentError: q is negative or exceeds a side of A.
    """
    matrices("pca_lowrank", A)
    m, n = A.shape[-2:]
    known = [d for d in (m, n) if type(d) is int]
    q = min(6, *known) if q is None else q
    if q < 0 or any(q > d for d in known):
        raise InvalidArgumentError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(known)}"
        )
    if niter < 0:
        raise InvalidArgumentError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
