"""Gradients of matrix functions and factorisations.

Notation: tril, triu are triangles, L' the transpose of L. Formulas: Giles (2008), "Collected matrix
derivative results"; Murray (2016), "Differentiation of the Cholesky decomposition"; Walter, Lehmann
and Lamour (2012), "On evaluating higher-order derivatives of the QR decomposition"; Golub and
Pereyra (1973); Mathias (1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.autodiff.registry import Vjp, vjp
from toolkit.errors import InvalidArgumentError
from toolkit.graph.build import Builder, known_dims
from toolkit.graph.functions.linalg import (
    LINALG,
    at,
    column_numbers,
    each,
    iota,
    least,
    row_numbers,
    transposed,
)

V = Any  # An ir.Value under `arithmetic`.


def _call(b: Builder, op_type: str, *inputs: V, outputs: int = 1, **attributes: Any) -> Any:
    return b.call(LINALG, op_type, inputs, attributes, outputs)


def _triangle(b: Builder, x: V, upper: bool, strict: bool = False) -> V:
    if not strict:
        return b.Trilu(x, upper=int(upper))
    return b.Trilu(x, b.const(1 if upper else -1), upper=int(upper))


def _on_diagonal(b: Builder, x: V, value: V) -> V:
    """X with other elements on its diagonal."""
    return b.Where(b.Equal(row_numbers(b, x), column_numbers(b, x)), value, x)


def _gathered(b: Builder, x: V, p: V) -> V:
    """Rows p (batch, rows) of matrices."""
    index = b.Expand(b.Unsqueeze(p, [-1]), b.Shape(x))
    return b.GatherElements(x, index, axis=(b.rank(x) or 2) - 2)


@vjp("Det")
def det(c: Vjp, x: V) -> V:
    """dx = dy times the matrix of cofactors (det(x) x^-T where x is regular): DetGrad."""
    return c.grad("DetGrad", x, c.dy)


@vjp("Cholesky", domain=LINALG)
def cholesky(c: Vjp, x: V) -> V:
    """x = L L': dx = S symmetrised, S = L'^-1 phi(L' dL) L^-1; phi: tril with half the diagonal."""
    b = c.b
    y, dy = (c.y, c.dy) if not c.attr("upper", 0) else (
        transposed(b, c.y), transposed(b, c.dy))  # fmt: skip
    product = b.MatMul(transposed(b, y), dy)
    phi = _on_diagonal(b, _triangle(b, product, False), 0.5 * product)
    left = _call(b, "SolveTriangular", y, phi, trans=1)
    s = _call(b, "SolveTriangular", y, transposed(b, left), trans=1)
    return 0.5 * (s + transposed(b, s))


@vjp("SolveTriangular", domain=LINALG)
def solve_triangular(c: Vjp, a: V, right: V) -> tuple[V, V]:
    """X = A^-1 B: dB = A'^-1 dX, dA = -dB X' in A's triangle (of A', where the system is A')."""
    b = c.b
    upper, same, trans = (int(c.attr(k, 0)) for k in ("upper", "unit", "trans"))
    db = _call(b, "SolveTriangular", a, c.dy, upper=upper, unit=same, trans=1 - trans)

    def da() -> V:
        one, two = (c.y, db) if trans else (db, c.y)
        return -_triangle(b, b.MatMul(one, transposed(b, two)), bool(upper), bool(same))

    return da, db


@vjp("LuSolve", domain=LINALG)
def lu_solve(c: Vjp, factors: V, pivots: V, right: V) -> tuple[V, V, V]:
    """Y = U X: dY = U'^-1 dX, dU = -triu(dY X'), W = L'^-1 dY, dL = -tril(W Y'), dB = P W.

    Transposed, with W = P' X, Z = L' W: dZ = L^-1 P' dX, dL = -tril(W dZ'), dB = U^-1 dZ,
    dU = -triu(Z dB').
    """
    b, x, dx = c.b, c.y, c.dy
    upper = _triangle(b, factors, True)
    lower = _on_diagonal(b, _triangle(b, factors, False, True), 1.0)
    p, inverse = (_call(b, "LuPermutation", factors, pivots, inverse=i) for i in (0, 1))
    if not c.attr("trans", 0):
        dy = _call(b, "SolveTriangular", factors, dx, upper=1, trans=1)
        w = _call(b, "SolveTriangular", factors, dy, unit=1, trans=1)
        du = b.MatMul(dy, transposed(b, x))
        dl = b.MatMul(w, transposed(b, b.MatMul(upper, x)))
        db = _gathered(b, w, inverse)
    else:
        w = _gathered(b, x, p)
        dz = _call(b, "SolveTriangular", factors, _gathered(b, dx, p), unit=1)
        db = _call(b, "SolveTriangular", factors, dz, upper=1)
        dl = b.MatMul(w, transposed(b, dz))
        du = b.MatMul(b.MatMul(transposed(b, lower), w), transposed(b, db))
    return -(_triangle(b, dl, False, True) + _triangle(b, du, True)), None, db


def _through_lu(b: Builder, x: V, y: V, pivots: V, dy: V) -> V:
    """P' x = [L1; L2] [U1 U2] with square L1, U1 (L2 or U2 is empty):

    dF = tril(L1' dL1 - dU2 U2') below the diagonal + triu(dU1 U1' - L2' dL2) on and above it;
    dx = P [L1'^-1 dF U1'^-1, L1'^-1 dU2; dL2 U1'^-1].
    """
    k, zero = least(b, x), b.ints([0])
    rows, columns = b.dim(x, -2), b.dim(x, -1)
    m, n = (known_dims(x) or (None, None))[-2:]
    exact = isinstance(m, int) and m == n

    def part(v: V, right: bool, below: bool) -> V:
        if exact:
            return v
        v = b.Slice(v, k if below else zero, rows if below else k, [-2])
        return b.Slice(v, k if right else zero, columns if right else k, [-1])

    square, ds = part(y, False, False), part(dy, False, False)
    low = _on_diagonal(b, _triangle(b, square, False, True), 1.0)
    low = b.MatMul(transposed(b, low), _triangle(b, ds, False, True))
    high = b.MatMul(_triangle(b, ds, True), transposed(b, _triangle(b, square, True)))
    if not exact:
        (l2, u2), (dl2, du2) = ((part(v, False, True), part(v, True, False)) for v in (y, dy))
        low = low - b.MatMul(du2, transposed(b, u2))
        high = high - b.MatMul(transposed(b, l2), dl2)
    top = _over_upper(b, square, _triangle(b, low, False, True) + _triangle(b, high, True))
    if not exact:
        top = b.Concat(top, du2, axis=-1)
    dx = _call(b, "SolveTriangular", square, top, unit=1, trans=1)
    if not exact:
        bottom = b.Concat(_over_upper(b, square, dl2), 0.0 * b.MatMul(l2, u2), axis=-1)
        dx = b.Concat(dx, bottom, axis=-2)
    return _gathered(b, dx, _call(b, "LuPermutation", y, pivots, inverse=1))


def _over_upper(b: Builder, u: V, x: V) -> V:
    """X U'^-1."""
    return transposed(b, _call(b, "SolveTriangular", u, transposed(b, x), upper=1))


@vjp("Lu", domain=LINALG)
def lu(c: Vjp, x: V) -> V:
    """See `_through_lu`: the triangles L' dL and dU U' of P' x = L U, solved by L' and U'."""
    return _through_lu(c.b, x, c.y, c.outputs[1], c.dy)


@vjp("Solve", domain=LINALG, all_outputs=True)
def solve(c: Vjp, a: V, right: V) -> tuple[Any, Any]:
    """X = A^-1 B: dB = A'^-1 dX by the factors of the forward pass, dA = -dB X' (and what comes
    through the factors, which second derivatives read).
    """
    b, (x, factors, pivots, _) = c.b, c.outputs
    dx, dlu = c.cotangents[:2]
    through = None if dlu is None else _through_lu(b, a, factors, pivots, dlu)
    if dx is None:
        return through, None
    db = _call(b, "LuSolve", factors, pivots, dx, trans=1)

    def da() -> V:
        direct = -b.MatMul(db, transposed(b, x))
        return direct if through is None else direct + through

    return da, db


@vjp("Qr", domain=LINALG, all_outputs=True)
def qr(c: Vjp, x: V) -> V:
    """R = [U V] with square U: dQ1 = dQ + Q V dV', M = U dU' - dQ1' Q,
    dx = [(dQ1 + Q (tril(M) + tril(M, -1)')) U'^-1, Q dV].
    """
    b, (q, r), (dq, dr) = c.b, c.outputs, c.cotangents
    mode = c.attr("mode", "reduced")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    m, n = (known_dims(x) or (None, None))[-2:]
    known = isinstance(m, int) and isinstance(n, int)
    if mode == "r":
        raise InvalidArgumentError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
            "Use mode 'reduced' if gradients are wanted."
        )
    if mode == "complete" and not (known and m <= n):  # type: ignore[operator]
        raise InvalidArgumentError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols, "
            f"got {m} rows and {n} columns."
        )
    k, zero = least(b, x), b.ints([0])
    dq = 0.0 * q if dq is None else dq
    dr = 0.0 * r if dr is None else dr
    columns = b.dim(r, -1)
    u, du = (b.Slice(v, zero, k, [-1]) for v in (r, dr))
    wide = not (known and m >= n)  # type: ignore[operator]
    dv = None
    if wide:
        v, dv = (b.Slice(t, k, columns, [-1]) for t in (r, dr))
        dq = dq + b.MatMul(b.MatMul(q, v), transposed(b, dv))
    mixed = b.MatMul(u, transposed(b, du)) - b.MatMul(transposed(b, dq), q)
    low = _triangle(b, mixed, False)
    sym = low + transposed(b, _triangle(b, mixed, False, True))
    dx = _over_upper(b, u, dq + b.MatMul(q, sym))
    return dx if dv is None else b.Concat(dx, b.MatMul(q, dv), axis=-1)


