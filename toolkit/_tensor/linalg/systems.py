"""Linear systems, inverses, determinants and what is defined by them."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit._tensor.factories import arange
from toolkit._tensor.linalg.checks import (
    diagonal_of,
    differ,
    floats,
    matrices,
    refuse,
    result,
    run,
    same_batch,
    same_type,
    square,
    unit_like,
    vectors,
)
from toolkit.errors import InvalidArgumentError, ShapeError

SolveEx = result("linalg_solve_ex", "result info")
InvEx = result("linalg_inv_ex", "inverse info")
Slogdet = result("linalg_slogdet", "sign logabsdet")
TriangularSolve = result("triangular_solve", "solution cloned_coefficient")

_SINGULAR = "The solver failed because the input matrix is singular."
_NO_INVERSE = (
    "The diagonal element {k} is zero, the inversion could not be completed because the input "
    "matrix is singular."
)


def _fits(name: str, a: Any, b: Any, left: bool) -> None:
    if differ(a.shape[-1], b.shape[-2 if left else -1]):
        raise ShapeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({a.shape[-2]}x{a.shape[-1]} and "
            f"{b.shape[-2]}x{b.shape[-1]})"
        )


def _solve(name: str, a: Any, b: Any, left: bool) -> tuple[Any, Any]:
    square(name, a)
    same_type(name, a, b)
    vector = b.dim() == 1 or vectors(a, b)
    if vector and not left:
        raise ShapeError(f"{name}: matrices B are required with left=False, got vectors.")
    b = b.unsqueeze(-1) if vector else b
    _fits(name, a, b, left)
    if not left:
        a, b = a.mT, b.mT
    x, _, _, info = run("Solve", *same_batch(a, b), outputs=4)
    return (x.squeeze(-1) if vector else x if left else x.mT), info


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X of A X = B (or X A = B), for A (..., n, n) and B (..., n, r) or (..., n).

    Raises:
        LinAlgError: A is singular; while a graph is recorded this is not seen, and X not finite.
    """
    x, info = _solve("linalg.solve", A, B, left)
    refuse("torch.linalg.solve", info, _SINGULAR)
    return x


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve`, and the number of the first pivot that is 0, or 0."""
    x, info = _solve("linalg.solve_ex", A, B, left)
    if check_errors:
        refuse("torch.linalg.solve_ex", info, _SINGULAR)
    return SolveEx(x, info)


def _inv(name: str, a: Any) -> tuple[Any, Any]:
    square(name, a)
    one = unit_like(a, a.shape[-1])
    x, _, _, info = run("Solve", *same_batch(a, one), outputs=4)
    return x, info


def inv(A: Any) -> Any:
    """The inverse of A (..., n, n).

    Raises:
        LinAlgError: A is singular.
    """
    x, info = _inv("linalg.inv", A)
    refuse("linalg.inv", info, _NO_INVERSE)
    return x


def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """`inv`, and the number of the first pivot that is 0, or 0."""
    x, info = _inv("linalg.inv_ex", A)
    if check_errors:
        refuse("linalg.inv_ex", info, _NO_INVERSE)
    return InvEx(x, info)


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """X of A X = B from what `lu_factor` gives of A."""
    name = "linalg.lu_solve"
    square(name, LU, "LU")
    matrices(name, B, "B")
    same_type(name, LU, B, "LU and B")
    _fits(name, LU, B, left)
    if pivots.dtype.name != "int32":
        raise InvalidArgumentError(
            f"{name}: pivots should be a Tensor of scalar type torch.int32, got "
            f"{pivots.dtype.name}."
        )
    trans = adjoint if left else not adjoint
    b = B if left else B.mT
    factors, b = same_batch(LU, b)
    if pivots.dim() != factors.dim() - 1:
        pivots = pivots.expand(factors.shape[:-1])
    x = run("LuSolve", factors, pivots, b, trans=int(trans))
    return x if left else x.mT


def old_lu_solve(b: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """`linalg.lu_solve` under its older name."""
    return lu_solve(LU_data, LU_pivots, b)


def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """X of A X = B (or X A = B) with triangular A (..., n, n), of which one triangle is read."""
    name = "linalg.solve_triangular"
    square(name, A)
    matrices(name, B, "B")
    same_type(name, A, B)
    _fits(name, A, B, left)
    a, b = same_batch(A, B if left else B.mT)
    x = run("SolveTriangular", a, b, upper=int(upper), unit=int(unitriangular),
            trans=int(not left))  # fmt: skip
    return x if left else x.mT


def triangular_solve(
    b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """`linalg.solve_triangular` under its older name, and A."""
    square("triangular_solve", A)
    matrices("triangular_solve", b, "b")
    same_type("triangular_solve", A, b)
    _fits("triangular_solve", A, b, True)
    a, right = same_batch(A, b)
    x = run("SolveTriangular", a, right, upper=int(upper), unit=int(unitriangular),
            trans=int(transpose))  # fmt: skip
    return TriangularSolve(x, A.clone())


def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """X of A X = B from the Cholesky factor of A."""
    name = "cholesky_solve"
    square(name, L, "L")
    matrices(name, B, "B")
    same_type(name, L, B, "L and B")
    _fits(name, L, B, True)
    factor, b = same_batch(L, B)
    y = run("SolveTriangular", factor, b, upper=int(upper), trans=int(upper))
    return run("SolveTriangular", factor, y, upper=int(upper), trans=int(not upper))


def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A from its Cholesky factor."""
    square("cholesky_inverse", L, "L")
    return cholesky_solve(unit_like(L, L.shape[-1]), L, upper)


def slogdet(A: Any) -> Any:
    """The sign of the determinant and the logarithm of its magnitude."""
    square("linalg.slogdet", A)
    factors, pivots, _ = run("Lu", A, outputs=3)
    d = diagonal_of(factors)
    swaps = (pivots.long() != arange(A.shape[-1]) + 1).long().sum(-1)
    sign = (1 - 2 * (swaps % 2)).to(A.dtype) * d.sign().prod(-1)
    return Slogdet(sign, d.abs().log().sum(-1))


def logdet(A: Any) -> Any:
    """The logarithm of the determinant; NaN where it is negative."""
    square("logdet", A)
    sign, magnitude = slogdet(A)
    return where(sign < 0, magnitude.detach() * math.nan, magnitude)


def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse for `tensordot` over the first `ind` dimensions.

    Raises:
        ShapeError: the products of the first and the other dimensions differ.
    """
    floats("linalg.tensorinv", A)
    if ind <= 0 or ind > A.dim():
        raise InvalidArgumentError(
            f"Expected a strictly positive integer for 'ind' up to {A.dim()}, got {ind}."
        )
    shape = tuple(A.shape)
    rows, columns = _count(shape[:ind]), _count(shape[ind:])
    if differ(rows, columns):
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {columns} != {rows}"
        )
    return inv(A.reshape(rows, columns)).reshape(*shape[ind:], *shape[:ind])


def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """X of tensordot(A, X, X.dim()) = B.

    Raises:
        ShapeError: the dimensions do not fit.
    """
    same_type("linalg.tensorsolve", floats("linalg.tensorsolve", A), B)
    if dims is not None:
        last = [d % A.dim() for d in dims]
        A = A.permute(*[d for d in range(A.dim()) if d not in last], *last)
    rest = tuple(A.shape[B.dim() :])
    rows, columns = _count(tuple(B.shape)), _count(rest)
    if differ(rows, columns):
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {columns} != {rows}"
        )
    return solve(A.reshape(rows, columns), B.reshape(rows)).reshape(*rest)


def _count(dims: tuple[Any, ...]) -> Any:
    n: Any = 1
    for d in dims:
        n = n * d
    return n
