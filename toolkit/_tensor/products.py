"""Matrix products with PyTorch's checks, and `einsum` by transposes and one MatMul."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.promote import cast
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, handle

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
    terms, output = _parse(equation, operands)
    pending = [_diagonals(x, t) for x, t in zip(operands, terms, strict=True)]
    while len(pending) > 1:
        (a, ta), (b, tb) = pending[0], pending[1]
        later = set(output).union(*(t for _, t in pending[2:]))
        pending[:2] = [_contract(a, ta, b, tb, later)]
    x, term = pending[0]
    summed = [i for i, s in enumerate(term) if s not in output]
    if summed:
        x = x.sum(tuple(summed))
        term = [s for s in term if s in output]
    order = [term.index(s) for s in output]
    return x if order == sorted(order) else x.permute(*order)


def _parse(equation: str, operands: Any) -> tuple[list[list[str]], list[str]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise InvalidArgumentError(
            f"einsum(): the equation has {len(parts)} operands, got {len(operands)} tensors."
        )
    ranks = [x.dim() - len(p.replace("...", "")) for p, x in zip(parts, operands, strict=True)]
    most = max([r for p, r in zip(parts, ranks, strict=True) if "..." in p], default=0)
    terms = []
    for p, x, r in zip(parts, operands, ranks, strict=True):
        if r < 0 or (r and "..." not in p):
            raise InvalidArgumentError(
                f"einsum(): subscripts '{p}' do not fit an operand of {x.dim()} dimensions."
            )
        before, dots, after = p.partition("...")
        terms.append([*before, *(f".{most - r + i}" for i in range(r if dots else 0)), *after])
    lead = [f".{i}" for i in range(most)]
    if arrow:
        before, dots, after = right.partition("...")
        output = [*before, *(lead if dots else []), *after]
    else:
        letters = sorted(c for c in set(left) if c.isalpha())
        output = lead + [c for c in letters if left.count(c) == 1]
    for s in output:
        if not any(s in t for t in terms) or output.count(s) > 1:
            raise InvalidArgumentError(
                f"einsum(): output subscript {s} must appear once, and in an operand."
            )
    return terms, output


def _diagonals(x: Any, term: list[str]) -> tuple[Any, list[str]]:
    for s in list(term):
        while term.count(s) > 1:
            i = term.index(s)
            j = term.index(s, i + 1)
            x = x.diagonal(0, i, j)
            term = [t for k, t in enumerate(term) if k not in (i, j)] + [s]
    return x, term


def _contract(
    a: Any, ta: list[str], b: Any, tb: list[str], keep: set[str]
) -> tuple[Any, list[str]]:
    """Two operands as one batched MatMul: (batch, left, inner) x (batch, inner, right)."""
    for x, t, other in ((0, ta, tb), (1, tb, ta)):
        alone = [i for i, s in enumerate(t) if s not in other and s not in keep]
        if alone:
            if x == 0:
                a, ta = a.sum(tuple(alone)), [s for i, s in enumerate(ta) if i not in alone]
            else:
                b, tb = b.sum(tuple(alone)), [s for i, s in enumerate(tb) if i not in alone]
    both = [s for s in ta if s in tb]
    inner = [s for s in both if s not in keep]
    batch = [s for s in both if s in keep]
    left = [s for s in ta if s not in tb]
    right = [s for s in tb if s not in ta]
    size: dict[str, Any] = {}
    for x, t in ((a, ta), (b, tb)):
        for s, n in zip(t, x.shape, strict=True):
            if s not in size or size[s] == 1:
                size[s] = n
    if any(s in both and x.shape[t.index(s)] != size[s] for x, t in ((a, ta), (b, tb)) for s in t):
        a = a.expand(*(size[s] for s in ta))
        b = b.expand(*(size[s] for s in tb))
    if not inner:
        a = a.permute(*(ta.index(s) for s in batch + left))
        a = a.reshape(*(size[s] for s in batch + left), *(1,) * len(right))
        b = b.permute(*(tb.index(s) for s in batch + right))
        b = b.reshape(*(size[s] for s in batch), *(1,) * len(left), *(size[s] for s in right))
        return a * b, batch + left + right
    a = a.permute(*(ta.index(s) for s in batch + left + inner))
    b = b.permute(*(tb.index(s) for s in batch + inner + right))
    lead = [size[s] for s in batch]
    m, k, n = (_product([size[s] for s in names]) for names in (left, inner, right))
    if len(left) != 1 or len(inner) != 1:
        a = a.reshape(*lead, m, k)
    if len(right) != 1 or len(inner) != 1:
        b = b.reshape(*lead, k, n)
    out = a.matmul(b)
    if len(left) != 1 or len(right) != 1:
        out = out.reshape(*lead, *(size[s] for s in left + right))
    return out, batch + left + right


def _product(sizes: list[Any]) -> Any:
    n: Any = 1
    for s in sizes:
        n = n * s
    return n
