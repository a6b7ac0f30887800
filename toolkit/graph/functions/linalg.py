"""Bodies of triangular systems, Cholesky and LU factorisations, and of the determinant's gradient.

A factorisation is a Loop over columns whose state is the whole matrix; batches are the leading
dimensions. The kernels' conventions (signs, pivots from 1) hold for the bodies too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.loop import loop
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.
LINALG = "toolkit.linalg"
INT64, INT32 = ir.DataType.INT64, ir.DataType.INT32


def iota(b: Builder, count: V) -> V:
    """0, 1, ... of a count given as a vector of length 1."""
    return b.Range(b.const(0), b.Squeeze(count, [0]), b.const(1))


def row_numbers(b: Builder, x: V) -> V:
    """(rows, 1): the number of each row of matrices."""
    return b.Unsqueeze(iota(b, b.dim(x, -2)), [1])


def column_numbers(b: Builder, x: V) -> V:
    """(columns,): the number of each column of matrices."""
    return iota(b, b.dim(x, -1))


def batch_shape(b: Builder, x: V, *last: V) -> V:
    """The batch of matrices with other last dimensions, vectors of length 1."""
    rank = b.rank(x) or 2
    return b.Concat(b.Shape(x, end=rank - 2), *last, axis=0) if last else b.Shape(x, end=rank - 2)


def transposed(b: Builder, x: V) -> V:
    """Matrices transposed."""
    rank = b.rank(x) or 2
    return b.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def unit(b: Builder, x: V, rows: V, columns: V) -> V:
    """Unit matrices (batch of x, rows, columns)."""
    eye = b.Equal(b.Unsqueeze(iota(b, rows), [1]), iota(b, columns))
    return b.Expand(b.cast(eye, x.dtype), batch_shape(b, x, rows, columns))


def each(
    b: Builder,
    count: V,
    states: Sequence[V],
    step: Callable[..., Sequence[V]],
    reverse: bool = False,
) -> list[V]:
    """A Loop over the numbers below a count (both vectors of length 1).

    `step(builder, number, states) -> states`; gives the last states.
    """
    count = b.Squeeze(count, [0])

    def one(s: Builder, index: V, carried: Sequence[V]) -> tuple[None, Sequence[V]]:
        return None, step(s, s.Unsqueeze(count - 1 - index if reverse else index, [0]), carried)

    return loop(b, count, states, one)


def at(b: Builder, x: V, j: V, axis: int) -> V:
    """One row (axis -2) or column (axis -1) of matrices, as a matrix."""
    return b.Gather(x, j, axis=axis)


def least(b: Builder, x: V) -> V:
    """The smaller of rows and columns, a vector of length 1."""
    return b.Min(b.dim(x, -2), b.dim(x, -1))


@composite("toolkit.grad", "DetGrad", "x dy", "dx")
def det_grad(b: Builder, a: Attributes, x: V, dy: V) -> V:
    """dx[i, j] = dy times the cofactor: the determinant of x with e_j in the place of row i."""
    one = b.cast(b.Equal(row_numbers(b, x), column_numbers(b, x)), x.dtype)
    # Axes (..., i, j, row, column).
    chosen = b.Unsqueeze(one, [1, 3])  # Whether the row is row i.
    rows = b.Unsqueeze(x, [-4, -3]) * (1.0 - chosen) + chosen * b.Unsqueeze(one, [0, 2])
    return b.Unsqueeze(dy, [-2, -1]) * b.Det(rows)


@composite(LINALG, "Cholesky", "x", "y info")
def cholesky(b: Builder, a: Attributes, x: V) -> tuple[V, V]:
    """Column j of L: (x - sum of the columns before times their transposes)[:, j] over the root of
    its pivot. `info` is the order of the first minor that is not positive definite.
    """
    lower = transposed(b, x) if a.get("upper") else x
    rows, columns = row_numbers(b, x), column_numbers(b, x)
    one = b.ints([1])
    info = b.zeros(batch_shape(b, x, one, one), INT64)

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        rest, y, info = states
        column = at(s, rest, j, -1)
        pivot = at(s, column, j, -2)
        column = s.Where(s.GreaterOrEqual(rows, j), column / s.Sqrt(pivot), 0.0)
        failed = s.And(s.Not(s.Greater(pivot, 0.0)), s.Equal(info, 0))
        rest = rest - column * transposed(s, column)
        return rest, s.Where(s.Equal(columns, j), column, y), s.Where(failed, j + 1, info)

    _, y, info = each(b, b.dim(x, -1), [lower, b.zeros(b.Shape(x), x.dtype), info], step)
    info = b.cast(b.Squeeze(info, [-2, -1]), INT32)
    return (transposed(b, y) if a.get("upper") else y), info


def swapped(b: Builder, x: V, i: V, j: V) -> V:
    """Rows i (a number) and j (batch, 1, 1) of matrices exchanged."""
    rows = row_numbers(b, x)
    source = b.Where(b.Equal(rows, i), j, b.Where(b.Equal(rows, j), i, rows))
    return b.GatherElements(x, b.Expand(source, b.Shape(x)), axis=(b.rank(x) or 2) - 2)


@composite(LINALG, "Lu", "x", "lu pivots info")
def lu(b: Builder, a: Attributes, x: V) -> tuple[V, V, V]:
    """Right-looking elimination with partial pivoting; L without its diagonal and U in one."""
    rows, columns, k = row_numbers(b, x), column_numbers(b, x), least(b, x)
    one, numbers = b.ints([1]), iota(b, k)
    info = b.zeros(batch_shape(b, x, one, one), INT64)
    pivots = b.zeros(batch_shape(b, x, one, k), INT64)

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        y, pivots, info = states
        size = s.Where(s.GreaterOrEqual(rows, j), s.Abs(at(s, y, j, -1)), -1.0)
        pivot = s.ArgMax(size, axis=-2, keepdims=1)
        y = swapped(s, y, j, pivot)
        row, column = at(s, y, j, -2), at(s, y, j, -1)
        corner = at(s, column, j, -2)
        none, below = s.Equal(corner, 0.0), s.Greater(rows, j)
        factors = s.Where(below, column / s.Where(none, 1.0, corner), 0.0)
        rest = y - factors * s.Where(s.Greater(columns, j), row, 0.0)
        y = s.Where(s.And(s.Equal(columns, j), below), factors, rest)
        first = s.And(none, s.Equal(info, 0))
        pivots = s.Where(s.Equal(numbers, j), pivot + 1, pivots)
        return y, pivots, s.Where(first, j + 1, info)

    y, pivots, info = each(b, k, [x, pivots, info], step)
    pivots = b.cast(b.Squeeze(pivots, [-2]), INT32)
    return y, pivots, b.cast(b.Squeeze(info, [-2, -1]), INT32)


def permuted(b: Builder, x: V, pivots: V, reverse: bool) -> V:
    """The exchanges of rows that pivots (batch, n) tell, from first to last or the other way."""
    places = b.Unsqueeze(b.cast(pivots, INT64), [-2])

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        return [swapped(s, states[0], j, at(s, places, j, -1) - 1)]

    return each(b, b.dim(pivots, -1), [x], step, reverse)[0]


@composite(LINALG, "LuPermutation", "lu pivots", "p")
def lu_permutation(b: Builder, a: Attributes, x: V, pivots: V) -> V:
    """(batch, rows): row i of P^T y is row p[i] of y; `inverse`: of P y."""
    start = b.Expand(row_numbers(b, x), batch_shape(b, x, b.dim(x, -2), b.ints([1])))
    p = b.Squeeze(permuted(b, start, pivots, False), [-1])
    if not a.get("inverse"):
        return p
    ones = b.Expand(iota(b, b.dim(x, -2)), b.Shape(p))
    return b.ScatterElements(p, p, ones, axis=(b.rank(x) or 2) - 2)


@composite(LINALG, "SolveTriangular", "a b", "x")
def solve_triangular(b: Builder, a: Attributes, x: V, right: V) -> V:
    """Substitution, a row a step; only the triangle is read."""
    upper, trans = bool(a.get("upper", 0)), bool(a.get("trans", 0))
    matrix = b.Trilu(x, upper=int(upper))
    if trans:
        matrix = transposed(b, matrix)
    rows = row_numbers(b, x)

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        row = at(s, matrix, j, -2)
        value = at(s, right, j, -2) - s.MatMul(row, states[0])
        if not a.get("unit"):
            value = value / at(s, row, j, -1)
        return [s.Where(s.Equal(rows, j), value, states[0])]

    start = b.zeros(b.Shape(right), right.dtype)
    return each(b, b.dim(x, -2), [start], step, upper != trans)[0]


@composite(LINALG, "LuSolve", "lu pivots b", "x")
def lu_solve(b: Builder, a: Attributes, factors: V, pivots: V, right: V) -> V:
    """Two triangular systems; `trans`: of the transposed matrix."""
    lower, upper = {"unit": 1}, {"upper": 1}
    if not a.get("trans"):
        y = solve_triangular(b, lower, factors, permuted(b, right, pivots, False))
        return solve_triangular(b, upper, factors, y)
    y = solve_triangular(b, upper | {"trans": 1}, factors, right)
    y = solve_triangular(b, lower | {"trans": 1}, factors, y)
    return permuted(b, y, pivots, True)


@composite(LINALG, "Solve", "a b", "x lu pivots info")
def solve(b: Builder, a: Attributes, x: V, right: V) -> tuple[V, ...]:
    """Lu, then LuSolve."""
    factors, pivots, info = lu(b, {}, x)
    return lu_solve(b, {}, factors, pivots, right), factors, pivots, info
