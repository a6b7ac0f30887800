"""One operator run by our kernel, and by onnx.reference from a model of one node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from toolkit.runtime import _core

OPSET = 28


def run(
    op_type: str,
    inputs: list[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    outputs: int = 1,
    domain: str = "",
) -> list[np.ndarray]:
    """All outputs of our kernel; numpy arrays as attributes become tensors."""
    converted = {
        name: _core.Tensor.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in (attributes or {}).items()
    }
    kernel = _core.Op(domain, op_type, converted)
    tensors = [
        None if x is None else _core.Tensor.from_array(np.ascontiguousarray(x).reshape(x.shape))
        for x in inputs
    ]
    return [None if t is None else t.numpy() for t in kernel.run(tensors, outputs)]


def single_node_model(
    op_type: str,
    inputs: list[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    outputs: int = 1,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model of one node whose inputs are named x0, x1, ... and outputs y0, y1, ..."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    converted = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in (attributes or {}).items()
    }
    node = helper.make_node(op_type, names, [f"y{i}" for i in range(outputs)], **converted)
    graph = helper.make_graph(
        [node],
        op_type,
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in zip(names, inputs, strict=True)
            if x is not None
        ],
        [
            helper.make_tensor_value_info(f"y{i}", TensorProto.UNDEFINED, None)
            for i in range(outputs)
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def reference(
    op_type: str,
    inputs: list[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    outputs: int = 1,
    opset: int = OPSET,
) -> list[np.ndarray]:
    """All outputs of onnx.reference."""
    model = single_node_model(op_type, inputs, attributes, outputs, opset)
    feed = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    return ReferenceEvaluator(model).run(None, feed)


def assert_same(got: list[np.ndarray], want: list[np.ndarray], context: object = "") -> None:
    """Equal shapes, dtypes and every bit of every element (NaNs compare equal)."""
    assert len(got) == len(want), context
    for g, w in zip(got, want, strict=True):
        w = np.asarray(w)
        assert g.dtype == w.dtype, (context, g.dtype, w.dtype)
        assert g.shape == w.shape, (context, g.shape, w.shape)
        np.testing.assert_array_equal(g, w, err_msg=str(context))
