"""A few extreme eigenvalues of a large symmetric matrix, by LOBPCG (Knyazev 2001).

Each step solves the problem on the span of the vectors, their residuals and the last directions,
which orthogonalisation by the B inner product keeps well conditioned (Duersch et al. 2018). Eager:
how many steps there are depends on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit._tensor.draws import randn
from toolkit._tensor.factories import cat
from toolkit._tensor.linalg.checks import known, square
from toolkit._tensor.linalg.eigen import eigh
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError


def lobpcg(
    A: Any, k: int | None = None, B: Any = None, X: Any = None, n: int | None = None,
    iK: Any = None, niter: int | None = None, tol: float | None = None, largest: bool | None = None,
    method: str | None = None, tracker: Callable[[Any], None] | None = None,
    ortho_iparams: Any = None, ortho_fparams: Any = None, ortho_bparams: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The k largest (or smallest) eigenvalues of A x = w B x, and their vectors.

    Args:
        A: (..., m, m), symmetric.
        k: how many; the columns of X, or 1, when None. m must be at least 3 k.
        B: (..., m, m), positive definite; None: the unit matrix.
        X: (..., m, n), first guesses of n vectors; random when None.
        n: how many vectors are iterated; k when None.
        iK: (..., m, m), a preconditioner: near the inverse of A.
        niter: the most steps; -1 or None: as many as it takes, up to 1000.
        tol: bounds residuals by tol times |A| + |w| |B|; the root of the rounding error when None.
        largest: False for the smallest.
        method: "basic" or "ortho", which name one method here.
        tracker: called at each step with an object of `X`, `E`, `ivars`, `fvars`, `bvars`.
        ortho_iparams: accepted, as are `ortho_fparams` and `ortho_bparams`: nothing to choose.
        ortho_fparams: see `ortho_iparams`.
        ortho_bparams: see `ortho_iparams`.

    Returns:
        Eigenvalues (..., k), descending if the largest, and eigenvectors (..., m, k).

    Raises:
        InvalidArgumentError: m is too small for k, or there is no such method.
    """
    square("lobpcg", A)
    if not known(A):
        raise UnsupportedOperatorError(
            "lobpcg: eager mode is required, got a trace: the number of steps depends on the data. "
            "Use linalg.eigh."
        )
    if method not in (None, "basic", "ortho"):
        raise InvalidArgumentError(f"lobpcg: 'basic' or 'ortho' is required, got {method!r}.")
    k = (1 if X is None else X.shape[-1]) if k is None else k
    n = (k if X is None else X.shape[-1]) if n is None else n
    m = A.shape[-1]
    if m < 3 * n:
        raise ValueError(
            f"LOBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than "
            f"3 x the number of requested eigenpairs (={n})"
        )
    options = (n, k, -1 if niter is None else niter, tol, largest is not False, tracker)
    batch = tuple(A.shape[:-2])
    if not batch:
        return _one((A, B, X, iK), *options)
    flat = [None if t is None else t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:])
            for t in (A, B, X, iK)]  # fmt: skip
    from toolkit._tensor.factories import stack

    count = flat[0].shape[0]  # type: ignore[union-attr]
    found = [_one([None if t is None else t[i] for t in flat], *options) for i in range(count)]
    values, vectors = (stack([f[j] for f in found]) for j in (0, 1))
    return values.reshape(*batch, k), vectors.reshape(*batch, m, k)


class _Progress:
    """What a tracker sees."""

    def __init__(self) -> None:
        self.ivars: dict[str, int] = {}
        self.fvars: dict[str, float] = {}
        self.bvars: dict[str, bool] = {}
        self.X: Any = None
        self.E: Any = None


