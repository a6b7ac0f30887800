"""Factorisations: Cholesky, LU, QR and products of reflections."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.consts import vector
from toolkit._tensor.factories import arange, cat
from toolkit._tensor.linalg.checks import (
    differ,
    floats,
    matrices,
    refuse,
    result,
    run,
    same_type,
    square,
    unit_like,
)
from toolkit._tensor.shapes import shape_operand
from toolkit._tensor.slices import SLICE
from toolkit.errors import InvalidArgumentError, ShapeError, UnsupportedOperatorError
from toolkit.ops.dispatch import apply

CholeskyEx = result("linalg_cholesky_ex", "L info")
LuFactor = result("linalg_lu_factor", "LU pivots")
LuFactorEx = result("linalg_lu_factor_ex", "LU pivots info")
Lu = result("linalg_lu", "P L U")
LuUnpack = result("lu_unpack", "P L U")
Qr = result("linalg_qr", "Q R")
OldQr = result("qr", "Q R")
Geqrf = result("geqrf", "a tau")

_NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {k} is not positive-definite)."
)
_ZERO_PIVOT = (
    "U[{k},{k}] is zero and using it on lu_solve would result in a division by zero. If you still "
    "want to perform the factorization, consider calling linalg.lu(A, pivot) or "
    "linalg.lu_factor_ex(A, pivot)"
)


def cholesky(A: Any, *, upper: bool = False) -> Any:
    """L of A = L L', lower triangular (or its transpose), of positive definite A (..., n, n).

    Raises:
        LinAlgError: A is not positive definite.
    """
    return _cholesky("linalg.cholesky", A, upper, True)[0]


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky`, and the order of the first minor that is not positive definite, or 0."""
    return CholeskyEx(*_cholesky("linalg.cholesky_ex", A, upper, check_errors))


def _cholesky(name: str, a: Any, upper: bool, check: bool) -> tuple[Any, Any]:
    factor, info = run("Cholesky", square(name, a), outputs=2, upper=int(upper))
    if check:
        refuse(name, info, _NOT_POSITIVE)
    return factor, info


def old_cholesky(input: Any, upper: bool = False) -> Any:
    """`linalg.cholesky` under its older name."""
    return _cholesky("cholesky", input, upper, True)[0]


def _lu(name: str, a: Any, pivot: bool) -> tuple[Any, Any, Any]:
    if not pivot:
        raise UnsupportedOperatorError(
            f"{name}: LU without pivoting is not implemented on the CPU. Use pivot=True."
        )
    return run("Lu", matrices(name, a), outputs=3)


def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """LU of A = P L U in one matrix (..., m, n), and the exchanges of rows, counted from 1.

    Raises:
        LinAlgError: a pivot is 0.
    """
    factors, pivots, info = _lu("linalg.lu_factor", A, pivot)
    refuse("torch.linalg.lu_factor", info, _ZERO_PIVOT)
    return LuFactor(factors, pivots)


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """`lu_factor`, and the number of the first pivot that is 0, or 0."""
    factors, pivots, info = _lu("linalg.lu_factor_ex", A, pivot)
    if check_errors:
        refuse("torch.linalg.lu_factor_ex", info, _ZERO_PIVOT)
    return LuFactorEx(factors, pivots, info)


def lu(A: Any, *, pivot: bool = True) -> Any:
    """P, L, U of A = P L U; of A (..., m, n), L is (..., m, k) and U (..., k, n)."""
    factors, pivots, _ = _lu("linalg.lu", A, pivot)
    return Lu(*_unpacked(factors, pivots))


def old_lu(A: Any, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """`linalg.lu_factor_ex` under its older name."""
    factors, pivots, info = _lu("lu", A, pivot)
    return (factors, pivots, info) if get_infos else (factors, pivots)


def lu_unpack(
    LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """P, L, U of what `lu_factor` gives; empty tensors for what is not asked for."""
    matrices("lu_unpack", LU_data, "LU_data")
    if LU_pivots.dtype.name != "int32":
        raise InvalidArgumentError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            f"dtype, got {LU_pivots.dtype.name}. Note: this function is intended to be used with "
            "the output produced by torch.linalg.lu_factor"
        )
    p, lower, upper = _unpacked(LU_data, LU_pivots)
    none = LU_data.new_zeros(0)
    return LuUnpack(
        p if unpack_pivots else none, lower if unpack_data else none,
        upper if unpack_data else none,
    )  # fmt: skip


def _unpacked(factors: Any, pivots: Any) -> tuple[Any, Any, Any]:
    m, k, rank = factors.shape[-2], pivots.shape[-1], factors.dim()
    places = run("LuPermutation", factors.detach(), pivots)
    p = (arange(m).unsqueeze(-1) == places.unsqueeze(-2)).to(factors.dtype)
    lower = _first(factors, rank - 1, k).tril(-1) + _first(unit_like(factors, m), 1, k)
    return p, lower, _first(factors, rank - 2, k).triu()


def _first(x: Any, axis: int, count: Any) -> Any:
    """The first indices along an axis; their number may be symbolic."""
    if not differ(x.shape[axis], count) and type(count) is type(x.shape[axis]) is int:
        return x
    return apply(SLICE, x, vector((0,)), shape_operand((count,)), vector((axis,)))


def qr(A: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, A = Q R.

    Args:
        A: (..., m, n).
        mode: "reduced" (k = min(m, n) columns of Q), "complete" (m) or "r" (R alone).
    """
    if mode not in ("reduced", "complete", "r"):
        raise InvalidArgumentError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    return Qr(*run("Qr", matrices("linalg.qr", A), outputs=2, mode=mode))


def old_qr(input: Any, some: bool = True) -> Any:
    """`linalg.qr` under its older name."""
    return OldQr(*qr(input, "reduced" if some else "complete"))


def geqrf(input: Any) -> Any:
    """The Householder vectors of a QR factorisation below R, and their factors."""
    return Geqrf(*run("Geqrf", matrices("geqrf", input, "input"), outputs=2))


def householder_product(A: Any, tau: Any) -> Any:
    """The first n columns of the product of the k reflections below the diagonal of A (..., m, n).

    `tau` (..., k) are their factors, as `geqrf` gives them.
    """
    name = "linalg.householder_product"
    matrices(name, A, "input")
    same_type(name, A, floats(name, tau, "tau"), "input and tau")
    m, n = A.shape[-2:]
    if type(m) is int and type(n) is int and m < n:
        raise ShapeError(
            f"torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
            f"input.shape[-1], got {m} and {n}."
        )
    return run("HouseholderProduct", A, tau)


def ormqr(
    input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False
) -> Any:  # fmt: skip
    """`other` times the square Q of reflections, from the left or the right."""
    matrices("ormqr", input, "input")
    same_type("ormqr", input, other, "input and other")
    m, n = input.shape[-2:]
    if type(m) is int and type(n) is int and m > n:
        batch = tuple(input.shape[:-2])
        input = cat([input, input.new_zeros(*batch, m, m - n)], -1)
        tau = cat([tau, tau.new_zeros(*batch, m - tau.shape[-1])], -1)
    q = householder_product(input, tau)
    q = q.mT if transpose else q
    return q @ other if left else other @ q
