"""Bodies of QR factorisation by Householder reflections and of products of reflections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.linalg import (
    LINALG,
    at,
    batch_shape,
    column_numbers,
    each,
    iota,
    least,
    row_numbers,
    transposed,
    unit,
)
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


@composite(LINALG, "Geqrf", "x", "y tau")
def geqrf(b: Builder, a: Attributes, x: V) -> tuple[V, V]:
    """A reflection a column: R above the diagonal, the vectors without their leading 1 below."""
    rows, columns, k = row_numbers(b, x), column_numbers(b, x), least(b, x)
    numbers = iota(b, k)

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        y, taus = states
        column = at(s, y, j, -1)
        below, here = s.Greater(rows, j), s.Equal(rows, j)
        tail = s.Where(below, column, 0.0)
        alpha = at(s, column, j, -2)
        square = s.ReduceSum(tail * tail, [-2], keepdims=1)
        norm = s.Sqrt(alpha * alpha + square)
        none = s.Equal(square, 0.0)
        beta = s.Where(none, alpha, s.Where(s.Less(alpha, 0.0), norm, -norm))
        tau = s.Where(none, 0.0, (beta - alpha) / s.Where(none, 1.0, beta))
        head = s.cast(here, x.dtype)
        v = s.Where(below, column / s.Where(none, 1.0, alpha - beta), head)
        v = s.Where(none, head, v)
        products = s.Where(s.Greater(columns, j), s.MatMul(transposed(s, v), y), 0.0)
        kept = s.Where(below, v, s.Where(here, beta, column))
        y = s.Where(s.Equal(columns, j), kept, y - tau * v * products)
        return y, s.Where(s.Equal(numbers, j), tau, taus)

    taus = b.zeros(batch_shape(b, x, b.ints([1]), k), x.dtype)
    y, taus = each(b, k, [x, taus], step)
    return y, b.Squeeze(taus, [-2])


def form_q(b: Builder, x: V, tau: V, columns: V) -> V:
    """The first columns of the product of reflections, the last of them applied first."""
    rows = row_numbers(b, x)
    factors = b.Unsqueeze(tau, [-2])

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        q = states[0]
        head = s.cast(s.Equal(rows, j), x.dtype)
        v = s.Where(s.Greater(rows, j), at(s, x, j, -1), head)
        return [q - at(s, factors, j, -1) * v * s.MatMul(transposed(s, v), q)]

    start = unit(b, x, b.dim(x, -2), columns)
    return each(b, b.dim(tau, -1), [start], step, True)[0]


@composite(LINALG, "HouseholderProduct", "x tau", "q")
def householder_product(b: Builder, a: Attributes, x: V, tau: V) -> V:
    """The first n columns of H_1 H_2 ... H_k, H_j = 1 - tau_j v_j v_j^T."""
    return form_q(b, x, tau, b.dim(x, -1))


@composite(LINALG, "Qr", "x", "q r")
def qr(b: Builder, a: Attributes, x: V) -> tuple[V, V]:
    """Geqrf, then the product of its reflections."""
    mode = a.get("mode", "reduced")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    y, tau = geqrf(b, {}, x)
    columns = b.dim(x, -2) if mode == "complete" else least(b, x)
    r = b.Slice(b.Trilu(y, upper=1), [0], columns, [-2])
    if mode == "r":
        return b.zeros(b.ints([0]), x.dtype), r
    return form_q(b, y, tau, columns), r


def completed(b: Builder, x: V, count: V) -> V:
    """Orthonormal rows (batch, k, n), where rows of zeros count as missing, made up to `count`."""
    y, tau = geqrf(b, {}, transposed(b, x))
    rows = transposed(b, form_q(b, y, tau, count))
    sign = b.Where(b.Less(diagonal(b, y), 0.0), -1.0, 1.0)
    k = b.dim(x, -2)
    first = b.Slice(rows, b.ints([0]), k, [-2]) * b.Unsqueeze(b.cast(sign, x.dtype), [-1])
    return b.Concat(first, b.Slice(rows, k, count, [-2]), axis=-2)


def diagonal(b: Builder, x: V) -> V:
    """(batch, min(rows, columns)) of matrices."""
    same = b.Equal(row_numbers(b, x), column_numbers(b, x))
    found = b.ReduceSum(b.Where(same, x, 0.0), [-2], keepdims=0)
    return b.Slice(found, b.ints([0]), least(b, x), [-1])
