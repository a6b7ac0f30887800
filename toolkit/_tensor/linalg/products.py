"""Products of vectors and matrices, powers, and matrices put together from others."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.factories import cat, stack
from toolkit._tensor.linalg.checks import differ, run, square, unit_like
from toolkit._tensor.linalg.norms import real_floats
from toolkit._tensor.linalg.systems import inv
from toolkit._tensor.promote import cast, operand, result_code
from toolkit._tensor.shapes import normalize_dim
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError


def matrix_power(A: Any, n: int) -> Any:
    """The product of n matrices A (..., k, k); of -n inverses where n < 0."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(
            f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}"
        )
    if not isinstance(A, TensorBase) or A.dim() < 2 or differ(*A.shape[-2:]):
        shape = list(A.shape) if isinstance(A, TensorBase) else A
        raise ShapeError(
            f"linalg.matrix_power: A must be batches of square matrices, got the shape {shape}."
        )
    a: Any = A
    if n == 0:
        return a * 0 + unit_like(a, a.shape[-1])
    base, n = (inv(a), -n) if n < 0 else (a, n)
    y = None
    while True:
        if n & 1:
            y = base if y is None else y @ base
        n >>= 1
        if not n:
            return y.clone() if y is a else y
        base = base @ base


def matrix_exp(A: Any) -> Any:
    """The exponential of A (..., n, n), the sum of its powers over factorials."""
    return run("MatrixExp", square("linalg.matrix_exp", A))


def multi_dot(tensors: Any) -> Any:
    """The product of matrices (the first and the last may be vectors), in the cheapest order."""
    parts = list(tensors)
    if len(parts) < 2:
        raise InvalidArgumentError(f"multi_dot(): expected at least 2 tensors but got {len(parts)}")
    first, last = parts[0], parts[-1]
    for i, t in enumerate(parts):
        ranks = (1, 2) if i in (0, len(parts) - 1) else (2,)
        if t.dim() not in ranks:
            raise ShapeError(
                f"multi_dot(): tensor {i} must be {' or '.join(f'{r}D' for r in ranks)} but got "
                f"{t.dim()}D"
            )
        if t._value.dtype != first._value.dtype:
            raise DTypeError(
                f"multi_dot(): expected all tensors to have dtype {first.dtype.name} but got "
                f"{t.dtype.name} at {i}"
            )
    whole = [first.unsqueeze(0) if first.dim() == 1 else first, *parts[1:-1],
             last.unsqueeze(1) if last.dim() == 1 else last]  # fmt: skip
    for i, (a, b) in enumerate(pairwise(whole)):
        if differ(a.shape[1], b.shape[0]):
            raise ShapeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(a.shape)} and "
                f"{list(b.shape)} cannot be multiplied"
            )
    y = _ordered(whole)
    y = y.squeeze(0) if first.dim() == 1 else y
    return y.squeeze(-1) if last.dim() == 1 else y


