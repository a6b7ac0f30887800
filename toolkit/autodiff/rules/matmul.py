"""Gradients of matrix products."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import rank_of, swap_last
from toolkit.graph.build import known_dims

V = Any  # An ir.Value under `arithmetic`.


@vjp("MatMul", broadcasts=True)
def matmul(c: Vjp, a: V, w: V) -> Result:
    """dA = dY Bᵀ, dB = Aᵀ dY, for each matrix of a stack.

    A vector counts as a matrix of one row (A) or one column (B). With a matrix B, the rows of all
    of A's stack are one tall matrix: dB is a single product.
    """
    b, dy = c.b, c.dy
    ra, rw = rank_of(c, a), rank_of(c, w)
    if ra == 2 and rw == 2:
        return lambda: b.Gemm(dy, w, transB=1), lambda: b.Gemm(a, dy, transA=1)
    row, column = ra == 1, rw == 1
    if row:
        dy = b.Unsqueeze(dy, [-1 if column else -2])
    if column:
        dy = b.Unsqueeze(dy, [-1])
    left, ra = (b.Unsqueeze(a, [0]), 2) if row else (a, ra)
    right, rw = (b.Unsqueeze(w, [1]), 2) if column else (w, rw)

    def da() -> V:
        dx = b.MatMul(dy, swap_last(b, right, rw))
        return b.Squeeze(dx, [-2]) if row else dx

    def dw() -> V:
        if ra > 2 and rw == 2:
            dx = b.Gemm(_tall(c, left), _tall(c, dy), transA=1)
        else:
            dx = b.MatMul(swap_last(b, left, ra), dy)
        return b.Squeeze(dx, [1]) if column else dx

    return da, dw


def _tall(c: Vjp, x: V) -> V:
    """A stack of matrices as one tall matrix."""
    dims = known_dims(x)
    width = dims[-1] if dims else None
    if isinstance(width, int) and width:
        return c.b.Reshape(x, [-1, width])
    return c.b.Reshape(x, c.b.Concat(c.b.ints([-1]), c.b.dim(x, -1), axis=0))


@vjp("Gemm", broadcasts=True)
def gemm(c: Vjp, a: V, w: V, bias: V = None) -> Result:
    """Y = alpha A' B' + beta C: dA' = alpha dY B'ᵀ, dB' = alpha A'ᵀ dY, dC = beta dY."""
    b = c.b
    alpha, beta = c.attr("alpha"), c.attr("beta")
    ta, tb = c.attr("transA"), c.attr("transB")

    def da() -> V:
        if ta:
            return b.Gemm(w, c.dy, alpha=alpha, transA=tb, transB=1)
        return b.Gemm(c.dy, w, alpha=alpha, transB=1 - tb)

    def dw() -> V:
        if tb:
            return b.Gemm(c.dy, a, alpha=alpha, transA=1, transB=ta)
        return b.Gemm(a, c.dy, alpha=alpha, transA=1 - ta)

    return da, dw, lambda: c.dy if beta == 1.0 else c.dy * beta
