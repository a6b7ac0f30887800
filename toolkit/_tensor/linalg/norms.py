"""Norms of vectors and matrices, and distances."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.complex import ComplexTensor
from toolkit._tensor.elementwise import where
from toolkit._tensor.linalg.checks import matrices, nothing
from toolkit._tensor.promote import cast
from toolkit._tensor.reductions import _axes, reduce
from toolkit._tensor.shapes import normalize_dim
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError


def real_floats(name: str, x: Any, dtype: Any) -> Any:
    """A float tensor, cast if so wanted; of a complex one the magnitudes."""
    if isinstance(x, ComplexTensor):
        x = x.abs()
    elif not isinstance(x, TensorBase):
        raise TypeError(f"{name}: argument 'input' must be Tensor, not {type(x).__name__}")
    elif x._value.dtype not in FLOATS:
        raise DTypeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
        )
    return x if dtype is None else cast(x, dtype.onnx)


def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The `ord`-norm of the elements, or along `dim`.

    `ord`: a number p for (sum |x|^p)^(1/p), inf and -inf for the largest and the smallest
    magnitude, 0 for the number of elements that are not 0.
    """
    name = "linalg.vector_norm"
    x = real_floats(name, x, dtype)
    if isinstance(ord, bool) or not isinstance(ord, (int, float)):
        raise InvalidArgumentError(f"{name}: a number is required for ord, got {ord!r}.")
    if ord < 0 or ord == math.inf:
        dims = x.shape if dim is None or dim == () else [x.shape[d] for d in _axes(x, dim)]
        if any(type(n) is int and n == 0 for n in dims):
            raise InvalidArgumentError(
                f"{name} cannot compute the {ord} norm on an empty tensor because the operation "
                "does not have an identity"
            )
    if ord == 2:
        return reduce("ReduceL2", x, dim, keepdim)
    if ord == 1:
        return reduce("ReduceL1", x, dim, keepdim)
    if ord == 0:
        return reduce("ReduceSum", x.sign().abs(), dim, keepdim)
    size = x.abs()
    if math.isinf(ord):
        return reduce("ReduceMax" if ord > 0 else "ReduceMin", size, dim, keepdim)
    zero = size == 0  # Where powers below 1 have no derivative.
    terms = where(zero, size * 0 if ord > 0 else math.inf, where(zero, size * 0 + 1, size) ** ord)
    total = reduce("ReduceSum", terms, dim, keepdim)
    none = total == 0
    root = where(none, total * 0 + 1, total) ** (1.0 / ord)
    return where(none, total * 0, root)


def _pair(name: str, x: Any, dim: Any) -> tuple[int, int]:
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dims) != 2:
        raise InvalidArgumentError(f"{name}: dim must be a 2-tuple. Got {list(dims)}")
    a, b = (normalize_dim(d, x.dim()) for d in dims)
    if a == b:
        raise InvalidArgumentError(f"{name}: dims must be different. Got ({dims[0]}, {dims[1]})")
    return a, b


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The norm of matrices in two dimensions.

    `ord`: "fro", "nuc" (the sum of the singular values), 2 and -2 (the largest and the smallest),
    1 and -1 (of sums of columns' magnitudes), inf and -inf (of rows').
    """
    name = "linalg.matrix_norm"
    if ord not in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf) or isinstance(ord, bool):
        raise InvalidArgumentError(f"{name}: Order {ord} not supported.")
    x = real_floats(name, A, dtype)
    if x.dim() < 2:
        raise ShapeError(
            f"{name}: The input tensor A must have at least 2 dimensions, got {x.dim()}."
        )
    rows, columns = _pair(name, x, dim)
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        return _by_singular_values(x, ord, rows, columns, keepdim)
    first, second = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = reduce("ReduceL1", x, first, True)
    best = reduce("ReduceMax" if ord > 0 else "ReduceMin", sums, second, True)
    return best if keepdim else best.squeeze((rows, columns))


def _by_singular_values(x: Any, ord: Any, rows: int, columns: int, keepdim: bool) -> Any:
    from toolkit._tensor.linalg.eigen import svdvals

    s = svdvals(matrices("linalg.matrix_norm", x.movedim((rows, columns), (-2, -1))))
    if ord == "nuc" or nothing(s.shape[-1]):
        y = s.sum(-1)
    else:
        y = s.amax(-1) if ord == 2 else s.amin(-1)
    for d in sorted((rows, columns)) if keepdim else ():
        y = y.unsqueeze(d)
    return y


def norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """`vector_norm` or `matrix_norm`, as `dim` or else the input has one or two dimensions.

    Without `ord` it is the 2-norm of all elements, or of those along `dim`.
    """
    name = "linalg.norm"
    x = real_floats(name, A, dtype)
    if ord is None:
        return vector_norm(x, 2, dim, keepdim)
    dims = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    count = x.dim() if dims is None else len(dims)
    if count not in (1, 2) or (dims is None and count > 2):
        raise InvalidArgumentError(
            f"{name}: If dim is not specified but ord is, the input must be 1D or 2D; if it is, it "
            f"must have one or two dimensions. Got {count}."
        )
    if count == 2:
        return matrix_norm(x, ord, dims or (0, 1), keepdim)
    if isinstance(ord, str):
        raise InvalidArgumentError(
            f"{name}: Order {ord} not supported for vectors; it is a norm of matrices."
        )
    return vector_norm(x, ord, dims, keepdim)


def old_norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    """The p-norm of all elements or along `dim`; "nuc": the sum of the singular values."""
    if isinstance(p, TensorBase):
        p = p.item()  # type: ignore[attr-defined]
    if p == "nuc":
        dims = (0, 1) if dim is None else dim
        if dim is None and input.dim() != 2:
            raise ShapeError(f"norm: a matrix is required for p='nuc', got {input.dim()}D.")
        return matrix_norm(input, "nuc", dims, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise InvalidArgumentError(f"norm: a number, 'fro' or 'nuc' is required for p, got {p!r}.")
    order = 2 if p in ("fro", None) else p
    return vector_norm(input, order, None if dim == () else dim, keepdim, dtype=dtype)


def nuclear_norm(input: Any, dim: Any = (0, 1), keepdim: bool = False) -> Any:
    """The sum of the singular values."""
    return matrix_norm(input, "nuc", dim, keepdim)


def frobenius_norm(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The root of the sum of squares."""
    return vector_norm(input, 2, dim if dim else None, keepdim)


def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Slices along `dim` scaled down to a p-norm of at most `maxnorm`."""
    x = real_floats("renorm", input, None)
    if x.dim() < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {x.dim()} dimensions")
    if p <= 0 or maxnorm < 0:
        raise InvalidArgumentError(
            f"renorm: non-negative-norm and a positive p are required, got p={p} and "
            f"maxnorm={maxnorm}."
        )
    d = normalize_dim(dim, x.dim())
    sizes = vector_norm(x, p, tuple(i for i in range(x.dim()) if i != d), True)
    return x * where(sizes > maxnorm, maxnorm / (sizes + 1e-7), sizes * 0 + 1)
