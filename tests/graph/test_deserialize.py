"""Our reading of a parsed file against onnx-ir's."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from toolkit.graph import deserialize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Its cases overflow on purpose.
    CASES = {case.name: case for case in load_model_tests(kind="node")[::9]}


@pytest.mark.parametrize("name", CASES)
def test_cases_of_onnx(name: str) -> None:
    proto = CASES[name].model
    assert written(deserialize.deserialize(proto)) == written(ir.serde.deserialize_model(proto))


def written(model: ir.Model) -> onnx.ModelProto:
    """As a file, in which all numbers are raw data."""
    proto = ir.serde.serialize_model(model)
    nodes = [*proto.graph.node, *(n for f in proto.functions for n in f.node)]
    held = [a.t for n in nodes for a in n.attribute if a.HasField("t")]
    for tensor in [*proto.graph.initializer, *held]:
        if tensor.data_type != TensorProto.STRING:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    return proto


def everything() -> onnx.ModelProto:
    """What a graph without graphs in its nodes can hold."""
    nodes = [
        helper.make_node("Conv", ["x", "w", ""], ["y"], "conv", pads=[1, 1], auto_pad="NOTSET"),
        helper.make_node("Scaler", ["y"], ["z"], domain="ai.onnx.ml", scale=[1.5], offset=[0.5]),
        helper.make_node("Dropout", ["z"], ["out", ""], doc_string="a node"),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(3))),
        helper.make_node("Own", ["c", "s"], ["d"], domain="own", kind="text", names=["a", "b"]),
    ]
    nodes[1].metadata_props.add(key="k", value="v")
    held = [
        numpy_helper.from_array(np.ones((2, 3, 3), np.float32), "w"),
        helper.make_tensor("typed", TensorProto.INT64, [2], [3, 4]),
        helper.make_tensor("s", TensorProto.STRING, [1], [b"a"]),
        helper.make_tensor("narrow", TensorProto.INT4, [3], [1, 2, 3]),
        helper.make_tensor("fed", TensorProto.FLOAT, [], [1.0]),
    ]
    held[0].doc_string = "weights"
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, None])
    image.type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    sequence = helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes,
        "g",
        [image, sequence, helper.make_tensor_value_info("fed", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("out", "d")],
        held,
        doc_string="a graph",
        value_info=[helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 5])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="p", doc_string="m")
    model.metadata_props.add(key="a", value="b")
    return model


def test_all_fields() -> None:
    proto = everything()
    assert deserialize._model(proto)  # Nothing of it is left to onnx-ir.
    assert written(deserialize.deserialize(proto)) == written(ir.serde.deserialize_model(proto))
