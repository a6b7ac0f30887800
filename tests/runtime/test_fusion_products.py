"""Products that took over their neighbours against the plain path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import toolkit as tk
from tests.runtime.test_fusion import counts, model_of, plain
from tests.tolerances import assert_close
from toolkit import nn, optim
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep

F, D = TensorProto.FLOAT, TensorProto.DOUBLE


@st.composite
def products(draw):
    """(model, feed): a product of operands as they are or transposed, a bias, what follows."""
    m, k, n = (draw(st.sampled_from([1, 2, 5, 17, 40])) for _ in range(3))
    k = draw(st.sampled_from([k, 300]))
    gemm = draw(st.booleans())
    element = draw(st.sampled_from([F, D, TensorProto.FLOAT16]))
    batch_a = () if gemm else draw(st.sampled_from([(), (3,), (2, 3), (2, 1)]))
    batch_b = () if gemm else draw(st.sampled_from([(), (3,), (2, 3)]))
    swap_a, swap_b = draw(st.booleans()), draw(st.booleans())
    nodes = []
    ends = []
    shapes = {}
    for name, batch, rows, columns, swap in (
        ("a", batch_a, m, k, swap_a),
        ("b", batch_b, k, n, swap_b),
    ):
        shapes[name] = (*batch, *((columns, rows) if swap else (rows, columns)))
        ends.append(f"{name}t" if swap else name)
        if swap:
            rank = len(batch) + 2
            perm = [*range(rank - 2), rank - 1, rank - 2]
            nodes.append(helper.make_node("Transpose", [name], [f"{name}t"], perm=perm))
    flags = {}
    if gemm:
        flags = {"alpha": draw(st.sampled_from([1.0, 0.5]))}
        if m == k:
            flags["transA"] = draw(st.integers(0, 1))
    bias = draw(st.booleans())
    last = "p"
    if gemm:
        nodes.append(helper.make_node("Gemm", [*ends, *(["c"] if bias else [])], ["p"], **flags))
    else:
        nodes.append(helper.make_node("MatMul", ends, ["p"]))
        if bias:
            order = ["p", "c"] if draw(st.booleans()) else ["c", "p"]
            nodes.append(helper.make_node("Add", order, ["q"]))
            last = "q"
    if bias:
        shapes["c"] = (n,)
    op = draw(st.sampled_from(["Relu", "Gelu", "Tanh", "LeakyRelu", "Transpose", ""]))
    if op == "Transpose":
        rank = len(np.broadcast_shapes(batch_a, batch_b)) + 2
        perm = [*range(rank - 2), rank - 1, rank - 2]
        nodes.append(helper.make_node(op, [last], ["y"], perm=perm))
    else:
        nodes.append(helper.make_node(op or "Identity", [last], ["y"]))
    inputs = {name: (element, shape) for name, shape in shapes.items()}
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = helper.tensor_dtype_to_np_dtype(element)
    feed = {x: (rng.standard_normal(s) / k**0.25).astype(dtype) for x, s in shapes.items()}
    return model_of(nodes, inputs, {"y": element}), feed


@settings(max_examples=200, deadline=None)
@given(products())
def test_products_equal_the_plain_path(case):
    model, feed = case
    (want,) = InferenceSession(model, plain()).run(None, feed)
    session = InferenceSession(model)
    for _ in range(2):
        (got,) = session.run(None, feed)
        assert_close(got, want, 8)


def one(*nodes, outputs=("y",), a=(4, 8), b=(8, 6)):
    inputs = {"a": (F, a), "b": (F, b), "c": (F, (6,))}
    return model_of(nodes, inputs, dict.fromkeys(outputs, F))


MATMUL = helper.make_node("MatMul", ["a", "b"], ["p"])
ADD = helper.make_node("Add", ["c", "p"], ["q"])


def test_bias_and_function_join_a_product():
    relu = helper.make_node("Relu", ["q"], ["y"])
    assert counts(one(MATMUL, ADD, relu)) == ["MatMul"]
    gemm = helper.make_node("Gemm", ["a", "b", "c"], ["q"])
    assert counts(one(gemm, relu)) == ["Gemm"]


def test_what_is_read_elsewhere_stays():
    relu = helper.make_node("Relu", ["q"], ["y"])
    assert counts(one(MATMUL, ADD, relu, outputs=("y", "q"))) == ["MatMul", "Relu"]
    assert counts(one(MATMUL, ADD, relu, outputs=("y", "p"))) == ["MatMul", "Elementwise"]


def test_a_bias_of_another_shape_stays():
    add = helper.make_node("Add", ["p", "a"], ["y"])
    assert counts(one(MATMUL, add, a=(6, 6), b=(6, 6))) == ["MatMul", "Add"]


def test_another_transposition_stays():
    transpose = helper.make_node("Transpose", ["a"], ["t"], perm=[1, 0, 2])
    matmul = helper.make_node("MatMul", ["t", "b"], ["y"])
    assert counts(one(transpose, matmul, a=(3, 4, 8))) == ["Transpose", "MatMul"]


def test_linear_of_three_dimensions_never_transposes_its_weight(monkeypatch):
    """Forward, the input's gradient and the weight's, and the same losses as the plain path."""

    def losses():
        tk.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
        step = TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, 5, 8)).astype(np.float32)
        y = rng.standard_normal((2, 5, 4)).astype(np.float32)
        found = [float(step(x, y)[0]) for _ in range(5)]
        program = step._programs["train"].program
        program.enable_profile(True)
        return found, {node["op_type"] for node in program.profile()["nodes"]}

    fused, operators = losses()
    assert "Transpose" not in operators
    monkeypatch.setenv("TOOLKIT_OPT", "0")
    single, operators = losses()
    assert "Transpose" in operators
    np.testing.assert_allclose(fused, single, rtol=1e-5)


@pytest.mark.parametrize("name", ["Nope", "Add"])
def test_a_function_that_there_is_not_is_an_error(name):
    from toolkit.errors import ToolkitError
    from toolkit.runtime import _core

    with pytest.raises(ToolkitError):
        _core.Op("toolkit.fused", "MatMul", {"map": name})