def _inverse_gaps(b: Builder, values: V) -> V:
    """1 / (values[j] - values[i]) off the diagonal, 0 on it."""
    gaps = b.Unsqueeze(values, [-2]) - b.Unsqueeze(values, [-1])
    return _on_diagonal(b, 1.0 / _on_diagonal(b, gaps, 1.0), 0.0)


def _diagonal_matrix(b: Builder, values: V) -> V:
    wide = b.Unsqueeze(values, [-2])
    return _on_diagonal(b, 0.0 * (wide + b.Unsqueeze(values, [-1])), wide)


@vjp("HouseholderProduct", domain=LINALG)
def householder_product(c: Vjp, x: V, tau: V) -> tuple[V, Any]:
    """Q_j = H_j Q_j+1 with Q_1 = Q, H_j = 1 - tau v v'. From the first to the last, with G_1 = dQ:

    Q_j+1 = (1 - sigma v v') Q_j, sigma = tau / (tau v' v - 1); dtau_j = -(v' G_j) (v' Q_j+1)';
    dv_j = -tau (G_j Q_j+1' v + Q_j+1 G_j' v); G_j+1 = H_j G_j.
    """
    b, taus = c.b, c.b.Unsqueeze(tau, [-2])
    rows = row_numbers(b, x)
    columns = column_numbers(b, x) if c.need(0) else None
    numbers = iota(b, b.dim(tau, -1)) if c.need(1) else None

    def step(s: Builder, j: V, states: Sequence[V]) -> Sequence[V]:
        q, g, *found = states
        below, t = s.Greater(rows, j), at(s, taus, j, -1)
        v = s.Where(below, at(s, x, j, -1), s.cast(s.Equal(rows, j), x.dtype))
        vt = transposed(s, v)
        q = q - t / (t * s.MatMul(vt, v) - 1.0) * v * s.MatMul(vt, q)
        vq, vg = s.MatMul(vt, q), s.MatMul(vt, g)
        if c.need(0):
            dv = -t * (s.MatMul(g, transposed(s, vq)) + s.MatMul(q, transposed(s, vg)))
            found[0] = s.Where(s.And(below, s.Equal(columns, j)), dv, found[0])
        if c.need(1):
            dt = -s.MatMul(vq, transposed(s, vg))
            found[-1] = s.Where(s.Equal(numbers, j), dt, found[-1])
        return q, g - t * v * vg, *found

    states = [c.y, c.dy, *([0.0 * x] if c.need(0) else []), *([0.0 * taus] if c.need(1) else [])]
    found = each(b, b.dim(tau, -1), states, step)[2:]
    return found[0] if c.need(0) else None, lambda: b.Squeeze(found[-1], [-2])


