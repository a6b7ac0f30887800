"""Export of quantization to older opsets: rewritten where they can say it, else refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.io import load_model, to_proto
from toolkit.runtime import InferenceSession

ONE = np.float32(1).reshape(())
X = np.array([[0.4, -3, 99, 7], [-200, 1.5, 2.5, 300]], np.float32)


def model(op_type, source, target, constants, **attributes):
    names = ["x", *(f"c{i}" for i in range(len(constants)))]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", source, [2, 4])],
        [helper.make_tensor_value_info("y", target, [2, 4])],
        [numpy_helper.from_array(v, n) for v, n in zip(constants, names[1:], strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=13)


def export(proto, opset):
    result = to_proto(load_model(proto), opset)
    onnx.checker.check_model(result, full_check=True)
    return result


@pytest.mark.parametrize(
    ("proto", "first"),
    [
        (model("Cast", T.FLOAT, T.FLOAT8E5M2, [], to=T.FLOAT8E5M2), 19),
        (model("Cast", T.FLOAT, T.FLOAT8E5M2, [], to=T.FLOAT8E5M2, saturate=0), 19),
        (model("Cast", T.FLOAT, T.INT4, [], to=T.INT4), 21),
        (model("Cast", T.FLOAT, T.FLOAT4E2M1, [], to=T.FLOAT4E2M1), 23),
        (model("Cast", T.FLOAT, T.FLOAT8E8M0, [], to=T.FLOAT8E8M0, round_mode="down"), 24),
        (model("Cast", T.FLOAT, T.INT2, [], to=T.INT2), 25),
        (model("Cast", T.FLOAT, T.FLOAT6E2M3, [], to=T.FLOAT6E2M3), 28),
        (model("Cast", T.FLOAT, T.BFLOAT16, [], to=T.BFLOAT16), 13),
        (model("QuantizeLinear", T.FLOAT, T.INT4, [ONE, np.zeros((), ml_dtypes.int4)]), 21),
        (
            model("QuantizeLinear", T.FLOAT, T.UINT8, [np.ones((2, 2), np.float32)], block_size=2),
            21,
        ),
        (model("QuantizeLinear", T.FLOAT, T.UINT8, [ONE], precision=T.FLOAT16), 23),
        (model("QuantizeLinear", T.FLOAT, T.UINT8, [np.ones(4, np.float32)]), 13),
        (model("DequantizeLinear", T.INT8, T.FLOAT, [np.ones(4, np.float32)]), 13),
        (model("DequantizeLinear", T.INT8, T.FLOAT16, [ONE], output_dtype=T.FLOAT16), 23),
    ],
    ids=lambda p: (
        f"{p.graph.node[0].op_type}-{p.graph.output[0].type.tensor_type.elem_type}"
        if isinstance(p, onnx.ModelProto)
        else str(p)
    ),
)
def test_what_an_opset_lacks_is_refused(proto, first):
    export(proto, first)
    with pytest.raises(UnsupportedOperatorError, match=f"cannot be exported to opset {first - 1}"):
        export(proto, first - 1)


@pytest.mark.parametrize("opset", (10, 13, 19))
def test_the_output_type_becomes_a_zero_point(opset):
    proto = model("QuantizeLinear", T.FLOAT, T.INT8, [ONE], output_dtype=T.INT8)
    result = export(proto, opset)
    assert len(result.graph.node[0].input) == 3
    want = InferenceSession(proto.SerializeToString()).run(None, {"x": X})[0]
    got = InferenceSession(result.SerializeToString()).run(None, {"x": X})[0]
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, want)
