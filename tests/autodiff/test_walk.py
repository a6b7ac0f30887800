"""The reverse walk: what it computes, what it leaves out, what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper

from tests.autodiff.helpers import check, model_of, rand, run
from toolkit.autodiff import grad_model, gradients
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.graph.build import Builder
from toolkit.graph.io import load_model

node = helper.make_node


def graph_of(*inputs: tuple[str, ir.DataType, list[int | str]]) -> tuple[ir.Graph, Builder]:
    values = [
        ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        for name, dtype, shape in inputs
    ]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": 28}, name="g")
    return graph, Builder(graph)


def op_types(graph: ir.Graph) -> list[str]:
    return [n.op_type for n in graph]


def test_cotangents_of_several_uses_are_added():
    check(
        [
            node("Mul", ["x", "x"], ["a"]),
            node("Sin", ["x"], ["b"]),
            node("Add", ["a", "b"], ["c"]),
            node("Sub", ["c", "x"], ["y"]),
        ],
        {"x": rand(3, 4)},
        lambda x: x * x + x.sin() - x,
    )


def test_many_uses_are_one_sum():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3]))
    x = graph.inputs[0]
    outs = [b.Neg(x) for _ in range(5)]
    dy = b.const([1.0, 1.0, 1.0])
    before = len(graph)
    gradients(graph, outs, [dy] * 5, [x])
    assert op_types(graph)[before:].count("Sum") == 1
    assert "Add" not in op_types(graph)[before:]


def test_an_output_given_twice_counts_twice():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3]), ("d", ir.DataType.FLOAT, [3]))
    x, d = graph.inputs
    y = b.Identity(x)
    (dx,) = gradients(graph, [y, y], [d, d], [x])
    assert dx is not None and dx.producer().op_type == "Add"


def test_only_what_is_wanted_is_computed():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3, 4]), ("w", ir.DataType.FLOAT, [4, 5]))
    x, w = graph.inputs
    side = b.Exp(x)
    y = b.MatMul(b.Tanh(x), w)
    dy = b.const(np.ones((3, 5), np.float32))
    before = len(graph)
    dx, dw = gradients(graph, [y], [dy], [x, w])
    assert dx is not None and dw is not None
    added = len(graph) - before
    graph2, b2 = graph_of(("x", ir.DataType.FLOAT, [3, 4]), ("w", ir.DataType.FLOAT, [4, 5]))
    x2, w2 = graph2.inputs
    y2 = b2.MatMul(b2.Tanh(x2), w2)
    dy2 = b2.const(np.ones((3, 5), np.float32))
    before = len(graph2)
    gradients(graph2, [y2], [dy2], [w2])
    assert op_types(graph2)[before:] == ["Gemm"] and added > 1
    assert side.producer().graph is graph and side.uses() == ()


def test_no_zeros_are_made_for_outputs_without_cotangent():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [4]))
    x = graph.inputs[0]
    first, second = b.Sin(x), b.Cos(x)
    before = len(graph)
    dx = gradients(graph, [first, second], [b.const(np.ones(4)), None], [x])[0]
    assert dx is not None
    assert "ConstantOfShape" not in op_types(graph)[before:]
    assert op_types(graph)[before:].count("Sin") == 0


def test_no_path_gives_none():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [4]), ("z", ir.DataType.FLOAT, [4]))
    x, z = graph.inputs
    y = b.Floor(b.Mul(x, 2.0))
    w = b.cast(b.cast(x, ir.DataType.INT64), ir.DataType.FLOAT)
    before = len(graph)
    assert gradients(graph, [y, w], [x, x], [x, z]) == [None, None]
    assert len(graph) == before


def test_by_values_in_between():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [4]), ("d", ir.DataType.FLOAT, [4]))
    x, d = graph.inputs
    h = b.Sin(x)
    y = b.Mul(h, h)
    dh, dx, dy = gradients(graph, [y], [d], [h, x, y])
    assert dy is d
    assert dh is not None and dx is not None
    assert any(u.node is dx.producer() for u in dh.uses())


def test_results_know_their_shape_and_type():
    graph, b = graph_of(("x", ir.DataType.DOUBLE, ["N", 3]), ("w", ir.DataType.DOUBLE, [3, 5]))
    x, w = graph.inputs
    y = b.Softmax(b.MatMul(x, w), axis=-1)
    dx, dw = gradients(graph, [y], [y], [x, w])
    for value, d in ((x, dx), (w, dw)):
        assert d is not None and d.dtype == value.dtype and d.shape == value.shape


def test_learned_values_are_not_folded():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3]))
    p = ir.Value(name="p", const_value=ir.tensor(np.array(2.0, np.float32), name="p"))
    p.type, p.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
    graph.register_initializer(p)
    y = b.Pow(graph.inputs[0], p)
    before = len(graph)
    gradients(graph, [y], [y], [graph.inputs[0], p])
    assert "Pow" in op_types(graph)[before:]


def test_a_call_of_a_model_function_is_differentiated_through_its_body():
    function = helper.make_function(
        "local",
        "ScaledTanh",
        ["a"],
        ["b"],
        [
            node("Constant", [], ["k"], value_float=0.0),
            node("Tanh", ["a"], ["t"]),
            node("Elu", ["t"], ["e"]),
            node("Add", ["e", "k"], ["b"]),
        ],
        [helper.make_opsetid("", 21)],
        ["alpha"],
    )
    function.node[0].attribute[0].CopyFrom(
        onnx.AttributeProto(name="value_float", type="FLOAT", ref_attr_name="alpha")
    )
    x = rand(3, 4)
    model = helper.make_model(
        helper.make_graph(
            [node("ScaledTanh", ["x"], ["y"], domain="local", alpha=0.5)],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("local", 1)],
        functions=[function],
        ir_version=10,
    )
    got = run(grad_model(model, ["x"], inline=True), {"x": x, "d_y": np.ones_like(x)})
    t = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.elu(t.tanh()) + 0.5
    y.sum().backward()
    np.testing.assert_allclose(got["y"], y.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["d_x"], t.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_an_operator_without_a_rule_is_named():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3, 3]))
    y = b.call("custom", "Trace", [graph.inputs[0]])
    y.producer().name = "sum"
    with pytest.raises(UnsupportedOperatorError, match=r"^custom.Trace 'sum': a gradient rule or"):
        gradients(graph, [y], [y], [graph.inputs[0]])


def test_the_nearest_operator_is_offered():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3]))
    y = b.call("custom", "Sigmoids", [graph.inputs[0]])
    with pytest.raises(UnsupportedOperatorError, match=r"custom\.Sigmoids .* got neither"):
        gradients(graph, [y], [y], [graph.inputs[0]])


def test_as_many_cotangents_as_outputs():
    graph, b = graph_of(("x", ir.DataType.FLOAT, [3]))
    y = b.Sin(graph.inputs[0])
    with pytest.raises(InvalidArgumentError, match="one cotangent for each output"):
        gradients(graph, [y], [], [graph.inputs[0]])


def test_dropout_gets_a_mask_unless_the_node_ran():
    feeds = {"x": rand(200)}
    nodes = [node("Dropout", ["x", "r", "t"], ["y"], seed=3)]
    scalars = {"r": np.array(0.25, np.float32), "t": np.array(True)}
    model = model_of(nodes, feeds, ["y"], initializers=scalars)
    got = run(grad_model(model, ["x"]), {**feeds, "d_y": np.ones(200, np.float32)})
    np.testing.assert_allclose(got["d_x"] * feeds["x"], got["y"], rtol=1e-5)
    graph = load_model(model).graph
    y = graph.outputs[0]
    with pytest.raises(UnsupportedOperatorError, match="mask"):
        gradients(graph, [y], [y], [graph.inputs[0]], fixed=True)