@vjp("Eigh", domain=LINALG, all_outputs=True)
def eigh(c: Vjp, x: V) -> V:
    """dx = V (diag(dw) + (V' dV) / (w_j - w_i)) V'. Only functions that do not depend on the sign
    (in a repeated eigenvalue's space: the basis) of eigenvectors have a gradient.
    """
    b, (w, v), (dw, dv) = c.b, c.outputs, c.cotangents
    if not c.attr("vectors", 1):
        _, v = _call(b, "Eigh", x, outputs=2, upper=c.attr("upper", 0))
    if dv is None:
        return b.MatMul(v * b.Unsqueeze(dw, [-2]), transposed(b, v))
    middle = b.MatMul(transposed(b, v), dv) * _inverse_gaps(b, w)
    if dw is not None:
        middle = middle + _diagonal_matrix(b, dw)
    return b.MatMul(b.MatMul(v, middle), transposed(b, v))


@vjp("Svd", domain=LINALG, all_outputs=True)
def svd(c: Vjp, x: V) -> V:
    """dx = U ((skew(U' dU) / E) S + S (skew(V' dV) / E) + diag(dS)) V'
    + (1 - U U') dU S^-1 V' + U S^-1 dV' (1 - V V'), E = S_j^2 - S_i^2, skew(X) = X - X'.

    Of full matrices the first min(m, n) columns count. Only functions that do not depend on the
    signs of singular vectors have a gradient.
    """
    b, ds = c.b, c.cotangents[1]
    factors: tuple[Any, ...] = (*c.outputs, *c.cotangents[::2])
    u, s, vh, du, dvh = factors
    if not c.attr("vectors", 1):
        u, s, vh = _call(b, "Svd", x, outputs=3)
    elif c.attr("full_matrices", 0):
        k, zero = least(b, x), b.ints([0])
        u, du = (None if t is None else b.Slice(t, zero, k, [-1]) for t in (u, du))
        vh, dvh = (None if t is None else b.Slice(t, zero, k, [-2]) for t in (vh, dvh))
    if du is None and dvh is None:
        return b.MatMul(u * b.Unsqueeze(ds, [-2]), vh)
    column, row = b.Unsqueeze(s, [-1]), b.Unsqueeze(s, [-2])
    over, ut, v = _inverse_gaps(b, s * s), transposed(b, u), transposed(b, vh)
    middle: V = None if ds is None else _diagonal_matrix(b, ds)
    outside: V = None
    if du is not None:
        product = b.MatMul(ut, du)
        turned = (product - transposed(b, product)) * over * row
        middle = turned if middle is None else middle + turned
        outside = b.MatMul((du - b.MatMul(u, product)) / row, vh)
    if dvh is not None:
        product = b.MatMul(dvh, v)  # (V' dV)'.
        turned = (transposed(b, product) - product) * over * column
        middle = turned if middle is None else middle + turned
        rest = b.MatMul(u, (dvh - b.MatMul(product, vh)) / column)
        outside = rest if outside is None else outside + rest
    return b.MatMul(b.MatMul(u, middle), vh) + outside


