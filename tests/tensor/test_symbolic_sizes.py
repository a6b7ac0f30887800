"""Sizes that are known when a graph runs: sliced, counted, reshaped by; none is specialised."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from against import data

import toolkit as tk
from toolkit.errors import InvalidArgumentError
from toolkit.graph.io import to_proto
from toolkit.runtime import InferenceSession
from toolkit.tracing import Trace

TABLE = tk.tensor(data(1, 32, 4, seed=5))


def traced(f, *shapes):
    """The model of `f` and its outputs' dimensions."""
    with Trace() as t:
        xs = [t.input(f"x{i}", tk.float32, s) for i, s in enumerate(shapes)]
        y = f(*xs)
        proto = to_proto(t.finish(list(y) if isinstance(y, (tuple, list)) else [y]))
    dims = [
        [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim]
        for o in proto.graph.output
    ]
    return proto, dims


def arrays(shapes, sizes):
    return [data(*(sizes.get(d, d) for d in shape), seed=i) for i, shape in enumerate(shapes)]


def check(f, *shapes, sizes=({"b": 2, "l": 5, "m": 3}, {"b": 3, "l": 8, "m": 2})):
    """Eager, our session and onnxruntime agree at two choices of the sizes."""
    ort = pytest.importorskip("onnxruntime")
    proto, dims = traced(f, *shapes)
    onnx.checker.check_model(proto, full_check=True)
    ours = InferenceSession(proto.SerializeToString())
    theirs = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    used = {v.name for v in theirs.get_inputs()}
    for chosen in sizes:
        given = arrays(shapes, chosen)
        eager = f(*map(tk.tensor, given))
        eager = list(eager) if isinstance(eager, (tuple, list)) else [eager]
        feed = {f"x{i}": a for i, a in enumerate(given) if f"x{i}" in used}
        for mine, a, b in zip(eager, ours.run(None, feed), theirs.run(None, feed), strict=True):
            assert a.shape == b.shape == tuple(mine.shape)
            np.testing.assert_allclose(a, mine.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    return dims


X, Y = ("b", "l", 4), ("b", "m", 4)
# Expression of x (b, l, 4) and y (b, m, 4): the dimensions of its outputs; None: any.
CASES = {
    "x[:, : y.shape[1]]": [["b", "m", 4]],
    "x[:, -y.shape[1] :]": None,
    "x[:, y.shape[1] :]": [["b", "(l - m)", 4]],
    "x[:, x.shape[1] // 2 :]": None,
    "x[:, 1:]": [["b", "(l - 1)", 4]],
    "x[:, :-1]": [["b", "(l - 1)", 4]],
    "x[:, 1:-1]": [["b", "(l - 2)", 4]],
    "x[:, : y.shape[1] : 2]": None,
    "x[:, x.shape[1] - 1]": [["b", 4]],
    "x[:, : x.shape[1] - 1] + x[:, 1:]": [["b", "(l - 1)", 4]],
    "x[:, : (y[0, :, 0] == y[0, :, 0]).sum()]": None,
    "TABLE[:, : x.shape[1]] + x": [["b", "l", 4]],
    "x.narrow(1, 0, y.shape[1])": [["b", "m", 4]],
    "x.narrow(1, 1, y.shape[1])": [["b", "m", 4]],
    "x.narrow(1, y.shape[1] - 1, 2)": [["b", 2, 4]],
    "x.select(1, y.shape[1] - 1)": [["b", 4]],
    "tk.arange(x.shape[1])": [["l"]],
    "tk.arange(1, x.shape[1] + 1)": [["l"]],
    "tk.arange(x.shape[1] - 1, -1, -1)": None,
    "tk.arange(x.shape[1]).float()[None, :, None] * x": [["b", "l", 4]],
    "tk.zeros(x.shape[0], x.shape[1])": [["b", "l"]],
    "tk.full((x.shape[1], 2), 3.0)": [["l", 2]],
    "tk.ones(len(x), len(x[0])) * len(x)": [["b", "l"]],
    "x.reshape(len(x) * x.size(1), len([1, 2, 3, 4]))": None,
    "tk.ones(x.shape[1], x.shape[1]).tril()": [["l", "l"]],
    "x.view(x.shape[0], -1, 2, 2)": [["b", "l", 2, 2]],
    "x.view(x.shape[0], x.shape[1], 2, 2).transpose(1, 2)": [["b", 2, "l", 2]],
    "x.view(x.shape[0], -1, 2, 2).transpose(1, 2).reshape(x.shape[0], x.shape[1], 4)":
        [["b", "l", 4]],
    "x.flatten(0, 1).view(x.shape[0], x.shape[1], 4)": [["b", "l", 4]],
    "x[:, None].expand(-1, y.shape[1], -1, -1)": [["b", "m", "l", 4]],
    "x.repeat(2, 1, 1)": [["(b * 2)", "l", 4]],
    "x.repeat_interleave(2, 1)": None,
    "x.roll(1, 1)": [["b", "l", 4]],
    "x.roll(-2, 1)": [["b", "l", 4]],
    "x.split([1, x.shape[1] - 1], 1)": [["b", 1, 4], ["b", "(l - 1)", 4]],
    "x.chunk(2, 1)": None,
    "x.tensor_split(3, 1)": None,
    "x.tensor_split([1, 2], 1)": None,
    "tk.sym_max(x.shape[1], y.shape[1]) * x": [["b", "l", 4]],
    "tk.zeros(tk.sym_min(x.shape[1], y.shape[1]))": [["min(l, m)"]],
    "tk.cat([x, y], 1)[:, : x.shape[1]] - x": [["b", "l", 4]],
    "x.movedim(1, 0)[: y.shape[1]]": [["m", "b", 4]],
    "(x + 0).new_zeros(y.shape[1], 2)": [["m", 2]],
    "x.softmax(1)[:, : y.shape[1]] @ tk.ones(4, 1)": [["b", "m", 1]],
}  # fmt: skip


@pytest.mark.parametrize("expression", CASES)
def test_expression(expression):
    def f(x, y):
        return eval(expression, {"x": x, "y": y, "tk": tk, "TABLE": TABLE})

    dims = check(f, X, Y)
    assert CASES[expression] is None or dims == CASES[expression]


WRITES = [
    "x[:, : y.shape[1]] = 0",
    "x[:, : y.shape[1]] = y",
    "x[:, -y.shape[1] :] = y",
    "x[:, -2:] = 1",
    "x[:, x.shape[1] - 1] = 2",
    "x[:, ::2] = 3",
    "x[:, 1 : y.shape[1] : 2] *= 2",
    "x.narrow(1, 1, y.shape[1]).add_(y)",
    "x[:, 1:-1].zero_()",
]


@pytest.mark.parametrize("statement", WRITES)
def test_write(statement):
    def f(x, y):
        scope = {"x": x * 1, "y": y}
        exec(statement, scope)
        return scope["x"]

    check(f, X, Y)


def test_len_is_pythons_own_outside_and_in_other_threads():
    with Trace() as t:
        x = t.input("x", tk.float32, ("b", 3))
        assert str(len(x)) == "b"
        assert len(x[0]) == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: len(tk.ones(5, 2))).result() == 5
        with pytest.raises(TypeError, match="0-d tensor"):
            len(tk.ones(()))
    assert type(len) is type(abs)
    with pytest.raises(RuntimeError, match="stop"), Trace():
        raise RuntimeError("stop")
    assert type(len) is type(abs)


def test_python_control_flow_is_refused():
    with Trace() as t:
        x = t.input("x", tk.float32, ("b", "l"))
        with pytest.raises(InvalidArgumentError, match="dynamic dimension 'b'"):
            range(len(x))
        with pytest.raises(InvalidArgumentError, match="dynamic dimension 'l'"):
            range(x.shape[1])
        with pytest.raises(InvalidArgumentError, match="must be known in a trace"):
            x.split(2, 1)
        with pytest.raises(InvalidArgumentError, match="dynamic dimension 'b'"):
            x.unbind(0)
