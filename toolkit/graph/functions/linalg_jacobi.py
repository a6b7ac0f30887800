"""Bodies of eigenvalues of symmetric matrices and of singular values, by Jacobi's rotations.

A round rotates half as many disjoint pairs of rows as there are rows at once, elementwise; the
circle method of round-robin tournaments names the pairs (Brent and Luk 1985). The Loop ends after
as many rounds without a rotation as meet every pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.graph.build import Builder
from toolkit.graph.functions.linalg import (
    INT64,
    LINALG,
    batch_shape,
    column_numbers,
    iota,
    least,
    row_numbers,
    transposed,
    unit,
)
from toolkit.graph.functions.linalg_qr import completed, diagonal
from toolkit.graph.functions.loop import loop
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.
_SWEEPS = 40  # Ten are many.


class Pairs:
    """The rounds of n rows, n a vector of length 1."""

    def __init__(self, b: Builder, n: V) -> None:
        n = b.Squeeze(n, [0])
        self.n = n
        self.rows = b.Range(b.const(0), n, b.const(1))
        self.last = b.Max(n + b.Mod(n, 2) - 1, 1)  # The player that stays; none has it if n is odd.
        self.half = (self.last + 1) / 2  # The inverse of 2.

    def partner(self, b: Builder, index: V) -> V:
        """Whom each row meets in a round; itself where it sits out."""
        r = b.Mod(index, self.last)
        other = b.Mod(r - self.rows, self.last)
        other = b.Where(b.Equal(other, self.rows), self.last, other)
        other = b.Where(b.Equal(self.rows, self.last), b.Mod(r * self.half, self.last), other)
        return b.Where(b.Less(other, self.n), other, self.rows)


def _angle(b: Builder, mine: V, theirs: V, product: V, active: V, first: V) -> tuple[V, V]:
    """(c, s) of each row: row' = c row - s partner's row, (c, -s) for the partner."""
    zeta = (theirs - mine) / b.Where(active, 2.0 * product, 1.0)
    sign = b.Where(b.Greater(zeta, 0.0), 1.0, b.Where(b.Less(zeta, 0.0), -1.0, first))
    t = b.Where(active, sign / (b.Abs(zeta) + b.Sqrt(1.0 + zeta * zeta)), 0.0)
    c = 1.0 / b.Sqrt(1.0 + t * t)
    return c, c * t


def _rotate(
    b: Builder, n: V, states: Sequence[V], turn: Callable[..., tuple[V, Sequence[V]]]
) -> list[V]:
    """The Loop; `turn(builder, partner, first, states) -> (rows that were rotated, states)`."""
    pairs = Pairs(b, n)

    def step(s: Builder, index: V, carried: Sequence[V]) -> tuple[V, Sequence[V]]:
        partner = pairs.partner(s, index)
        less = s.cast(s.Less(pairs.rows, partner), states[0].dtype)
        active, new = turn(s, partner, s.Unsqueeze(2.0 * less - 1.0, [1]), carried[:-1])
        count = s.ReduceSum(s.Cast(active, to=int(INT64)), keepdims=0)
        quiet = s.Where(s.Equal(count, 0), carried[-1] + 1, 0)
        return s.Less(quiet, pairs.last), [*new, quiet]

    return loop(b, pairs.last * _SWEEPS, [*states, b.const(0)], step)[:-1]


def _epsilon(x: V) -> float:
    return float(np.finfo(np.float64 if x.dtype.numpy() == np.float64 else np.float32).eps)


def _largest_sign(b: Builder, x: V) -> V:
    """(batch, rows, 1): the sign of the element of largest magnitude of each row."""
    # A column of zeros, so that there is one: it never wins over a row with elements.
    padded = b.Concat(x, 0.0 * b.ReduceSum(x, [-1], keepdims=1), axis=-1)
    at = b.ArgMax(b.Abs(padded), axis=-1, keepdims=1)
    found = b.GatherElements(padded, at, axis=(b.rank(x) or 2) - 1)
    return b.cast(b.Where(b.Less(found, 0.0), -1.0, 1.0), x.dtype)


def _in_order(b: Builder, x: V, order: V) -> V:
    """Rows of matrices in the order (batch, k)."""
    k, rank = b.dim(order, -1), b.rank(x) or 2
    index = b.Expand(b.Unsqueeze(order, [-1]), batch_shape(b, x, k, b.dim(x, -1)))
    return b.GatherElements(x, index, axis=rank - 2)


@composite(LINALG, "Eigh", "x", "w v")
def eigh(b: Builder, a: Attributes, x: V) -> tuple[V, V]:
    """Two-sided Jacobi: x' = J x J^T, and V^T' = J V^T."""
    rows, columns = row_numbers(b, x), column_numbers(b, x)
    ordered = b.LessOrEqual(rows, columns) if a.get("upper") else b.GreaterOrEqual(rows, columns)
    whole = b.Where(ordered, x, transposed(b, x))
    n = b.dim(x, -1)
    bound = _epsilon(x) * b.Sqrt(b.ReduceSum(whole * whole, [-2, -1], keepdims=1))
    rank = b.rank(x) or 2

    def turn(s: Builder, partner: V, first: V, states: Sequence[V]) -> tuple[V, Sequence[V]]:
        y, vt = states
        d = s.Unsqueeze(diagonal(s, y), [-1])
        index = s.Expand(s.Unsqueeze(partner, [1]), batch_shape(s, y, n, s.ints([1])))
        off = s.GatherElements(y, index, axis=rank - 1)
        alone = s.Equal(s.Unsqueeze(partner, [1]), rows)
        active = s.And(s.Not(alone), s.Greater(s.Abs(off), bound))
        c, sine = _angle(s, d, s.Gather(d, partner, axis=-2), off, active, first)
        y = c * y - sine * s.Gather(y, partner, axis=-2)
        y = transposed(s, c) * y - transposed(s, sine) * s.Gather(y, partner, axis=-1)
        return active, [y, c * vt - sine * s.Gather(vt, partner, axis=-2)]

    y, vt = _rotate(b, n, [whole, unit(b, x, n, n)], turn)
    w, order = b.TopK(diagonal(b, y), n, axis=-1, largest=0, sorted=1, _outputs=2)
    if not a.get("vectors", 1):
        return w, b.zeros(b.ints([0]), x.dtype)
    vt = _in_order(b, vt, order)
    return w, transposed(b, vt * _largest_sign(b, vt))


@composite(LINALG, "Svd", "x", "u s vh")
def svd(b: Builder, a: Attributes, x: V) -> tuple[V, V, V]:
    """One-sided Jacobi on the rows of x^T: they become s u^T, J applied to a unit matrix V^T."""
    n, k = b.dim(x, -1), least(b, x)
    tolerance = 4 * _epsilon(x)
    rows = b.Unsqueeze(iota(b, n), [1])

    def square(s: Builder, y: V) -> V:
        return s.ReduceSum(y * y, [-1], keepdims=1)

    scale = b.Max(
        b.Sqrt(b.ReduceSum(x * x, [-2, -1], keepdims=1)), float(np.finfo(np.float32).tiny)
    )
    none = tolerance * tolerance / 16 * scale * scale

    def turn(s: Builder, partner: V, first: V, states: Sequence[V]) -> tuple[V, Sequence[V]]:
        y, vt = states
        other = s.Gather(y, partner, axis=-2)
        mine = square(s, y)
        theirs = s.Gather(mine, partner, axis=-2)
        product = s.ReduceSum(y * other, [-1], keepdims=1)
        size = s.Abs(product)
        alone = s.Equal(s.Unsqueeze(partner, [1]), rows)
        active = s.And(s.Not(alone), s.Greater(size, tolerance * s.Sqrt(mine) * s.Sqrt(theirs)))
        active = s.And(active, s.Greater(size, none))
        c, sine = _angle(s, mine, theirs, product, active, first)
        return active, [c * v - sine * s.Gather(v, partner, axis=-2) for v in (y, vt)]

    y, vt = _rotate(b, n, [transposed(b, x), unit(b, x, n, n)], turn)
    norms = b.Squeeze(b.Sqrt(square(b, y)), [-1])
    sigma, order = b.TopK(norms, k, axis=-1, largest=1, sorted=1, _outputs=2)
    if not a.get("vectors", 1):
        nothing = b.zeros(b.ints([0]), x.dtype)
        return nothing, sigma, b.Identity(nothing)
    column = b.Unsqueeze(sigma, [-1])
    zero = b.LessOrEqual(column, _epsilon(x) / 2 * scale)
    ut = b.Where(zero, 0.0, _in_order(b, y, order) / b.Where(zero, 1.0, column))
    full = a.get("full_matrices", 0)
    m = b.dim(x, -2)
    ut = completed(b, ut, m if full else k)
    vt = completed(b, _in_order(b, vt, order), n if full else k)
    tall = b.GreaterOrEqual(m, n)
    sign = b.Where(tall, _head_sign(b, ut, k), _head_sign(b, vt, k))
    return transposed(b, _signed(b, ut, sign, k)), sigma, _signed(b, vt, sign, k)


def _head_sign(b: Builder, x: V, k: V) -> V:
    return _largest_sign(b, b.Slice(x, b.ints([0]), k, [-2]))


def _signed(b: Builder, x: V, sign: V, k: V) -> V:
    """The first k rows times their signs."""
    first = b.Slice(x, b.ints([0]), k, [-2]) * sign
    return b.Concat(first, b.Slice(x, k, b.dim(x, -2), [-2]), axis=-2)