@vjp("MatrixExp", domain=LINALG)
def matrix_exp(c: Vjp, x: V) -> V:
    """dx = the upper right block of exp([x' dy; 0 x']) (Mathias 1996)."""
    b, n = c.b, c.b.dim(x, -1)
    xt = transposed(b, x)
    upper = b.Concat(xt, c.dy, axis=-1)
    lower = b.Concat(0.0 * xt, xt, axis=-1)
    y = _call(b, "MatrixExp", b.Concat(upper, lower, axis=-2))
    return b.Slice(b.Slice(y, b.ints([0]), n, [-2]), n, n + n, [-1])


@vjp("PinvOf", domain=LINALG)
def pinv_of(c: Vjp, x: V, pinv: V) -> tuple[V, None]:
    """P = pinv(x): dx = -P' dP P' + (1 - x P) dP' P P' + P' P dP' (1 - P x)."""
    b, p = c.b, c.y
    pt, dpt = transposed(b, p), transposed(b, c.dy)
    first = b.MatMul(dpt, b.MatMul(p, pt))
    last = b.MatMul(b.MatMul(pt, p), dpt)
    dx = first - b.MatMul(x, b.MatMul(p, first)) + last - b.MatMul(b.MatMul(last, p), x)
    return dx - b.MatMul(b.MatMul(pt, c.dy), pt), None
