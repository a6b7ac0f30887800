"""The linear algebra of the standard, over `toolkit.linalg`."""

from __future__ import annotations

from typing import Any, NamedTuple

from toolkit import linalg
from toolkit._tensor.joins import broadcast_tensors
from toolkit.array_api.common import array, both, sum_dtype
from toolkit.array_api.products import matmul, matrix_transpose, tensordot, vecdot
from toolkit.errors import ShapeError

ours: Any = linalg


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Any
    S: Any
    Vh: Any


def cholesky(x: Any, /, *, upper: bool = False) -> Any:
    """The triangle L of x = L L^T, or U of x = U^T U."""
    return ours.cholesky(array("cholesky", x), upper=upper)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Cross products of vectors of 3 along an axis."""
    a, b = broadcast_tensors(*both("cross", array("cross", x1), array("cross", x2)))
    return ours.cross(a, b, dim=axis)


def det(x: Any, /) -> Any:
    """Determinants of square matrices."""
    return ours.det(array("det", x))


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """The diagonals of matrices, as the last axis."""
    return array("diagonal", x).diagonal(offset, -2, -1)


def eigh(x: Any, /) -> EighResult:
    """Eigenvalues and eigenvectors of symmetric matrices, in ascending order."""
    return EighResult(*ours.eigh(array("eigh", x)))


def eigvalsh(x: Any, /) -> Any:
    """Eigenvalues of symmetric matrices, in ascending order."""
    return ours.eigvalsh(array("eigvalsh", x))


def inv(x: Any, /) -> Any:
    """Inverses of square matrices."""
    return ours.inv(array("inv", x))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norms of matrices."""
    return ours.matrix_norm(array("matrix_norm", x), ord, keepdim=keepdims)


def matrix_power(x: Any, n: int, /) -> Any:
    """Square matrices to an integer power."""
    return ours.matrix_power(array("matrix_power", x), n)


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Any:
    """How many singular values are above `rtol` times the largest."""
    return ours.matrix_rank(array("matrix_rank", x), rtol=rtol)


def outer(x1: Any, x2: Any, /) -> Any:
    """All products of two vectors.

    Raises:
        ShapeError: not vectors.
    """
    a, b = both("outer", array("outer", x1), array("outer", x2))
    if a.dim() != 1 or b.dim() != 1:
        raise ShapeError(f"outer: vectors are required, got shapes {a.shape} and {b.shape}.")
    return a.unsqueeze(-1) * b


def pinv(x: Any, /, *, rtol: Any = None) -> Any:
    """Pseudo-inverses of matrices."""
    return ours.pinv(array("pinv", x), rtol=rtol)


def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """The decomposition x = Q R."""
    return QRResult(*ours.qr(array("qr", x), mode=mode))


def slogdet(x: Any, /) -> SlogdetResult:
    """Sign and logarithm of determinants."""
    return SlogdetResult(*ours.slogdet(array("slogdet", x)))


def solve(x1: Any, x2: Any, /) -> Any:
    """The solution of x1 @ y = x2."""
    return ours.solve(*both("solve", array("solve", x1), array("solve", x2)))


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """The decomposition x = U diag(S) Vh."""
    return SVDResult(*ours.svd(array("svd", x), full_matrices=full_matrices))


def svdvals(x: Any, /) -> Any:
    """Singular values, in descending order."""
    return ours.svdvals(array("svdvals", x))


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Sums of the diagonals of matrices."""
    found = diagonal(x, offset=offset).to(sum_dtype(x, dtype))
    return found.sum(-1, dtype=found.dtype)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Norms of vectors along axes; None: of all elements."""
    if axis == ():  # No axes: of each element.
        return ours.vector_norm(array("vector_norm", x).unsqueeze(0), ord, 0)
    return ours.vector_norm(array("vector_norm", x), ord, axis, keepdims)


__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve",
    "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip
