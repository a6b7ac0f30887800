"""Rows of the domain toolkit.linalg: factorisations and what is built on them."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample

LINALG = "toolkit.linalg"
SQUARE = ((1, 1), (2, 2), (5, 5), (2, 3, 3), (2, 1, 4, 4), (0, 3, 3), (2, 0, 0))
SHAPES = (*SQUARE, (5, 3), (3, 5), (2, 4, 2), (2, 2, 4), (0, 4), (4, 0))
SMALL = ((3, 3), (2, 2, 2))


def regular(d, *shape):
    """Square matrices far from singular, with pivots that LU exchanges."""
    n = shape[-1]
    x = d(*shape, low=-1, high=1) + 2 * np.eye(n)[::-1]
    return x.astype(d.dtype)


def positive(d, *shape):
    x = d(*shape, low=-1, high=1).astype(np.float64)
    return (x @ x.swapaxes(-1, -2) + np.eye(shape[-1])).astype(d.dtype)


def symmetric(d, *shape):
    """With eigenvalues that are well apart."""
    x = d(*shape, low=-0.4, high=0.4)
    return (x + x.swapaxes(-1, -2) + np.diag(np.arange(1.0, shape[-1] + 1))).astype(d.dtype)


def spread(d, *shape):
    """Matrices of any shape with singular values that are well apart."""
    m, n = shape[-2:]
    return (d(*shape, low=-0.4, high=0.4) + np.eye(m, n) * np.arange(1, n + 1)).astype(d.dtype)


def by_matrix(count, f, *arrays, shapes):
    """`f` on each matrix of the batches; `shapes`: the outputs' own shapes."""
    batch = arrays[0].shape[:-2]
    outs = [np.zeros(batch + s) for s in shapes]
    for at in np.ndindex(*batch):
        results = f(*(a[at].astype(np.float64) if a.dtype.kind == "f" else a[at] for a in arrays))
        for out, r in zip(outs, results, strict=True):
            out[at] = r
    return outs


def lu_of(x):
    """LU, pivots from 1, info: elimination written out."""
    y, m, n = x.copy(), *x.shape
    pivots, info = [], 0
    for k in range(min(m, n)):
        p = k + int(np.argmax(abs(y[k:, k])))
        pivots.append(p + 1)
        y[[k, p]] = y[[p, k]]
        if y[k, k] == 0:
            info = info or k + 1
            continue
        y[k + 1 :, k] /= y[k, k]
        y[k + 1 :, k + 1 :] -= np.outer(y[k + 1 :, k], y[k, k + 1 :])
    return y, np.array(pivots, int), info


def lu(sample: Sample):
    x = sample.inputs[0]
    m, n = x.shape[-2:]
    y, pivots, info = by_matrix(3, lu_of, x, shapes=((m, n), (min(m, n),), ()))
    return [y.astype(x.dtype), pivots.astype(np.int32), info.astype(np.int32)]


def permutation(pivots, m):
    order = list(range(m))
    for i, p in enumerate(pivots):
        order[i], order[p - 1] = order[p - 1], order[i]
    return order


def lu_permutation(sample: Sample):
    x, pivots = sample.inputs
    out = np.zeros(x.shape[:-1], np.int64)
    for at in np.ndindex(*x.shape[:-2]):
        order = permutation(pivots[at], x.shape[-2])
        out[at] = np.argsort(order) if sample.attributes.get("inverse") else order
    return [out]


def unpacked(y, pivots):
    lower, upper = np.tril(y, -1) + np.eye(len(y)), np.triu(y)
    return lower[np.argsort(permutation(pivots, len(y)))] @ upper


def lu_solve(sample: Sample):
    y, pivots, b = sample.inputs
    out = np.zeros(b.shape)
    for at in np.ndindex(*y.shape[:-2]):
        a = unpacked(y[at].astype(np.float64), pivots[at])
        out[at] = np.linalg.solve(a.T if sample.attributes.get("trans") else a, b[at])
    return [out.astype(b.dtype)]


def solve(sample: Sample):
    a, b = sample.inputs
    x = np.linalg.solve(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)
    return [x, *lu(Sample((a,)))]


def solve_triangular(sample: Sample):
    x, b = (v.astype(np.float64) for v in sample.inputs)
    a = sample.attributes
    t = np.triu(x) if a.get("upper") else np.tril(x)
    if a.get("unit"):
        t = np.where(np.eye(x.shape[-1]) == 1, 1, t)
    t = t.swapaxes(-1, -2) if a.get("trans") else t
    return [np.linalg.solve(t, b).astype(sample.inputs[0].dtype)]


def cholesky(sample: Sample):
    x = sample.inputs[0]
    y = np.linalg.cholesky(x.astype(np.float64))
    y = y.swapaxes(-1, -2) if sample.attributes.get("upper") else y
    return [y.astype(x.dtype), np.zeros(x.shape[:-2], np.int32)]