def _ordered(parts: list[Any]) -> Any:
    """By dynamic programming over the sizes (Cormen et al., 15.2); left to right if unknown."""
    sizes = [parts[0].shape[0], *(p.shape[1] for p in parts)]
    n = len(parts)
    if not all(type(s) is int for s in sizes):
        y = parts[0]
        for p in parts[1:]:
            y = y @ p
        return y
    cost = {(i, i): 0 for i in range(n)}
    cut = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], cut[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Any:
        return parts[i] if i == j else product(i, cut[i, j]) @ product(cut[i, j] + 1, j)

    return product(0, n - 1)


def chain_matmul(*matrices: Any) -> Any:
    """`linalg.multi_dot` under its older name, of matrices only."""
    if len(matrices) == 1 and not isinstance(matrices[0], (list, tuple)):
        return matrices[0]
    parts = matrices[0] if isinstance(matrices[0], (list, tuple)) else matrices
    return multi_dot(parts)


def _powers(name: str, x: Any, count: int | None) -> list[Any]:
    n = x.shape[-1] if count is None else count
    if type(n) is not int:
        raise InvalidArgumentError(f"{name}: N is required for vectors of a size not yet known.")
    x = x if x._value.dtype in FLOATS else x.long()
    made = [x * 0 + 1]
    while len(made) < n:
        made.append(made[-1] * x)
    return made[:n]


def vander(x: Any, N: int | None = None) -> Any:
    """(..., n, N): the powers 0 to N - 1 of the elements of x (..., n)."""
    if not x.dim():
        raise ShapeError(f"linalg.vander: at least one dimension is required, got shape {x.shape}.")
    if N is not None and N <= 1:
        raise InvalidArgumentError(f"N must be greater than 1, got {N}.")
    return stack(_powers("linalg.vander", x, N), -1)


def old_vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers of a vector's elements as columns, from the highest on by default."""
    if x.dim() != 1:
        raise ShapeError(f"x must be a one-dimensional tensor, got {x.dim()} dimensions.")
    if N is not None and N < 0:
        raise InvalidArgumentError(f"N must be non-negative, got {N}.")
    made = _powers("vander", x, N)
    if not made:
        return x.new_zeros(x.shape[0], 0)
    return stack(made if increasing else made[::-1], -1)


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The inner products along a dimension."""
    if x._value.dtype != y._value.dtype:
        raise DTypeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but found {x.dtype.name} and "
            f"{y.dtype.name} instead"
        )
    return (real_floats("linalg.vecdot", x, None) * y).sum(dim)


def inner(input: Any, other: Any) -> Any:
    """The products of vectors along the last dimensions, for all pairs of the others."""
    if not input.dim() or not other.dim():
        return input * other
    if differ(input.shape[-1], other.shape[-1]):
        raise ShapeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    if input.dim() == other.dim() == 1:
        return input.dot(other)
    return tensordot(input, other, ([-1], [-1]))


def vdot(input: Any, other: Any) -> Any:
    """The inner product of two vectors, the first conjugated."""
    return input.dot(other)


def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The vector product along a dimension of size 3."""
    if input.dim() != other.dim():
        raise ShapeError(
            "linalg.cross: inputs must have the same number of dimensions, got "
            f"{input.dim()} and {other.dim()}."
        )
    d = normalize_dim(dim, input.dim())
    if differ(input.shape[d], 3) or differ(other.shape[d], 3):
        raise ShapeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and "
            f"{other.shape[d]}"
        )
    a, b = (cat([t.narrow(d, 0, 3), t.narrow(d, 0, 2)], d) for t in (input, other))
    return a.narrow(d, 1, 3) * b.narrow(d, 2, 3) - a.narrow(d, 2, 3) * b.narrow(d, 1, 3)


def old_cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """`linalg.cross`; without `dim` along the first dimension of size 3."""
    if dim is None:
        dim = next((i for i, n in enumerate(input.shape) if type(n) is int and n == 3), -1)
        if dim < 0:
            raise ShapeError(f"no dimension of size 3 in input, got the shape {list(input.shape)}.")
    return cross(input, other, dim=dim)


def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: each element of the first times the second, as blocks."""
    rank = max(input.dim(), other.dim())
    a, b = ((1,) * (rank - t.dim()) + tuple(t.shape) for t in (input, other))
    left = input.reshape(*(n for d in a for n in (d, 1)))
    right = other.reshape(*(n for d in b for n in (1, d)))
    return (left * right).reshape(*(m * n for m, n in zip(a, b, strict=True)))


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sums products over dimensions.

    Args:
        a: the first factor.
        b: the second one.
        dims: how many of the last dimensions of `a` and the first of `b`, or two lists of them.
    """
    if isinstance(dims, TensorBase):
        dims = dims.tolist()  # type: ignore[attr-defined]
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.dim(), b.dim()):
            raise InvalidArgumentError(
                f"tensordot expects dims >= 0 and at most the dimensions of both, got dims={dims}"
            )
        dims = (list(range(a.dim() - dims, a.dim())), list(range(dims)))
    mine, theirs = ([normalize_dim(d, t.dim()) for d in ([ds] if isinstance(ds, int) else ds)]
                    for ds, t in zip(dims, (a, b), strict=True))  # fmt: skip
    if len(mine) != len(theirs) or len(set(mine)) != len(mine):
        raise InvalidArgumentError(
            f"both dimension lists should have same length, got {mine} and {theirs}"
        )
    for i, j in zip(mine, theirs, strict=True):
        if differ(a.shape[i], b.shape[j]):
            raise ShapeError(
                "contracted dimensions need to match, but first has size "
                f"{a.shape[i]} in dim {i} and second has size {b.shape[j]} in dim {j}"
            )
    rows = [d for d in range(a.dim()) if d not in mine]
    columns = [d for d in range(b.dim()) if d not in theirs]
    shape = [*(a.shape[d] for d in rows), *(b.shape[d] for d in columns)]
    inner = math.prod([a.shape[d] for d in mine], start=1)
    left = a.permute(*rows, *mine).reshape(_count(a, rows), inner)
    right = b.permute(*theirs, *columns).reshape(inner, _count(b, columns))
    return (left @ right).reshape(*shape)


def _count(x: Any, dims: list[int]) -> Any:
    n: Any = 1
    for d in dims:
        n = n * x.shape[d]
    return n


def _added(name: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """`beta * input + alpha * product`; an input that counts nothing is not read."""
    if input._value.dtype != product._value.dtype:
        raise DTypeError(
            f"{name}: Expected operands of the same dtype, got {input.dtype.name} and "
            f"{product.dtype.name}."
        )
    whole = product._value.dtype not in FLOATS
    for value, what in ((beta, "beta"), (alpha, "alpha")):
        if whole and isinstance(value, float) and not value.is_integer():
            raise InvalidArgumentError(
                f"For integral input tensors, argument {what} must not be a floating point number, "
                f"got {value}."
            )
    beta, alpha = (int(v) if whole else v for v in (beta, alpha))
    y = product if alpha == 1 else product * alpha
    if beta == 0:
        return y
    shape = tuple(product.shape)
    added = input if beta == 1 else input * beta
    if any(
        differ(m, n) and m != 1 for m, n in zip(input.shape[::-1], shape[::-1], strict=False)
    ) or (input.dim() > len(shape)):
        raise ShapeError(
            f"{name}: the input must expand to the shape {list(shape)} of the product, got "
            f"{list(input.shape)}."
        )
    return added + y


def _ranks(name: str, *given: tuple[Any, int]) -> None:
    for x, rank in given:
        if x.dim() != rank:
            raise ShapeError(f"{name}: a {rank}D tensor is required, got {x.dim()}D.")


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * mat1 @ mat2`."""
    from toolkit._tensor.products import addmm as gemm
    from toolkit._tensor.products import mm

    floats = mat1._value.dtype in FLOATS and input._value.dtype == mat1._value.dtype
    known = all(type(n) is int for n in (*input.shape, *mat1.shape, *mat2.shape))
    if floats and known and beta != 0 and mat1.dim() == mat2.dim() == 2 and input.dim() <= 2:
        whole = zip(input.shape[::-1], (mat2.shape[1], mat1.shape[0]), strict=False)
        if all(m in (1, n) for m, n in whole):
            return gemm(input, mat1, mat2, beta, alpha)
    return _added("addmm", input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * mat @ vec`."""
    _ranks("addmv", (mat, 2), (vec, 1))
    return _added("addmv", input, mat @ vec, beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * outer(vec1, vec2)`."""
    _ranks("addr", (vec1, 1), (vec2, 1))
    product = vec1.unsqueeze(-1) * vec2
    code = result_code(input, product)
    return _added("addr", operand(input, code), cast(product, code), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * (batch1 @ batch2).sum(0)`."""
    _ranks("addbmm", (batch1, 3), (batch2, 3))
    _same_batches("addbmm", batch1, batch2)
    product = (batch1 @ batch2).sum(0, dtype=batch1.dtype)
    return _added("addbmm", input, product, beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * batch1 @ batch2`."""
    _ranks("baddbmm", (batch1, 3), (batch2, 3))
    _same_batches("baddbmm", batch1, batch2)
    return _added("baddbmm", input, batch1 @ batch2, beta, alpha)


def _same_batches(name: str, a: Any, b: Any) -> None:
    if differ(a.shape[0], b.shape[0]):
        raise ShapeError(
            f"{name}: batch1 and batch2 must have same number of batches, got {a.shape[0]} and "
            f"{b.shape[0]}"
        )


def block_diag(*tensors: Any) -> Any:
    """Matrices (or vectors as rows, numbers) along the diagonal of one, zeros elsewhere."""
    parts = []
    for i, t in enumerate(tensors):
        if t.dim() > 2:
            raise ShapeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                f"{t.dim()} dimensions"
            )
        parts.append(t.reshape(1, -1) if t.dim() < 2 else t)
    if not parts:
        from toolkit._tensor.factories import zeros

        return zeros(1, 0)
    code = result_code(*parts)
    parts = [cast(p, code) for p in parts]
    total: Any = 0
    for p in parts:
        total = total + p.shape[1]
    rows, before = [], 0
    for p in parts:
        after = total - before - p.shape[1]
        rows.append(cat([p.new_zeros(p.shape[0], before), p, p.new_zeros(p.shape[0], after)], 1))
        before = before + p.shape[1]
    return cat(rows, 0)
