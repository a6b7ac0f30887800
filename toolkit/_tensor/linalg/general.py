"""Eigenvalues of general matrices, and factorisations of symmetric indefinite ones.

Both branch on their data, and the first has complex results: they run eagerly, on numpy's arrays; a
trace refuses them. Gradients are ordinary operations on pairs of reals.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit._tensor.complex import ComplexTensor, view_as_complex, view_as_real
from toolkit._tensor.factories import as_tensor, cat, stack
from toolkit._tensor.function import Function
from toolkit._tensor.linalg.checks import differ, known, refuse, result, same_type, square
from toolkit._tensor.linalg.schur import eigen
from toolkit._tensor.promote import cast
from toolkit.errors import InvalidArgumentError, LinAlgError, ShapeError, UnsupportedOperatorError

Array = np.ndarray[Any, Any]
Eig = result("linalg_eig", "eigenvalues eigenvectors")
Ldl = result("linalg_ldl_factor", "LD pivots")
LdlEx = result("linalg_ldl_factor_ex", "LD pivots info")


def _eager(name: str, x: Any, instead: str) -> None:
    if not known(x):
        raise UnsupportedOperatorError(
            f"{name}: eager mode is required, got a trace: ONNX has no operators to write it in. "
            f"{instead}"
        )


def eig(A: Any) -> Any:
    """Eigenvalues (..., n) and eigenvectors (..., n, n), the columns of norm 1; both complex.

    Gradients are those of functions that do not depend on the phases of the eigenvectors.

    Args:
        A: (..., n, n), real or complex.

    Raises:
        LinAlgError: it is not finite.
    """
    pairs, complex_input = _pairs("linalg.eig", A)
    values, vectors = _Eig.apply(pairs, complex_input)
    return Eig(view_as_complex(values), view_as_complex(vectors))


def eigvals(A: Any) -> Any:
    """The eigenvalues of `eig`."""
    pairs, complex_input = _pairs("linalg.eigvals", A)
    return view_as_complex(_Eig.apply(pairs, complex_input)[0])


def _pairs(name: str, A: Any) -> tuple[Any, bool]:
    if isinstance(A, ComplexTensor):
        if A.dim() < 2 or differ(*A.shape[-2:]):
            raise ShapeError(f"{name}: square matrices are required, got {list(A.shape)}.")
        x = view_as_real(A)
    else:
        x = square(name, A)
    _eager(name, x, "Use linalg.eigh for symmetric matrices, or linalg.svd.")
    if not np.isfinite(x.detach().numpy()).all():
        raise LinAlgError(
            f"{name}: input tensor should not contain infs or NaNs; finite numbers are required."
        )
    return x, isinstance(A, ComplexTensor)


class _Eig(Function):
    """On the real matrix, or its pairs: eigenvalues and vectors as pairs."""

    @staticmethod
    def forward(ctx: Any, x: Any, complex_input: bool) -> Any:
        array = x.detach().numpy()
        array = array[..., 0] + 1j * array[..., 1] if complex_input else array
        n = array.shape[-1]
        flat = array.reshape(math.prod(array.shape[:-2]), n, n)
        values = np.zeros(flat.shape[:2], np.complex128)
        vectors = np.zeros(flat.shape, np.complex128)
        for k, matrix in enumerate(flat):
            values[k], vectors[k] = eigen(matrix)
        ctx.complex_input = complex_input
        made = [
            cast(as_tensor(np.stack([z.real, z.imag], -1)).reshape((*shape, 2)), x.dtype.onnx)
            for z, shape in ((values, array.shape[:-1]), (vectors, array.shape))
        ]
        ctx.save_for_backward(*made)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        """With E = conj(w_j - w_i): V^-H (diag(dw) + (V^H dV - V^H V diag(Re(V^H dV))) / E) V^H.

        Complex matrices are real ones of twice the size, which makes products and solutions real.
        """
        dw, dv = cotangents
        w, v = ctx.saved_tensors
        n = w.shape[-2]
        whole = _block(v)
        product = _unblock(whole.mT @ _block(dv))
        phases = (product * _unit(n, w)).sum(-3).select(-1, 0)  # Re of the diagonal, a column each.
        squares = _unblock(whole.mT @ whole) * phases.unsqueeze(-2).unsqueeze(-1)
        gap = (w.unsqueeze(-3) - w.unsqueeze(-2)) * _conjugation(w) + _unit(n, w) * _one(w)
        inner = _quotient(product - squares, gap) * (1 - _unit(n, w)) + _unit(n, w) * dw.unsqueeze(
            -2
        )
        from toolkit._tensor.linalg.systems import solve

        found = _unblock(solve(whole.mT, _block(inner) @ whole.mT))
        return (found if ctx.complex_input else found.select(-1, 0)), None


def _block(z: Any) -> Any:
    """Pairs (..., n, n, 2) as the real matrix [[Re, -Im], [Im, Re]]."""
    re, im = z.select(-1, 0), z.select(-1, 1)
    return cat([cat([re, -im], -1), cat([im, re], -1)], -2)


def _unblock(x: Any) -> Any:
    n = x.shape[-1] // 2
    left = x.narrow(-1, 0, n)
    return stack([left.narrow(-2, 0, n), left.narrow(-2, n, n)], -1)


def _unit(n: int, like: Any) -> Any:
    return as_tensor(np.eye(n)[..., None].astype(like.dtype.numpy))


def _one(like: Any) -> Any:
    return as_tensor(np.array([1.0, 0.0], like.dtype.numpy))


def _conjugation(like: Any) -> Any:
    return as_tensor(np.array([1.0, -1.0], like.dtype.numpy))


def _quotient(a: Any, b: Any) -> Any:
    """Of pairs."""
    ar, ai, br, bi = a.select(-1, 0), a.select(-1, 1), b.select(-1, 0), b.select(-1, 1)
    size = br * br + bi * bi
    return stack([(ar * br + ai * bi) / size, (ai * br - ar * bi) / size], -1)


# -- symmetric indefinite matrices -------------------------------------------------------------


def ldl_factor(A: Any, *, hermitian: bool = False) -> Any:
    """LD and pivots of symmetric A = L D L', D of blocks 1 x 1 and 2 x 2, as LAPACK packs them.

    Args:
        A: (..., n, n), of which the lower triangle is read.
        hermitian: the same for real matrices.

    Raises:
        LinAlgError: D is singular.
    """
    ld, pivots, info = ldl_factor_ex(A, hermitian=hermitian)
    refuse("torch.linalg.ldl_factor", info, "the block D[{k}] is exactly zero.")
    return Ldl(ld, pivots)


def ldl_factor_ex(A: Any, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """`ldl_factor` and, for each matrix, 0 or the number of the first pivot that is 0."""
    square("linalg.ldl_factor_ex", A)
    _eager("linalg.ldl_factor", A, "Use linalg.lu_factor and linalg.lu_solve.")
    if A.requires_grad:
        raise NotImplementedError(
            "linalg.ldl_factor: a matrix without gradient is required: as in PyTorch there is no "
            "derivative. Use linalg.solve."
        )
    array = A.detach().numpy()
    n = array.shape[-1]
    flat = np.tril(array).reshape(math.prod(array.shape[:-2]), n, n)
    made = [_bunch_kaufman(matrix) for matrix in flat]
    batch = array.shape[:-2]
    pivots = np.array([p for p, _ in made], np.int32).reshape(*batch, n)
    info = as_tensor(np.array([i for _, i in made], np.int32).reshape(batch))
    if check_errors:
        refuse("torch.linalg.ldl_factor_ex", info, "the block D[{k}] is exactly zero.")
    return LdlEx(as_tensor(flat.reshape(array.shape)), as_tensor(pivots), info)


def _bunch_kaufman(a: Array) -> tuple[list[int], int]:
    """Factors a lower triangle in place (Bunch and Kaufman 1977, LAPACK's sytf2): pivots, info."""
    alpha = (1 + 17**0.5) / 8
    n, k, info = len(a), 0, 0
    pivots = [0] * n
    while k < n:
        at, column = k, 0.0
        if k < n - 1:
            at = k + 1 + int(np.abs(a[k + 1 :, k]).argmax())
            column = abs(a[at, k])
        own, swap, step = abs(a[k, k]), k, 1
        if max(own, column) == 0:
            info = info or k + 1
        elif own < alpha * column:
            row = max(np.abs(a[at, k:at]).max(), np.abs(a[at + 1 :, at]).max(initial=0))
            if own < alpha * column * (column / row):
                swap = at
                step = 1 if abs(a[at, at]) >= alpha * row else 2
        last = k + step - 1
        if swap != last:
            _exchange(a, k, last, swap)
        left = a[k + step :, k : k + step].copy()
        if max(own, column) != 0 and len(left):
            d = np.tril(a[k : k + step, k : k + step])
            d = d + np.tril(d, -1).T
            factor = left / d if step == 1 else left @ _inverse(d)
            a[k + step :, k + step :] -= np.tril(factor @ left.T)
            a[k + step :, k : k + step] = factor
        pivots[k : k + step] = [swap + 1] if step == 1 else [-swap - 1] * 2
        k += step
    return pivots, info


def _inverse(d: Array) -> Array:
    """Of a symmetric 2 x 2 block whose other diagonal is the largest."""
    b = d[1, 0]
    p, q = d[1, 1] / b, d[0, 0] / b
    made: Array = np.array([[p, -1], [-1, q]], d.dtype) / (b * (p * q - 1))
    return made


def _exchange(a: Array, k: int, i: int, j: int) -> None:
    """Swaps rows and columns i < j of a lower triangle, from column k on."""
    below, above = slice(j + 1, None), slice(i + 1, j)
    a[below, i], a[below, j] = a[below, j].copy(), a[below, i].copy()
    a[above, i], a[j, above] = a[j, above].copy(), a[above, i].copy()
    a[i, i], a[j, j] = a[j, j], a[i, i]
    if i > k:
        a[i, k], a[j, k] = a[j, k], a[i, k]


def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool = False) -> Any:
    """X (..., n, r) of A X = B, by the factors of `ldl_factor`; gradients flow to B.

    Raises:
        ShapeError: the shapes do not fit.
    """
    name = "torch.linalg.ldl_solve"
    square(name, LD, "LD")
    same_type(name, LD, B, "LD and B")
    if B.dim() < 2 or differ(LD.shape[-1], B.shape[-2]):
        raise ShapeError(
            f"{name}: B of shape (..., {LD.shape[-1]}, r) is required, got {list(B.shape)}."
        )
    if tuple(pivots.shape) != tuple(LD.shape[:-1]) or pivots.dtype.is_floating_point:
        raise InvalidArgumentError(
            f"{name}: integer pivots of shape {list(LD.shape[:-1])} are required, got "
            f"{list(pivots.shape)} of {pivots.dtype.name}."
        )
    _eager(name, B, "Use linalg.lu_solve.")
    return _Solve.apply(B, LD.detach().numpy(), pivots.numpy())