def householder(x):
    y, tau = x.copy(), np.zeros(min(x.shape))
    for k in range(min(x.shape)):
        v = y[k:, k].copy()
        if not v[1:].any():
            continue
        beta = -np.copysign(np.linalg.norm(v), v[0])
        tau[k] = (beta - v[0]) / beta
        v = v / (v[0] - beta)
        v[0] = 1
        y[k:, k:] -= tau[k] * np.outer(v, v @ y[k:, k:])
        y[k + 1 :, k] = v[1:]
    return y, tau


def product(y, tau, columns):
    q = np.eye(len(y), columns)
    for k in reversed(range(len(tau))):
        v = np.concatenate([np.zeros(k), [1], y[k + 1 :, k]])
        q -= tau[k] * np.outer(v, v @ q)
    return q


def geqrf(sample: Sample):
    x = sample.inputs[0]
    k = min(x.shape[-2:])
    return [v.astype(x.dtype) for v in by_matrix(2, householder, x, shapes=(x.shape[-2:], (k,)))]


def householder_product(sample: Sample):
    x, tau = sample.inputs
    out = np.zeros(x.shape)
    for at in np.ndindex(*x.shape[:-2]):
        out[at] = product(x[at].astype(np.float64), tau[at].astype(np.float64), x.shape[-1])
    return [out.astype(x.dtype)]


def qr(sample: Sample):
    x, mode = sample.inputs[0], sample.attributes.get("mode", "reduced")
    m, n = x.shape[-2:]
    columns = m if mode == "complete" else min(m, n)

    def one(x):
        y, tau = householder(x)
        return product(y, tau, columns), np.triu(y)[:columns]

    q, r = by_matrix(2, one, x, shapes=((m, columns), (columns, n)))
    return [(np.zeros(0) if mode == "r" else q).astype(x.dtype), r.astype(x.dtype)]


def signs(v):
    """Of the element of largest magnitude of each column."""
    best = np.take_along_axis(v, abs(v).argmax(-2, keepdims=True), -2) if v.size else v[..., :1, :]
    return np.where(best < 0, -1, 1)


def eigh(sample: Sample):
    x, a = sample.inputs[0], sample.attributes
    w, v = np.linalg.eigh(x.astype(np.float64), "U" if a.get("upper") else "L")
    v = v * signs(v) if a.get("vectors", 1) else np.zeros(0)
    return [w.astype(x.dtype), v.astype(x.dtype)]


def svd(sample: Sample):
    x, a = sample.inputs[0], sample.attributes
    u, s, vh = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    m, n = x.shape[-2:]
    sign = signs(u) if m >= n else signs(vh.swapaxes(-1, -2))
    u, vh = u * sign, vh * sign.swapaxes(-1, -2)
    if not a.get("vectors", 1):
        u = vh = np.zeros(0)
    return [v.astype(x.dtype) for v in (u, s, vh)]


def check_svd(sample: Sample, got) -> None:
    """Full matrices: orthogonal, and their product."""
    x, (u, s, vh) = sample.inputs[0].astype(np.float64), got
    m, n = x.shape[-2:]
    assert u.shape[-2:] == (m, m)
    assert vh.shape[-2:] == (n, n)
    middle = np.zeros(x.shape)
    middle[..., range(min(m, n)), range(min(m, n))] = s
    bound = 100 * np.finfo(got[1].dtype).eps if got[1].dtype in (np.float32, np.float64) else 0.1
    for matrix, want in (
        (u @ middle @ vh, x), (u.swapaxes(-1, -2) @ u, np.eye(m)), (vh @ vh.swapaxes(-1, -2), np.eye(n)),
    ):  # fmt: skip
        np.testing.assert_allclose(matrix, np.broadcast_to(want, matrix.shape), 0, bound * 10)


def exponential(sample: Sample):
    """Scaled until 20 terms of the series are exact."""
    x = sample.inputs[0].astype(np.float64) / 1024
    one = np.eye(x.shape[-1])
    y = term = np.broadcast_to(one, x.shape)
    for k in range(1, 20):
        term = term @ x / k
        y = y + term
    for _ in range(10):
        y = y @ y
    return [y.astype(sample.inputs[0].dtype)]


def factored(d, *shape):
    y, pivots, _ = lu(Sample((regular(d, *shape),)))
    return y, pivots


def reflections(d, *shape):
    return geqrf(Sample((d(*shape, low=-1, high=1),)))


def right(d, shape, columns):
    return d(*shape[:-1], columns)


TRIANGLES = [{"upper": u, "unit": o, "trans": t} for u in (0, 1) for o in (0, 1) for t in (0, 1)]

