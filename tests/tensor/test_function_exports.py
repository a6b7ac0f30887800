"""Reductions, orders, shapes and scatters in a trace: the same numbers in onnxruntime."""

# ruff: noqa: E501

import numpy as np
import pytest
from test_symbolic_sizes import check, traced

import toolkit as tk
from toolkit.errors import UnsupportedOperatorError

X, Y = ("b", "l", 4), ("b", "m", 4)
CASES = """
x.nansum(1); x.nanmean(0); tk.aminmax(x, dim=1); tk.std_mean(x, 1); tk.var_mean(x); x.cov() if x.dim() < 3 else tk.cov(x[:, 0])
tk.corrcoef(x[0]); tk.dist(x, x * 2); x.renorm(2, 0, 1.5); x.median(1); x.median(); x.nanmedian(2); x.mode(2)[0]; x.mode(1)[0]
x.kthvalue(2, 1); x.quantile(0.3, 1); x.nanquantile(0.3, 1, True); x.quantile(tk.tensor([0.2, 0.7]), 1); x.sort(1); x.argsort(1)
tk.msort(x); x.topk(2, 1); x.cumsum(1); x.cumprod(1); x.cummax(1); x.cummin(1); x.logcumsumexp(1); x.diff(dim=1); x.diff(2, 2)
tk.trapezoid(x, dim=1); tk.cumulative_trapezoid(x, dim=1); tk.gradient(x, dim=1); tk.histc(x, 4); tk.histogram(x, 4)
tk.histogram(x, 4, range=(-1.0, 1.0), density=True); tk.bincount((x[0, 0].abs() * 2).long()); tk.isin(x > 0, tk.tensor([True]))
tk.unravel_index(x.abs().long(), (2, 3)); tk.segment_reduce(x[:, :, 0].flatten()[:4], 'sum', lengths=tk.tensor([1, 3]))
x.any(1); x.all(); (x > 0).sum(1); (x > 0).max(1)[0]; x.amax((0, 2)); x.count_nonzero(1); x.std(1); x.var((1, 2))
x.diagonal(0, 1, 2); x.diagonal(1, 1, 2); x.diagonal(-1, 0, 1); x.diag_embed(); x[:, 0].diag_embed(1, 0, 2); x[0, 0].diagflat(-1)
x.unfold(1, 2, 1); x.unfold(2, 2, 2); x[0].diag(); x.rot90(1, (1, 2)); x.repeat_interleave(tk.tensor([1, 0, 2, 1]), 2)
x.diagonal_scatter(x[:, 0, :1] * 0, 0, 1, 2) if False else x; x.select_scatter(x[:, 0] * 2, 1, 1); x.slice_scatter(x[:, :2] * 3, 1, 0, 2)
tk.block_diag(x[0], x[0, 0]); tk.cartesian_prod(x[0, 0], x[0, 1]); tk.combinations(x[0, 0], 2); tk.dstack((x[0], x[0]))
tk.column_stack((x[:, 0, 0], x[:, :, 0])); tk.atleast_3d(x[0]); tk.meshgrid(x[0, :, 0], x[0, 0]); tk.broadcast_tensors(x[:, :1], x)
x.gather(1, (x > 0).long()); x.scatter_add(1, (x > 0).long(), x); x.scatter_reduce(1, (x > 0).long(), x, 'mean')
x.scatter_reduce(1, (x > 0).long(), x, 'amax', include_self=False); x.index_add(1, tk.tensor([0, 1]), x[:, :2])
x.index_reduce(1, tk.tensor([0, 1]), x[:, :2], 'amin'); x.index_fill(1, tk.tensor([-1, 0]), 2.0); x.take_along_dim(x.argsort(1), 1)
x.masked_scatter(x > 0, x.flip(1)); x.put(tk.tensor([0, 3]), x[0, 0, :2]); tk.nonzero_static(x > 0, size=3); x.masked_select(x[0, 0] > 0)
x[:, tk.tensor([0, 1]), None]; x[tk.tensor([True]).expand(x.shape[0])]; x[:, [0, 1], [1, 2]]; x[(x > 0).any(2)]; x.where(x > 0, 0.0)
x.split([1, 3], 2); x.tensor_split(2, 2); tk.hsplit(x[:, 0], 2); x.squeeze((0, 1)); x.mH
x.bool().any(1); x.int().sum(1); tk.searchsorted(x[0, 0].sort()[0], x); x.softmax(1).logsumexp(1); tk.unflatten(x, 2, (2, 2))
"""
EXPRESSIONS = [e.strip() for line in CASES.strip().splitlines() for e in line.split(";")]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_export(expression):
    def f(x):
        return eval(expression, {"x": x, "tk": tk})

    check(f, X)


WRITES = """
y.diagonal(0, 1, 2).fill_(1); y.unfold(1, 2, 2).mul_(2); y[:, 0].diagonal().add_(1); y.fill_diagonal_(0) if y.dim() == 2 else None
y[:, [0, 1]] = 3; y[y > 0] = 1; y[0, 1:, ::2] = 5; y[:, tk.tensor([0, 1])] = y[:, :2]; y[(y > 0).any(2)] = 2; y.masked_scatter_(y > 0, y * 2)
y.put_(tk.tensor([0, 1]), y[0, 0, :2]); y.index_fill_(1, tk.tensor([0]), 1.0); y.scatter_reduce_(1, (y > 0).long(), y * 1, 'sum')
"""


@pytest.mark.parametrize(
    "statement", [s.strip() for line in WRITES.strip().splitlines() for s in line.split(";")]
)
def test_write(statement):
    def f(x):
        scope = {"y": x * 1, "tk": tk}
        exec(statement, scope)
        return scope["y"]

    check(f, X)


@pytest.mark.parametrize("name", ["uint8", "int32", "int64"])
def test_bytes_as_another_type(name):
    """BitCast came with opset 26, which this onnxruntime does not run."""
    from toolkit.graph.io import to_proto
    from toolkit.runtime import InferenceSession
    from toolkit.tracing import Trace

    with Trace() as t:
        model = t.finish([t.input("x", tk.float32, ("b", 4)).view(getattr(tk, name))])
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    proto = to_proto(model, 28)
    (got,) = InferenceSession(proto.SerializeToString()).run(None, {"x": array})
    np.testing.assert_array_equal(got, array.view(name))
    with pytest.raises(UnsupportedOperatorError, match="opset 26 is required"):
        to_proto(model, 21)


def test_bincount_grows_with_its_input():
    proto, _ = traced(lambda x: tk.bincount(x.long()), ("n",))
    from toolkit.runtime import InferenceSession

    run = InferenceSession(proto.SerializeToString()).run
    for values in ([0, 2, 2], [5, 1, 0, 5]):
        array = np.array(values, np.float32)
        np.testing.assert_array_equal(run(None, {"x0": array})[0], np.bincount(values))
