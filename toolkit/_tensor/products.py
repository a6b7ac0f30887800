"""Matrix products with PyTorch's checks, determinants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.promote import cast
from toolkit.errors import ShapeError
from toolkit.ops.dispatch import apply, apply1, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def mm(a: Any, b: Any) -> Tensor:
    """Product of two matrices.

    Raises:
        ShapeError: they are not matrices that fit.
    """
    if a.dim() != 2 or b.dim() != 2:
        raise ShapeError(f"mm: matrices are required, got {a.dim()}D and {b.dim()}D tensors.")
    _fit(a, b)
    return a.matmul(b)


def _fit(a: Any, b: Any) -> None:
    m, n = a.shape[-1], b.shape[-2]
    if type(m) is int and type(n) is int and m != n:
        rows = [f"{x.shape[-2]}x{x.shape[-1]}" for x in (a, b)]
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({rows[0]} and {rows[1]})")


def bmm(a: Any, b: Any) -> Tensor:
    """Products of a batch of matrices.

    Raises:
        ShapeError: they are not 3-D tensors that fit.
    """
    if a.dim() != 3 or b.dim() != 3:
        raise ShapeError(f"batch1 and batch2 must be 3D tensors, got {a.dim()}D and {b.dim()}D.")
    return a.matmul(b)


def addmm(c: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * c + alpha * a @ b`."""
    _fit(a, b)
    if a.dtype.is_floating_point and c.dim() <= 2:
        h = handle("Gemm", alpha=float(alpha), beta=float(beta))
        return apply(h, a, b, cast(c, a._value.dtype))
    return c * beta + mm(a, b) * alpha


def det(input: Any) -> Tensor:
    """Determinants of square matrices.

    Raises:
        ShapeError: they are not square.
    """
    from toolkit._tensor.linalg.checks import square

    return apply1(handle("Det"), square("linalg.det", input))
