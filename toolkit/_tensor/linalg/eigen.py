"""Eigenvalues, singular values, and what is computed by them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.linalg.checks import (
    differ,
    known,
    matrices,
    nothing,
    result,
    run,
    same_batch,
    same_type,
    square,
    vectors,
)
from toolkit._tensor.linalg.systems import inv_ex
from toolkit._tensor.promote import cast
from toolkit.errors import (
    InvalidArgumentError,
    LinAlgError,
    ShapeError,
)

Eigh = result("linalg_eigh", "eigenvalues eigenvectors")
Svd = result("linalg_svd", "U S Vh")
OldSvd = result("svd", "U S V")
Lstsq = result("linalg_lstsq", "solution residuals rank singular_values")


def _upper(uplo: str) -> int:
    if not isinstance(uplo, str) or uplo.upper() not in ("L", "U"):
        raise InvalidArgumentError(f"Expected UPLO argument to be 'L' or 'U', but got {uplo}")
    return int(uplo.upper() == "U")


def eigh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues (..., n), ascending, and eigenvectors (columns) of symmetric A (..., n, n).

    Args:
        A: of which one triangle is read.
        UPLO: which one, "L" or "U".
    """
    upper = _upper(UPLO)
    return Eigh(*run("Eigh", square("linalg.eigh", A), outputs=2, upper=upper))


def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of `eigh`."""
    upper = _upper(UPLO)
    return run("Eigh", square("linalg.eigvalsh", A), outputs=2, upper=upper, vectors=0)[0]


def _driver(driver: str | None) -> None:
    if driver is not None:
        raise InvalidArgumentError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with "
            f"cuSOLVER backend, got {driver!r}."
        )


def _check(name: str, s: Any) -> None:
    if known(s) and np.isnan(s.detach().numpy()).any():
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix contained "
            "non-finite values."
        )


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U (..., m, k), S (..., k), descending, and Vh (..., k, n) of A = U diag(S) Vh, k = min(m, n).

    With `full_matrices` U and Vh are square.

    Raises:
        LinAlgError: A is not finite.
    """
    _driver(driver)
    matrices("linalg.svd", A)
    factors = run("Svd", A, outputs=3, full_matrices=int(full_matrices))
    _check("linalg.svd", factors[1])
    return Svd(*factors)


def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """The singular values of A, descending."""
    _driver(driver)
    s = run("Svd", matrices("linalg.svdvals", A), outputs=3, vectors=0)[1]
    _check("linalg.svdvals", s)
    return s


def old_svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """`linalg.svd` under its older name, with V in place of Vh."""
    matrices("svd", input, "input")
    if not compute_uv:
        batch, (m, n) = tuple(input.shape[:-2]), input.shape[-2:]
        s = svdvals(input)
        return OldSvd(input.new_zeros(*batch, m, m), s, input.new_zeros(*batch, n, n))
    u, s, vh = svd(input, not some)
    return OldSvd(u, s, vh.mT)


def _largest_side(x: Any) -> Any:
    m, n = x.shape[-2:]
    return max(m, n) if type(m) is int and type(n) is int else None


def _tolerance(name: str, x: Any, s: Any, atol: Any, rtol: Any) -> Any:
    """(..., 1): what counts as zero among the singular values s (..., k)."""
    if rtol is None:
        side = _largest_side(x)
        if side is None:
            raise InvalidArgumentError(
                f"{name}: rtol or known sizes are required, got neither: the default is "
                "max(m, n) times the rounding error. Pass rtol."
            )
        eps = float(np.finfo(x.dtype.numpy).eps) * side
        # A tolerance that is given and positive stands alone.
        rtol = eps if atol is None else where(_tensor(atol, x) > 0, x.new_zeros(()), eps)
    atol = 0.0 if atol is None else atol
    most = s.new_zeros(()) if nothing(s.shape[-1]) else s.amax(-1, keepdim=True)
    return _tensor(atol, x).unsqueeze(-1).maximum(_tensor(rtol, x).unsqueeze(-1) * most)


def _tensor(value: Any, like: Any) -> Any:
    return (
        cast(value, like._value.dtype)
        if isinstance(value, TensorBase)
        else like.new_full((), value)
    )


def matrix_rank(
    A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Any:
    """How many singular values are above max(atol, rtol times the largest one)."""
    name = "torch.linalg.matrix_rank"
    if isinstance(tol, bool):
        tol, hermitian = None, tol
    x = matrices(name, A, "input").detach()
    s = eigvalsh(x).abs() if hermitian else svdvals(x)
    if tol is not None:
        atol, rtol = tol, 0.0
    return (s > _tolerance(name, x, s, atol, rtol)).long().sum(-1)


def pinv(
    A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Any:
    """The pseudoinverse (..., n, m) of A (..., m, n).

    Singular values up to max(atol, rtol times the largest one) count as zeros.
    """
    name = "linalg.pinv"
    x = matrices(name, A).detach()
    rtol = rcond if rtol is None else rtol
    if hermitian:
        square(name, A)
        s, u = eigh(x)
        vh, size = u.mT, s.abs()
    else:
        u, s, vh = svd(x, False)
        size = s
    small = size <= _tolerance(name, x, size, atol, rtol)
    inverse = where(small, s * 0, 1 / where(small, s * 0 + 1, s))
    return run("PinvOf", A, (vh.mT * inverse.unsqueeze(-2)) @ u.mT)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """`linalg.pinv` under its older name."""
    return pinv(input, rtol=rcond)


def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> Any:
    """X of least norm that minimises the 2-norm of A X - B.

    Args:
        A: (..., m, n).
        B: (..., m, r), or a vector for each matrix.
        rcond: singular values up to this part of the largest one count as zeros.
        driver: LAPACK's name of the method, "gels", "gelsy", "gelsd" or "gelss": it chooses which
            of the other results are computed.

    Returns:
        solution, residuals (of tall matrices of full rank), rank, singular_values.
    """
    name = "torch.linalg.lstsq"
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise InvalidArgumentError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}"
        )
    matrices(name, A, "input")
    same_type(name, A, B, "input and other")
    vector = vectors(A, B)
    b = B.unsqueeze(-1) if vector else B
    m, n = A.shape[-2:]
    if b.dim() < 2 or differ(m, b.shape[-2]):
        raise ShapeError(
            f"{name}: input.size(-2) should match other.size(-{1 if vector else 2}), got "
            f"{tuple(A.shape)} and {tuple(B.shape)}"
        )
    a, b = same_batch(A, b)
    driver = driver or "gelsy"
    s = svdvals(a.detach())
    ranks = (s > _tolerance(name, a, s, None, rcond)).long().sum(-1)
    x = pinv(a, rtol=rcond) @ b
    residuals = A.new_zeros(0)
    tall = type(m) is int and type(n) is int and m > n
    if tall and (driver in ("gels", "gelsy") or bool((ranks == n).all())):
        residuals = (((a @ x - b) ** 2).sum(-2)).detach() if driver != "gelsy" else residuals
    rank = ranks if driver != "gels" else ranks.new_zeros(0)
    return Lstsq(
        x.squeeze(-1) if vector else x, residuals, rank,
        s if driver in ("gelsd", "gelss") else s.new_zeros(0),
    )  # fmt: skip


def cond(A: Any, p: Any = None) -> Any:
    """The condition number: `norm(A, p) norm(A^-1, p)`; by singular values for p None, 2, -2."""
    from toolkit._tensor.linalg.norms import matrix_norm

    matrices("linalg.cond", A)
    if p is None or p in (2, -2):
        s = svdvals(A)
        if nothing(s.shape[-1]):
            return A.new_zeros(tuple(A.shape[:-2]))
        large, small = s.select(-1, 0), s.select(-1, -1)
        return small / large if p == -2 else large / small
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise InvalidArgumentError(f"linalg.cond got an invalid norm type: {p}")
    square("linalg.cond", A)
    inverse, info = inv_ex(A)
    return where(info == 0, matrix_norm(A, p) * matrix_norm(inverse, p), math.inf)
