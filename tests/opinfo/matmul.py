"""MatMul, Gemm and what is built like them."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import NUMBERS, OpInfo, S, Sample

MATMUL = (
    ((1, 1), (1, 1)), ((7, 17), (17, 7)), ((65, 3), (3, 65)), ((1, 65), (65, 17)), ((17, 65), (65, 1)),
    ((6, 16), (16, 16)), ((13, 33), (33, 49)),
    ((5,), (5,)), ((5,), (5, 3)), ((3, 5), (5,)), ((2, 3, 5), (5,)), ((5,), (2, 5, 3)),
    ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 7)),
    ((3, 0), (0, 4)), ((0, 3), (3, 4)), ((3, 4), (4, 0)), ((0, 2, 3), (3, 4)),
)  # fmt: skip


def gemm_samples(d):
    for m, k, n in ((1, 1, 1), (7, 17, 65), (65, 7, 17), (17, 65, 1), (3, 0, 4)):
        for ta, tb in ((0, 0), (0, 1), (1, 0), (1, 1)):
            a, b = d(*((k, m) if ta else (m, k))), d(*((n, k) if tb else (k, n)))
            yield S(a, b, d(n), transA=ta, transB=tb)
    yield S(d(3, 4), d(4, 5))
    yield S(d(3, 4), d(4, 5), d(3, 1))
    yield S(d(3, 4), d(4, 5), d())
    yield S(d(3, 4), d(4, 5), d(1, 5))
    if d.floating:
        yield S(d(3, 4), d(4, 5), d(3, 5), alpha=0.5, beta=-2.0)
        yield S(d(3, 4), d(4, 5), d(1), alpha=1.5, beta=0.0)
        yield S(d(4, 3), d(5, 4), alpha=-1.5, transA=1, transB=1)


def det_samples(d):
    for shape in ((1, 1), (2, 2), (7, 7), (3, 4, 4), (2, 3, 3, 3), (0, 3, 3), (2, 0, 0), (40, 40)):
        x = d(*shape, low=-1, high=1)
        yield S(x + np.eye(shape[-1], dtype=x.dtype) * 2)
    yield S(d.scalar([[0, 2, 1], [1, 0, 3], [2, 1, 0]]))
    yield S(d.scalar([[1, 2], [2, 4]]))


def det(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    return [np.asarray(np.linalg.det(x.astype(np.float64))).astype(x.dtype)]


# Regular; singular of rank n - 1, which still has a gradient; and of rank n - 2, which has none.
SINGULAR = ([[1, 2], [2, 4]], [[1, 2, 3], [4, 5, 6], [5, 7, 9]], [[1, 2, 3], [2, 4, 6], [3, 6, 9]], [[0]],
            [[0, 0], [0, 0]], [[0, 0, 1], [0, 0, 2], [3, 0, 0]])  # fmt: skip


def det_grad_samples(d):
    for shape in ((1, 1), (2, 2), (5, 5), (3, 2, 2), (2, 2, 3, 3), (0, 2, 2), (2, 0, 0), (17, 17)):
        yield S(d(*shape, low=-1, high=1), d(*shape[:-2]))
    for matrix in SINGULAR:
        yield S(d.scalar(matrix), d())


def det_grad(sample: Sample) -> list[np.ndarray]:
    """Cofactors by their definition."""
    x, dy = sample.inputs
    dx = np.zeros(x.shape)
    for i, j in np.ndindex(x.shape[-2:]):
        minor = np.delete(np.delete(x.astype(np.float64), i, -2), j, -1)
        dx[..., i, j] = (-1) ** (i + j) * np.linalg.det(minor) * dy
    return [dx.astype(x.dtype)]


EINSUM = (
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,jk", (17, 7), (7, 9)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhqd,bkhd->bhqk", (2, 3, 4, 5), (2, 6, 3, 5)), ("bhqk,bkhd->bqhd", (2, 3, 4, 6), (2, 6, 3, 5)),
    ("ii->i", (4, 4)), ("ii", (4, 4)), ("...ii->...i", (2, 3, 3)), ("iij,jk->ik", (3, 3, 4), (4, 5)),
    ("ij->ji", (3, 4)), ("ij->", (3, 4)), ("ij->j", (3, 4)), ("i,j->ij", (3,), (4,)), ("i,i->", (5,), (5,)),
    ("i,i->i", (5,), (5,)), ("ij,ji->ij", (3, 4), (4, 3)), ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 6)),
    ("i...->...", (3, 2, 4)), ("ij,jk,kl->il", (3, 4), (4, 5), (5, 6)), ("a,b,c->abc", (2,), (3,), (4,)),
    ("abc,cd,bd->a", (2, 3, 4), (4, 5), (3, 5)), ("ij,k->ik", (3, 4), (5,)), ("aB,Bc", (3, 4), (4, 2)),
    ("ij,jk->ik", (3, 0), (0, 5)), ("ij,jk->ik", (0, 3), (3, 5)), (",i->i", (), (3,)), ("->", ()),
    (" i j , j k -> k i ", (3, 4), (4, 5)), ("ji,kj->ik", (3, 4), (5, 3)),
)  # fmt: skip


def einsum_grad_samples(d):
    """Onnxruntime wants ellipses of one rank."""
    yield from (
        s
        for s in einsum_samples(d)
        if len({x.ndim for x in s.inputs}) == 1 or "..." not in s.attributes["equation"]
    )


def einsum_samples(d):
    for equation, *shapes in EINSUM:
        yield S(*(d(*shape) for shape in shapes), equation=equation)


def einsum(sample: Sample) -> list[np.ndarray]:
    """As numpy; half precision is summed in float64."""
    x = sample.inputs
    wide = [v if v.dtype.kind in "iu" else v.astype(np.float64) for v in x]
    equation = sample.attributes["equation"].replace(" ", "")
    return [np.asarray(np.einsum(equation, *wide)).astype(x[0].dtype)]


ROWS = [
    OpInfo("MatMul", lambda d: [S(d(*a), d(*b)) for a, b in MATMUL], dtypes=NUMBERS, tolerance=4,
           big=lambda d: [S(d(130, 300), d(300, 131)), S(d(1, 1025), d(1025, 517)),
                          S(d(3, 65, 70), d(3, 70, 33))]),
    OpInfo("Einsum", einsum_samples, dtypes=NUMBERS, reference=einsum, why="half precision", tolerance=4,
           grad_samples=einsum_grad_samples,
           big=lambda d: [S(d(3, 65, 4, 33), d(3, 70, 4, 33), equation="bqhd,bkhd->bhqk"),
                          S(d(1000, 70), d(1000, 70), equation="bi,bi->b")]),
    OpInfo("Einsum", lambda d: [S(d(3, 4), d(4), equation="...i,...i->..."), S(d(4), d(2, 3, 4), equation="...i,...i")],
           variant="ranks", tolerance=4, ort="wants ellipses of one rank"),
    OpInfo("Det", det_samples, reference=det, why="half precision", tolerance=8,
           grad_samples=lambda d: [S(d(*s, low=-1, high=1)) for s in ((1, 1), (2, 2), (2, 3, 3), (4, 4), (0, 2, 2))]
           + [S(d.scalar([[1, 2], [2, 4]]))],
           big=lambda d: [S(d(130, 130, low=-0.1, high=0.1)), S(d(99, 5, 5))]),
    OpInfo("DetGrad", det_grad_samples, "toolkit.grad", reference=det_grad, grad=(0, 1), tolerance=8,
           grad_samples=lambda d: [S(d(*s, low=-1, high=1), d(*s[:-2])) for s in ((2, 2), (2, 3, 3))],
           big=lambda d: [S(d(99, 5, 5), d(99))]),
    OpInfo("Gemm", gemm_samples, dtypes=NUMBERS, tolerance=4,
           big=lambda d: [S(d(130, 300), d(131, 300), d(131), transB=1),
                          S(d(300, 70), d(300, 67), d(67), transA=1)]),
]  # fmt: skip
