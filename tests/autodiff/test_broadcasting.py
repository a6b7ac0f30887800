"""Un-broadcasting: constant axes where shapes are known, decided at run time where not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.autodiff.helpers import check, rand
from toolkit.autodiff.backward import sum_to_shape
from toolkit.graph.build import Builder

SHAPES = [
    ((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (4,)), ((1, 4), (3, 1)), ((2, 3, 4), (3, 1)),
    ((), (3,)), ((2, 1, 4), (1, 3, 1)), ((1,), (5,)), ((0, 3), (1, 3)), ((2, 1), (2, 0)),
]  # fmt: skip


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "functions"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_sums_back_to_each_operand(shapes, dynamic, inline):
    x, y = rand(*shapes[0], low=0.2), rand(*shapes[1], seed=1, low=0.3)
    nodes = [helper.make_node("Div", ["x", "y"], ["z"])]
    check(nodes, {"x": x, "y": y}, lambda x, y: x / y, dynamic=dynamic, inline=inline)


def reduced(have: list[int | str], want: list[int | str]) -> list[str]:
    """The operators that bring a cotangent of one shape to another."""
    values = [
        ir.Value(name=n, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(s))
        for n, s in (("dy", have), ("x", want))
    ]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": 28}, name="g")
    result = sum_to_shape(Builder(graph), values[0], values[0].shape.dims, values[1])
    if result.shape is not None and "SumToShape" not in [n.op_type for n in graph]:
        assert list(result.shape) == list(values[1].shape)
    return [n.op_type for n in graph if n.op_type not in ("Constant", "Shape")]


def test_equal_shapes_need_nothing():
    assert reduced([3, 4], [3, 4]) == []
    assert reduced(["N", 4], ["N", 4]) == []
    assert reduced(["N", "M"], ["N", "M"]) == []


def test_known_axes_are_constants():
    assert reduced([3, 4], [4]) == ["ReduceSum"]
    assert reduced([3, 4], [3, 1]) == ["ReduceSum"]
    assert reduced(["N", 4], [4]) == ["ReduceSum"]
    assert reduced(["N", 4], [1, 4]) == ["ReduceSum"]
    assert reduced([2, 3, 4], [3, 1]) == ["ReduceSum", "Unsqueeze"]
    assert reduced([2, 3], []) == ["ReduceSum"]


def test_unknown_dimensions_are_decided_at_run_time():
    assert reduced(["N", 4], ["M", 4]) == ["SumToShape"]
    assert reduced([3, 4], ["M", 4]) == ["SumToShape"]
    assert reduced([5, 3, 4], ["M", 4]) == ["SumToShape"]


@pytest.mark.parametrize("size", [1, 3])
def test_a_symbolic_dimension_may_be_one(size):
    node = helper.make_node("Mul", ["x", "y"], ["z"])
    feeds = {"x": rand(3, 4), "y": rand(size, 4, seed=2)}
    graded = check(node, feeds, lambda x, y: x * y, dynamic=True, inline=False)
    assert any(n.op_type.startswith("SumToShape") for n in graded.graph.node)


def test_operands_of_three():
    node = helper.make_node("Where", ["c", "x", "y"], ["z"])
    feeds = {"c": np.array([[True], [False], [True]]), "x": rand(4), "y": rand(2, 1, 1)}

    def reference(c, x, y):
        import torch

        return torch.where(c, x, y)

    for dynamic in (False, True):
        check(node, feeds, reference, dynamic=dynamic)