ROWS = [
    OpInfo("Cholesky", lambda d: [S(positive(d, *s), outputs=2, upper=u) for s in SQUARE for u in (0, 1)],
           LINALG, reference=cholesky, grad=(), tolerance=16,
           big=lambda d: [S(positive(d, 150, 150), outputs=2), S(positive(d, 50, 5, 5), outputs=2)]),
    OpInfo("Lu", lambda d: [S(regular(d, *s), outputs=3) for s in SQUARE]
           + [S(d(*s, low=-1, high=1), outputs=3) for s in SHAPES[7:]]
           + [S(d.scalar([[1, 2], [2, 4]]), outputs=3)],
           LINALG, reference=lu, tolerance=16,
           grad=(0,), grad_samples=lambda d: [S(regular(d, *s), outputs=3) for s in SMALL]
           + [S(spread(d, 4, 2), outputs=3), S(spread(d, 2, 4), outputs=3)],
           big=lambda d: [S(d(150, 130), outputs=3), S(regular(d, 50, 5, 5), outputs=3)]),
    OpInfo("LuPermutation", lambda d: [S(*factored(d, *s), inverse=i) for s in SQUARE for i in (0, 1)]
           + [S(d(*s), lu(Sample((d(*s),)))[1]) for s in ((4, 2), (2, 4))],
           LINALG, reference=lu_permutation, grad=()),
    OpInfo("LuSolve", lambda d: [S(*factored(d, *s), right(d, s, 3), trans=t) for s in SQUARE for t in (0, 1)],
           LINALG, reference=lu_solve, tolerance=16,
           grad=(0, 2), grad_samples=lambda d: [S(*factored(d, *s), right(d, s, 2), trans=t) for s in SMALL for t in (0, 1)],
           big=lambda d: [S(*factored(d, 130, 130), right(d, (130, 130), 40))]),
    OpInfo("Solve", lambda d: [S(regular(d, *s), right(d, s, 3), outputs=4) for s in SQUARE]
           + [S(regular(d, 40, 40), right(d, (40, 40), 1), outputs=4)],
           LINALG, reference=solve, tolerance=16,
           grad=(0, 1), grad_samples=lambda d: [S(regular(d, *s), right(d, s, 2), outputs=4) for s in SMALL],
           big=lambda d: [S(d(130, 130), right(d, (130, 130), 40), outputs=4)]),
    OpInfo("SolveTriangular", lambda d: [S(positive(d, *s), right(d, s, 3), **a) for s in SQUARE for a in TRIANGLES],
           LINALG, reference=solve_triangular, tolerance=16,
           grad=(0, 1), grad_samples=lambda d: [S(positive(d, *s), right(d, s, 2), **a) for s in SMALL for a in TRIANGLES],
           big=lambda d: [S(positive(d, 150, 150), right(d, (150, 150), 40))]),
    OpInfo("Geqrf", lambda d: [S(d(*s), outputs=2) for s in SHAPES], LINALG, reference=geqrf, grad=(), tolerance=16,
           big=lambda d: [S(d(150, 130), outputs=2)]),
    OpInfo("HouseholderProduct", lambda d: [S(*reflections(d, *s)) for s in SHAPES if s[-2] >= s[-1]],
           LINALG, reference=householder_product, tolerance=16,
           grad=(0, 1), grad_samples=lambda d: [S(*reflections(d, *s)) for s in ((3, 3), (2, 3, 2))],
           big=lambda d: [S(*reflections(d, 130, 70))]),
    OpInfo("Qr", lambda d: [S(d(*s), outputs=2, mode=m) for s in SHAPES for m in ("reduced", "complete", "r")],
           LINALG, reference=qr, tolerance=16,
           grad=(0,), grad_samples=lambda d: [S(spread(d, *s), outputs=2) for s in ((3, 3), (4, 2), (2, 4), (2, 2, 2))],
           big=lambda d: [S(d(150, 130), outputs=2)]),
    OpInfo("Eigh", lambda d: [S(symmetric(d, *s), outputs=2, **a) for s in SQUARE
                              for a in ({}, {"upper": 1}, {"vectors": 0})],
           LINALG, reference=eigh, grad=(), tolerance=64,
           big=lambda d: [S(symmetric(d, 150, 150), outputs=2)]),
    OpInfo("Svd", lambda d: [S(spread(d, *s), outputs=3, **a) for s in SHAPES for a in ({}, {"vectors": 0})],
           LINALG, reference=svd, tolerance=64,
           grad=(0,), grad_samples=lambda d: [S(spread(d, *s), outputs=3) for s in ((3, 3), (4, 2), (2, 4), (2, 2, 2))],
           big=lambda d: [S(spread(d, 150, 130), outputs=3)]),
    OpInfo("Svd", lambda d: [S(spread(d, *s), outputs=3, full_matrices=1) for s in SHAPES[:-2]],
           LINALG, variant="full", check=check_svd, tolerance=64, grad=()),
    OpInfo("MatrixExp", lambda d: [S(d(*s, low=-1, high=1)) for s in SQUARE] + [S(d(4, 4))],
           LINALG, reference=exponential, tolerance=64,
           grad=(0,), grad_samples=lambda d: [S(d(*s, low=-1, high=1)) for s in SMALL],
           big=lambda d: [S(d(70, 70, low=-0.2, high=0.2))]),
]  # fmt: skip
