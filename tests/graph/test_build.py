"""`Builder`: element types, shapes, constants, folding."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from toolkit.errors import InvalidArgumentError
from toolkit.graph.build import Builder, arithmetic, constant_of, mark_variable

T = ir.DataType


def graph_of(**inputs: tuple[ir.DataType, list[int | str]]) -> tuple[ir.Graph, Builder]:
    values = [
        ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        for name, (dtype, shape) in inputs.items()
    ]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": 21}, name="g")
    return graph, Builder(graph)


def dims(value: ir.Value) -> list[int | str | None]:
    return [d if isinstance(d, int) else d.value for d in value.shape]


@pytest.mark.parametrize("dtype", [T.FLOAT, T.DOUBLE, T.FLOAT16, T.INT64, T.INT32])
def test_numbers_take_the_other_operands_type(dtype):
    graph, b = graph_of(x=(dtype, [3]))
    y = b.Add(x := graph.inputs[0], 1)
    assert y.dtype == dtype and constant_of(y.producer().inputs[1]).dtype == dtype.numpy()
    assert constant_of(y.producer().inputs[1]).shape == ()
    assert b.Where(b.Greater(x, 2), x, 0).dtype == dtype
    assert b.Sub(1, x).producer().inputs[1] is x


def test_element_types():
    graph, b = graph_of(x=(T.DOUBLE, [2, 3]), i=(T.INT32, [3]))
    x, i = graph.inputs
    assert b.Equal(x, x).dtype == T.BOOL
    assert b.ArgMax(x).dtype == T.INT64
    assert b.Cast(x, to=int(T.FLOAT)).dtype == T.FLOAT
    assert b.CastLike(i, x).dtype == T.DOUBLE
    assert [v.dtype for v in b.TopK(x, [2], _outputs=2)] == [T.DOUBLE, T.INT64]
    assert [v.dtype for v in b.MaxPool(x, kernel_shape=[1], _outputs=2)] == [T.DOUBLE, T.INT64]
    assert b.zeros(b.shape(x), T.FLOAT16).dtype == T.FLOAT16
    assert b.Pow(x, i).dtype == T.DOUBLE
    assert b.cast(x, T.DOUBLE) is x


def test_shapes():
    graph, b = graph_of(x=(T.FLOAT, ["N", 3]), w=(T.FLOAT, [3, 5]))
    x, w = graph.inputs
    y = b.MatMul(x, w)
    assert dims(y) == ["N", 5]
    assert dims(b.Add(y, 1.0)) == ["N", 5]
    assert dims(b.ReduceSum(y, [1], keepdims=0)) == ["N"]
    assert dims(b.ReduceSum(y)) == [1, 1]
    assert dims(b.Transpose(y)) == [5, "N"]
    assert dims(b.Unsqueeze(y, [0, -1])) == [1, "N", 5, 1]
    assert dims(b.Reshape(y, [0, 5, 1])) == ["N", 5, 1]
    assert dims(b.Concat(w, w, axis=0)) == [6, 5]
    assert dims(b.Expand(b.Reshape(w, [3, 1, 5]), [3, 2, 5])) == [3, 2, 5]
    assert dims(b.Softmax(y)) == ["N", 5]


def test_equal_constants_are_one_node():
    graph, b = graph_of(x=(T.FLOAT, [3]))
    x = graph.inputs[0]
    b.Add(b.Mul(x, 2.0), 2.0)
    b.ReduceSum(x, [0])
    b.ReduceMax(x, [0])
    assert [n.op_type for n in graph].count("Constant") == 2
    assert b.const(2) is not b.const(2.0)


def test_small_constants_are_computed_at_once():
    graph, b = graph_of(x=(T.FLOAT, ["N", 4]))
    x = graph.inputs[0]
    assert constant_of(b.dim(x, 1)).tolist() == [4]
    assert constant_of(b.dim(x, 0)) is None
    assert constant_of(b.Concat(b.Mul(b.dim(x, 1), 2), [7], axis=0)).tolist() == [8, 7]
    assert constant_of(b.Slice([1, 2, 3, 4], [3], [-9], [0], [-2])).tolist() == [4, 2]
    assert constant_of(b.Div(b.const(-7), b.const(2))) == -3


def test_learned_values_are_never_constants():
    graph, b = graph_of(x=(T.FLOAT, [3]))
    p = ir.Value(name="p", const_value=ir.tensor(np.ones(3, np.float32), name="p"))
    p.type, p.shape = ir.TensorType(T.FLOAT), ir.Shape([3])
    graph.register_initializer(p)
    assert constant_of(p) is not None
    mark_variable(p)
    assert constant_of(p) is None
    assert b.Neg(p).producer().op_type == "Neg"


def test_arithmetic():
    graph, b = graph_of(x=(T.FLOAT, [3]))
    x = graph.inputs[0]
    with arithmetic(b):
        y = (1.0 - x) * x / 2.0 + -x
    with pytest.raises(ValueError):
        _ = x + x
    y.name = "y"
    graph.outputs.append(y)
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=10))
    onnx.checker.check_model(model, full_check=True)
    v = np.array([1, 2, 3], np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(session.run(None, {"x": v})[0], (1 - v) * v / 2 - v)


def test_insertion_before_a_node():
    graph, b = graph_of(x=(T.FLOAT, [3]))
    last = b.Neg(graph.inputs[0]).producer()
    b.before = last
    b.Abs(graph.inputs[0])
    assert [n.op_type for n in graph] == ["Abs", "Neg"]


def test_an_unknown_element_type_is_refused():
    graph = ir.Graph([ir.Value(name="x")], [], nodes=[], opset_imports={"": 21}, name="g")
    with pytest.raises(InvalidArgumentError, match=r"Builder\.Add: the element type of 'x'"):
        Builder(graph).Add(graph.inputs[0], 1.0)