def _one(
    operands: Sequence[Any], n: int, k: int, niter: int, tol: float | None, largest: bool,
    tracker: Any,
) -> tuple[Any, Any]:  # fmt: skip
    a, b = operands[:2]
    fixed = [None if t is None else t.detach() for t in operands]
    found = _iterate(fixed, n, k, niter, tol, largest, tracker)
    if not a.requires_grad and not (b is not None and b.requires_grad):
        return found
    if b is not None and b.requires_grad:
        raise InvalidArgumentError(
            "lobpcg: derivatives by A only are required; B with requires_grad has none, as in "
            "PyTorch."
        )
    return _differentiable(a, b, found)


def _differentiable(a: Any, b: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
    """The pairs as functions of A: by the whole spectrum, whose vectors are aligned with these."""
    if b is not None:
        raise InvalidArgumentError(
            "lobpcg: B None is required where gradients are wanted, got a matrix, as in PyTorch."
        )
    values, vectors = found
    all_values, all_vectors = eigh((a + a.mT) * 0.5)
    at = (all_values.detach() - values.unsqueeze(-1)).abs().argmin(-1)
    chosen = all_vectors[:, at]
    sign = (chosen.detach() * vectors).sum(0).sign()
    return all_values[at], chosen * sign


def _iterate(
    operands: Sequence[Any], n: int, k: int, niter: int, tol: float | None, largest: bool,
    tracker: Any,
) -> tuple[Any, Any]:  # fmt: skip
    a, b, x, preconditioner = operands
    limit = float(np.finfo(a.dtype.numpy).eps) ** 0.5 if tol is None else tol
    x = _orthonormal(randn(a.shape[-1], n, dtype=a.dtype) if x is None else x, b)
    norms = [float(t.norm()) if t is not None else a.shape[-1] ** 0.5 for t in (a, b)]
    values, turn = _projected(a, x, largest)
    x = x @ turn
    directions: Any = None
    progress = _Progress()
    for step in range(1000 if niter < 0 else niter + 1):
        bx = x if b is None else b @ x
        residual = a @ x - bx * values
        errors = residual.norm(dim=0) / (norms[0] + values.abs() * norms[1])
        done = int((errors[:k] < limit).long().cumprod(0).sum())
        if tracker is not None:
            progress.X, progress.E = x[:, :k], values[:k]
            progress.ivars.update(istep=step, converged_count=done, m=a.shape[-1], k=k, n=n)
            progress.fvars.update(tol=limit)
            tracker(progress)
        if done == k or step == niter:
            break
        w = residual if preconditioner is None else preconditioner @ residual
        parts = [x, w] if directions is None else [x, w, directions]
        basis = _orthonormal(cat(parts, 1), b)
        values, turn = _projected(a, basis, largest)
        values, turn = values[:n], turn[:, :n]
        new = basis @ turn
        # What is new of it: without the part along the vectors before.
        directions = new - x @ (x.mT @ (new if b is None else b @ new))
        x = new
    return values[:k], x[:, :k]


def _projected(a: Any, basis: Any, largest: bool) -> tuple[Any, Any]:
    """Eigenvalues of A on a basis, the wanted end first, and vectors."""
    small = basis.mT @ a @ basis
    values, vectors = eigh((small + small.mT) * 0.5)
    return (values.flip(0), vectors.flip(1)) if largest else (values, vectors)


def _orthonormal(x: Any, b: Any) -> Any:
    """Columns of the same span, orthonormal by B; what is lost in rounding is left out."""
    for _ in range(2):  # Once more repairs what rounding left.
        norms = ((x if b is None else b @ x) * x).sum(0).sqrt()
        keep = (norms > 0).nonzero().reshape(-1)
        x = x[:, keep] / norms[keep]
        gram = x.mT @ (x if b is None else b @ x)
        values, vectors = eigh((gram + gram.mT) * 0.5)
        bound = float(np.finfo(x.dtype.numpy).eps) * float(values.max()) * len(values)
        keep = (values > bound).nonzero().reshape(-1)
        x = x @ (vectors[:, keep] / values[keep].sqrt())
    return x
