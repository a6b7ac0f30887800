"""The linear algebra of the namespace: numpy's numbers, or what defines a decomposition."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit.array_api as xp
from tests.array_api.oracle import ours, same

SHAPES = [(3, 3), (2, 4, 4), (1, 1), (2, 0, 3, 3)]
SCALE = 1e4  # Condition numbers of the matrices drawn here are below it.


def matrices(shape, dtype="float64"):
    return np.random.default_rng(5).standard_normal(shape).astype(dtype)


def symmetric(shape):
    x = matrices(shape)
    return x + np.swapaxes(x, -1, -2)


def positive(shape):
    x = matrices(shape)
    return x @ np.swapaxes(x, -1, -2) + 2 * np.eye(shape[-1])


def check(name, *given, scale=SCALE, **options):
    wanted = getattr(np.linalg, name)(*given, **options)
    same(getattr(xp.linalg, name)(*map(ours, given), **options), wanted, scale)


@pytest.mark.parametrize("shape", SHAPES)
def test_square(shape):
    x = positive(shape)
    for name in ("det", "inv", "slogdet", "cholesky"):
        check(name, x)
    same(xp.linalg.cholesky(ours(x), upper=True), np.linalg.cholesky(x, upper=True), SCALE)
    check("eigvalsh", symmetric(shape))
    check("solve", x, matrices((*shape[:-1], 2)))
    check("solve", x, matrices(shape[-1:]))
    for n in (-2, 0, 1, 3):
        check("matrix_power", x / 4, n)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 5)])
def test_any_matrix(shape):
    x = matrices(shape)
    for name in ("svdvals", "pinv", "matrix_rank", "diagonal", "trace", "matrix_transpose"):
        check(name, x)
    check("diagonal", x, offset=1)
    check("trace", x, offset=-1)
    for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        check("matrix_norm", x, ord=order)
        check("matrix_norm", x, ord=order, keepdims=True)
    assert xp.linalg.matrix_rank(xp.ones((3, 3))).item() == 1


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 5)])
def test_decompositions(shape):
    x = matrices(shape)
    for mode in ("reduced", "complete"):
        q, r = xp.linalg.qr(ours(x), mode=mode)
        wanted = np.linalg.qr(x, mode)
        assert (tuple(q.shape), tuple(r.shape)) == tuple(w.shape for w in wanted)
        same(q @ r, x, SCALE)
        same(q.mT @ q, np.broadcast_to(np.eye(q.shape[-1]), q.mT.shape[:-1] + q.shape[-1:]), SCALE)
        same(r, np.triu(r.numpy()))
    for full in (True, False):
        u, s, vh = xp.linalg.svd(ours(x), full_matrices=full)
        wanted = np.linalg.svd(x, full)
        assert [tuple(t.shape) for t in (u, s, vh)] == [w.shape for w in wanted]
        same(s, wanted[1], SCALE)
        k = s.shape[-1]
        same((u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], x, SCALE)
    if shape[-1] == shape[-2]:
        y = symmetric(shape)
        values, vectors = xp.linalg.eigh(ours(y))
        same(values, np.linalg.eigvalsh(y), SCALE)
        same((vectors * values.unsqueeze(-2)) @ vectors.mT, y, SCALE)
    fields = [t._fields for t in (xp.linalg.qr(ours(x)), xp.linalg.svd(ours(x)))]
    assert fields == [("Q", "R"), ("U", "S", "Vh")]
    assert xp.linalg.slogdet(xp.eye(2))._fields == ("sign", "logabsdet")
    assert xp.linalg.eigh(xp.eye(2))._fields == ("eigenvalues", "eigenvectors")


def test_vectors():
    x, y = matrices((2, 3)), matrices((4, 3))[:2]
    check("cross", x, y)
    check("cross", x.T, y.T, axis=0)
    check("cross", x, y[0])
    same(xp.linalg.vector_norm(ours(x), axis=()), np.abs(x), SCALE)
    check("outer", x[0], y[1])
    check("vecdot", x, y)
    check("tensordot", x, y.T, axes=1)
    check("matmul", x, y.T)
    for order in (0, 1, 2, 3.5, -1, np.inf, -np.inf):
        for axis in (None, 0, (0, 1)):
            for keepdims in (False, True):
                check("vector_norm", x, ord=order, axis=axis, keepdims=keepdims)
    with pytest.raises(ValueError, match="vectors are required"):
        xp.linalg.outer(xp.ones((2, 2)), xp.ones(2))
    assert xp.linalg.trace(xp.eye(3, dtype=xp.uint8)).dtype is xp.uint64


def test_types():
    x = matrices((3, 3), "float32")
    for name in ("inv", "det", "svdvals", "pinv", "trace", "vector_norm"):
        assert getattr(xp.linalg, name)(ours(x)).dtype is xp.float32
