"""MatMul, Gemm and what is built like them."""

from __future__ import annotations

from tests.opinfo.core import NUMBERS, OpInfo, S

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


ROWS = [
    OpInfo("MatMul", lambda d: [S(d(*a), d(*b)) for a, b in MATMUL], dtypes=NUMBERS, tolerance=4,
           big=lambda d: [S(d(130, 300), d(300, 131)), S(d(1, 1025), d(1025, 517)),
                          S(d(3, 65, 70), d(3, 70, 33))]),
    OpInfo("Gemm", gemm_samples, dtypes=NUMBERS, tolerance=4,
           big=lambda d: [S(d(130, 300), d(131, 300), d(131), transB=1),
                          S(d(300, 70), d(300, 67), d(67), transA=1)]),
]  # fmt: skip
