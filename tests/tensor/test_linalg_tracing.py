"""Linear algebra traced with symbolic sizes: our runtime and onnxruntime agree at two of them."""

import numpy as np
import onnx
import pytest
from against import data

import toolkit as tk
from toolkit.graph.io import to_proto
from toolkit.runtime import InferenceSession
from toolkit.tracing import Trace

SIZES = ((2, 3, 5), (3, 5, 2))  # Batch b, rows n, columns k.


def regular(x):
    """Square matrices with singular values that are well apart."""
    return x + tk.arange(x.shape[-1]).to(x.dtype).unsqueeze(-1) * 0.0 + eye(x) * 3


def eye(x):
    steps = tk.arange(x.shape[-1])
    return (steps.unsqueeze(-1) == steps).to(x.dtype) * (steps + 1).to(x.dtype)


def positive(x):
    return x @ x.mT + eye(x)


# s (b, n, n), t (b, n, k), v (b, n).
EXPRESSIONS = """
L.cholesky(positive(s)); L.cholesky(positive(s), upper=True); L.cholesky_ex(positive(s))
L.lu_factor(s); L.lu(s); L.lu(t); L.lu_solve(*L.lu_factor(s), t); tk.lu_unpack(*L.lu_factor(t))
L.lu_solve(*L.lu_factor(s), t, adjoint=True); L.solve(s, t); L.solve(s, v.unsqueeze(-1))
L.solve(s, t.mT, left=False); L.solve(s[0], t); L.inv(s); L.det(s); L.slogdet(s)
tk.logdet(positive(s)); L.solve_triangular(s, t, upper=True)
L.solve_triangular(s, t.mT, upper=False, left=False)
L.solve_triangular(s, t, upper=False, unitriangular=True)
tk.cholesky_solve(t, L.cholesky(positive(s))); tk.cholesky_inverse(L.cholesky(positive(s)))
tk.triangular_solve(t, s, transpose=True).solution; L.qr(t); L.qr(t, 'complete'); L.qr(t, 'r')
tk.geqrf(t); L.householder_product(*tk.geqrf(s)); L.eigh(positive(s)); L.eigvalsh(positive(s))
L.eigvalsh(positive(s), 'U'); L.svd(s); L.svd(t, False); L.svdvals(t); L.matrix_norm(t, 2)
L.matrix_norm(t, 'nuc'); L.matrix_norm(t, 1); L.matrix_norm(t); L.cond(s); L.cond(s, 1)
L.pinv(t, rtol=1e-4); L.lstsq(t, t, rcond=1e-4).solution
L.matrix_rank(t, rtol=1e-4); L.matrix_exp(s * 0.3); L.matrix_power(s, 3)
L.matrix_power(s, -2); L.matrix_power(s, 0); L.multi_dot([s[0], s[1], t[0]]); L.vander(v, N=4)
L.vecdot(s, s); L.vector_norm(t, 3); L.vector_norm(t, dim=1); L.norm(t[0], 1)
L.tensorsolve(s[0], v[0]); tk.kron(s[0], t[0]); tk.tensordot(s, t, ([2, 0], [1, 0]))
tk.inner(s, v); tk.cdist(t, t[:, :1]); tk.cdist(s, s, 1.0); tk.pdist(t[0], 1.0); tk.dist(s, s * 2)
tk.renorm(t, 2, 1, 1.0); tk.addbmm(t[0], s, t, beta=2); tk.baddbmm(t, s, t)
tk.addmv(v[0], s[0], v[1]); tk.addr(s[0], v[0], v[1]); tk.addmm(t[0], s[0], t[1], alpha=2)
tk.vdot(v[0], v[1]); tk.block_diag(s[0], t[0]); tk.einsum('bij,bjk->ik', s, t)
tk.einsum('...ij,...j->...i', s, v); tk.einsum(s, [0, 1, 2], [1]); tk.norm(t); tk.norm(t, 1, 1)
tk.norm(t[0], 'nuc'); tk.lu_solve(t, *L.lu_factor(s)); tk.cosine_similarity(s, s * v[0])
"""
CASES = [e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split(";")]


def evaluate(expression, s, t, v):
    names = {"tk": tk, "L": tk.linalg, "positive": positive, "s": regular(s), "t": t, "v": v}
    y = eval(expression, names)
    return list(y) if isinstance(y, tuple) else [y]


@pytest.mark.parametrize("expression", CASES)
def test_expression(expression):
    ort = pytest.importorskip("onnxruntime")
    with Trace() as trace:
        shapes = (["b", "n", "n"], ["b", "n", "k"], ["b", "n"])
        given = [trace.input(n, tk.float32, s) for n, s in zip("stv", shapes, strict=True)]
        proto = to_proto(trace.finish(evaluate(expression, *given)), 21)
    onnx.checker.check_model(proto, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    sessions = [
        ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"]),
        InferenceSession(proto.SerializeToString()),
    ]
    names = {i.name for i in proto.graph.input}
    for b, n, k in SIZES:
        arrays = [data(b, n, n, seed=1), data(b, n, k, seed=2), data(b, n, seed=3)]
        feed = {name: a for name, a in zip("stv", arrays, strict=True) if name in names}
        eager = evaluate(expression, *map(tk.tensor, arrays))
        for session in sessions:
            for mine, got in zip(eager, session.run(None, feed), strict=True):
                assert got.shape == tuple(mine.shape)
                np.testing.assert_allclose(got, mine.numpy(), rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("name", ["eig", "eigvals", "ldl_factor", "ldl_factor_ex"])
def test_what_no_graph_holds_gives_a_reason(name):
    with Trace() as trace, pytest.raises(NotImplementedError, match=r"got a trace.* Use linalg"):
        getattr(tk.linalg, name)(trace.input("x", tk.float32, [3, 3]))


def test_gradients_of_what_runs_eagerly():
    a = tk.tensor(data(4, 4), dtype=tk.float64)
    factors = tk.linalg.ldl_factor(a + a.mT)
    b = tk.randn(4, 2, dtype=tk.float64, requires_grad=True)
    assert tk.autograd.gradcheck(lambda b: tk.linalg.ldl_solve(*factors, b), (b,))
    x = a.clone().requires_grad_()
    assert tk.autograd.gradcheck(
        lambda x: tk.view_as_real(tk.linalg.eigvals(x)).square().sum(), (x,)
    )


def test_a_singular_matrix_has_its_own_error():
    assert issubclass(tk.linalg.LinAlgError, RuntimeError)
    with pytest.raises(tk.linalg.LinAlgError, match=r"Batch element 1.* singular"):
        tk.linalg.solve(tk.stack([tk.eye(2), tk.zeros(2, 2)]), tk.ones(2, 2))
    with pytest.raises(tk.linalg.LinAlgError, match="minor of order 2"):
        tk.linalg.cholesky(tk.tensor([[1.0, 2.0], [2.0, 1.0]]))


def test_a_default_tolerance_needs_sizes():
    with Trace() as trace:
        x = trace.input("x", tk.float32, ["n", "k"])
        with pytest.raises(tk.errors.InvalidArgumentError, match="rtol or known sizes"):
            tk.linalg.pinv(x)
        with pytest.raises(tk.errors.InvalidArgumentError, match="rtol or known sizes"):
            tk.linalg.lstsq(x, x)
        trace.finish([x])
