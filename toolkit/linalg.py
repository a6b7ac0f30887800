"""Linear algebra with the names of `torch.linalg`."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.autocast import ruled
from toolkit._tensor.linalg.eigen import (
    cond,
    eigh,
    eigvalsh,
    lstsq,
    matrix_rank,
    pinv,
    svd,
    svdvals,
)
from toolkit._tensor.linalg.factor import (
    cholesky,
    cholesky_ex,
    householder_product,
    lu,
    lu_factor,
    lu_factor_ex,
    qr,
)
from toolkit._tensor.linalg.general import eig, eigvals, ldl_factor, ldl_factor_ex, ldl_solve
from toolkit._tensor.linalg.norms import matrix_norm, norm, vector_norm
from toolkit._tensor.linalg.products import (
    cross,
    matrix_exp,
    matrix_power,
    multi_dot,
    vander,
    vecdot,
)
from toolkit._tensor.linalg.systems import (
    inv,
    inv_ex,
    lu_solve,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
)
from toolkit._tensor.products import det
from toolkit.errors import LinAlgError


def matmul(input: Any, other: Any) -> Any:
    """The matrix product, as `toolkit.matmul`."""
    return input.matmul(other)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of matrices."""
    return A.diagonal(offset, dim1, dim2)


__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "householder_product", "inv", "inv_ex", "ldl_factor",
    "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip
globals().update({name: ruled(name, globals()[name]) for name in __all__})