class _Solve(Function):
    @staticmethod
    def forward(ctx: Any, b: Any, ld: Array, pivots: Array) -> Any:
        ctx.factors = ld, pivots
        batch = np.broadcast_shapes(ld.shape[:-2], tuple(b.shape[:-2]))
        x = np.array(np.broadcast_to(b.detach().numpy(), (*batch, *b.shape[-2:])))
        n = ld.shape[-1]
        count = math.prod(batch)
        lds = np.broadcast_to(ld, (*batch, n, n)).reshape(count, n, n)
        numbers = np.broadcast_to(pivots, (*batch, n)).reshape(count, n)
        for matrix, p, part in zip(lds, numbers, x.reshape(count, *x.shape[-2:]), strict=True):
            _solve_one(matrix, p, part)
        return as_tensor(x)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """The gradient: dB = A^-1 dX: A is symmetric."""
        return _Solve.apply(g, *ctx.factors), None, None


def _solve_one(a: Array, pivots: Array, x: Array) -> None:
    """In place, in LAPACK's order of exchanges (sytrs)."""
    n, k = len(a), 0
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        last, swap = k + step - 1, abs(int(pivots[k])) - 1
        x[[last, swap]] = x[[swap, last]]
        part = slice(k, k + step)
        x[k + step :] -= a[k + step :, part] @ x[part]
        d = np.tril(a[part, part])
        x[part] = x[part] / d if step == 1 else _inverse(d) @ x[part]
        k += step
    while k > 0:
        step = 1 if pivots[k - 1] > 0 else 2
        part = slice(k - step, k)
        x[part] -= a[k:, part].T @ x[k:]
        swap = abs(int(pivots[k - 1])) - 1
        x[[k - 1, swap]] = x[[swap, k - 1]]
        k -= step
