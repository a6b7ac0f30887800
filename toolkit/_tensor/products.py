"""Matrix products with PyTorch's checks, `einsum`, determinants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.promote import cast, floating
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
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


def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein summation, e.g. `einsum("bij,bjk->bik", a, b)`; "..." stands for leading axes.

    Raises:
        InvalidArgumentError: the equation does not fit the operands.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    _check(equation, operands)
    code = operands[0]._value.dtype
    for x in operands[1:]:
        if x._value.dtype != code:
            raise DTypeError(
                f"einsum: operands of the same dtype are required, got {operands[0].dtype.name} "
                f"and {x.dtype.name}."
            )
    return apply(handle("Einsum", equation=equation), *operands)


def _check(equation: str, operands: Any) -> None:
    left, _, right = equation.partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise InvalidArgumentError(
            f"einsum(): the equation has {len(parts)} operands, got {len(operands)} tensors."
        )
    for p, x in zip(parts, operands, strict=True):
        more = x.dim() - len(p.replace("...", ""))
        if more < 0 or (more and "..." not in p):
            raise InvalidArgumentError(
                f"einsum(): subscripts '{p}' do not fit an operand of {x.dim()} dimensions."
            )
    for s in right.replace("...", ""):
        if s not in left or right.count(s) > 1:
            raise InvalidArgumentError(
                f"einsum(): output subscript {s} must appear once, and in an operand."
            )


def det(input: Any) -> Tensor:
    """Determinants of square matrices.

    Raises:
        ShapeError: they are not square.
    """
    shape = input.shape
    if len(shape) < 2:
        raise ShapeError(
            f"linalg.det: The input tensor A must have at least 2 dimensions, got {len(shape)}."
        )
    if type(shape[-1]) is int and type(shape[-2]) is int and shape[-1] != shape[-2]:
        raise ShapeError(
            "linalg.det: A must be batches of square matrices, but they are "
            f"{shape[-2]} by {shape[-1]} matrices"
        )
    return apply1(handle("Det"), floating(input))
