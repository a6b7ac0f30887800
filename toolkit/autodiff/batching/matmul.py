"""Batching of products: stacks of matrices, or more rows of one matrix."""

from __future__ import annotations

import string
from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching

V = Any  # An ir.Value under `arithmetic`.


@batching("MatMul")
def matmul(c: Batch) -> V:
    """A stack of products; a vector is taken as a matrix of one row or column."""
    b = c.b
    left, right = c.value(0), c.value(1)
    ranks = [c.rank(0), c.rank(1)]
    if ranks == [1, 2] and c.only(0):
        return b.MatMul(left, right)
    row, column = ranks[0] == 1, ranks[1] == 1
    if row:
        left = b.Unsqueeze(left, [-2])
    if column:
        right = b.Unsqueeze(right, [-1])
    ranks = [max(r, 2) for r in ranks]
    rank = max(ranks)
    left = _widened(c, 0, left, rank - ranks[0])
    right = _widened(c, 1, right, rank - ranks[1])
    y = b.MatMul(left, right)
    gone = [-2] * row + [-1] * column
    return b.Squeeze(y, gone) if gone else y


def _widened(c: Batch, i: int, value: V, missing: int) -> V:
    """Dimensions of size 1 between the batch and the rest."""
    if not c.batched(i) or missing == 0:
        return value
    return c.b.Unsqueeze(value, list(range(1, missing + 1)))


@batching("Gemm")
def gemm(c: Batch) -> V:
    """Rows of one taller matrix where only A is batched, else alpha A' B' + beta C of stacks."""
    b = c.b
    ta, tb = c.attr("transA"), c.attr("transB")
    bias = c.operand(2)
    if c.only(0) and not ta and (bias is None or c.rank(2) < 2):
        return c.unfold(c.emit(c.fold(0), c.value(1), c.value(2)))
    left = _transposed(c, 0) if ta else c.value(0)
    right = _transposed(c, 1) if tb else c.value(1)
    y = b.MatMul(left, right) if c.batched(0) or c.batched(1) else b.Unsqueeze(
        b.MatMul(left, right), [0]
    )  # fmt: skip
    alpha, beta = c.attr("alpha"), c.attr("beta")
    if alpha != 1.0:
        y = y * alpha
    if bias is None:
        return y
    added = c.aligned(2, 2)
    return y + (added if beta == 1.0 else added * beta)


def _transposed(c: Batch, i: int) -> V:
    return c.b.Transpose(c.value(i), perm=[0, 2, 1] if c.batched(i) else [1, 0])


@batching("Einsum")
def einsum(c: Batch) -> V:
    """One more letter in front of each batched term and of the result."""
    equation = c.attr("equation")
    equation = equation.decode() if isinstance(equation, bytes) else equation
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:  # Letters that occur once, in alphabetic order.
        letters = left.replace(",", "").replace("...", "")
        right = "".join(sorted(n for n in set(letters) if letters.count(n) == 1))
        right = "..." + right if "..." in left else right
    letter = next(n for n in string.ascii_letters if n not in equation)
    terms = [letter + t if c.batched(i) else t for i, t in enumerate(terms)]
    new = f"{','.join(terms)}->{letter}{right}"
    return c.emit(*(c.value(i) for i in range(len(terms))), equation=new)


@batching("Det")
def det(c: Batch) -> V:
    """A stack of matrices."""
    return c.emit(c.value(0))


@batching("DetGrad", domain="toolkit.grad")
def det_grad(c: Batch) -> V:
    """A stack of matrices."""
    return c.emit(c.full(0), c.full(1))
