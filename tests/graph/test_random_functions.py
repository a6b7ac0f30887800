"""The bodies of the random composites: onnxruntime draws what our kernels draw."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from tests.runtime.oracle import run
from toolkit.graph.build import Builder
from toolkit.graph.io import to_proto

STATE = np.array([0xDEADBEEF12345678, 0xFFFFFFFFFFFFFFFF], np.uint64)
CODES = {np.float32: 1, np.float64: 11}


def body_outputs(name, first, attributes, outputs, inline, opset):
    """What onnxruntime computes for one call of a composite; all dimensions are symbolic."""
    dims = [len(first)] if name != "Dropout" else [f"d{i}" for i in range(first.ndim)]
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.from_numpy(first.dtype)))
    x.shape = ir.Shape(dims)
    state = ir.Value(name="state", type=ir.TensorType(ir.DataType.UINT64), shape=ir.Shape([2]))
    graph = ir.Graph([x, state], [], nodes=[], opset_imports={"": 28}, name=name)
    results = Builder(graph).call("toolkit.random", name, [x, state], attributes, outputs)
    for i, value in enumerate(results if outputs > 1 else [results]):
        value.name = f"y{i}"
        graph.outputs.append(value)
    proto = to_proto(ir.Model(graph, ir_version=10), opset=opset, inline=inline)
    domains = {node.domain for node in proto.graph.node}
    assert ("toolkit.random" in domains) != inline
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": first, "state": STATE})


def check(name, first, attributes, outputs, compare, **export):
    export = {"inline": True, "opset": 21, **export}
    got = body_outputs(name, first, attributes, outputs, **export)
    want = run(name, [first, STATE], attributes, outputs, domain="toolkit.random")
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        assert g.dtype == w.dtype
        compare(g, w)


def near(got, want):
    """A few units in the last place of 1: runtimes reduce angles with errors of that size."""
    scale = np.spacing(np.maximum(np.abs(want), 1.0).astype(want.dtype))
    assert np.all(np.abs(got - want) <= 6 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(5, 7, 11), (), (0, 3), (4,)])
def test_dropout(dtype, ratio, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    attributes = {"ratio": ratio, "call": 2}
    check("Dropout", x, attributes, 2, np.testing.assert_array_equal)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (0, 4), (5, 7, 3), (1000,)])
def test_uniform_and_normal(dtype, shape):
    dims, attributes = np.array(shape, np.int64), {"dtype": CODES[dtype], "call": 1}
    check("Uniform", dims, attributes, 1, np.testing.assert_array_equal)
    check("Normal", dims, attributes, 1, near)


@pytest.mark.parametrize(("inline", "opset"), [(False, 21), (True, 18), (False, 18)])
def test_exports(inline, opset):
    x = np.ones((3, 50), np.float32)
    same = np.testing.assert_array_equal
    check("Dropout", x, {"ratio": 0.5}, 2, same, inline=inline, opset=opset)
    check("Uniform", np.array([9]), {}, 1, same, inline=inline, opset=opset)


def test_an_initializer_as_state_is_read_when_it_runs():
    """A state that a program updates must not be folded into the body."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([4]))
    state = ir.Value(name="state", const_value=ir.tensor(STATE, name="state"))
    state.type, state.shape = ir.TensorType(ir.DataType.UINT64), ir.Shape([2])
    graph = ir.Graph([x], [], nodes=[], initializers=[state], opset_imports={"": 28}, name="g")
    y = Builder(graph).call("toolkit.random", "Dropout", [x, state], {"ratio": 0.5})
    y.name = "y"
    graph.outputs.append(y)
    proto = to_proto(ir.Model(graph, ir_version=10), inline=True)
    readers = [n for n in proto.graph.node if "state" in n.input]
    assert [n.op_type for n in readers] == ["Split"]
