"""Chains of pointwise and depthwise convolutions against every operator on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from toolkit.errors import ShapeError
from toolkit.runtime import InferenceSession, SessionOptions, _core

BOUND = 6e-6  # Of the largest result: rounding of sums of float32, NUMERICS.md.
ACTIVATIONS = (None, "Relu", "Relu6", "HardSwish", "Sigmoid")


@st.composite
def chains(draw) -> dict[str, Any]:
    """Mostly wide blocks, which are chains; some lack a pointwise convolution or are narrow."""
    wide = draw(st.sampled_from([True, True, True, False]))
    before, after = (
        (True, True)
        if wide
        else draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    )
    kernel = draw(st.sampled_from([3, 5]))
    stride = draw(st.integers(1, 2))
    size = [kernel + draw(st.integers(0, 20)) for _ in range(2)]
    return {
        "channels": [
            draw(st.integers(1, 20)),
            draw(st.integers(40, 70) if wide else st.integers(1, 40)),
            draw(st.integers(1, 20)),
        ],
        "before": before,
        "after": after,
        "kernel": kernel,
        "stride": stride,
        "pads": [draw(st.integers(0, kernel // 2 + 1)) for _ in range(4)],
        "size": size,
        "batch": draw(st.integers(1, 3)),
        "activations": [draw(st.sampled_from(ACTIVATIONS)) for _ in range(3)],
        "bias": draw(st.booleans()),
        "residual": draw(st.booleans()),
    }


def model_of(case: dict[str, Any], rng: np.random.Generator) -> onnx.ModelProto:
    nodes, weights, y = [], {}, "x"

    def convolution(o: int, c: int, kernel: int, activation: str | None, **attributes: Any) -> None:
        nonlocal y
        name = f"conv{len(nodes)}"
        scale = 1 / np.sqrt(c * kernel * kernel)
        weights[f"{name}.w"] = rng.standard_normal((o, c, kernel, kernel)) * scale
        inputs = [y, f"{name}.w"]
        if case["bias"]:
            weights[f"{name}.b"] = rng.standard_normal(o)
            inputs.append(f"{name}.b")
        nodes.append(helper.make_node("Conv", inputs, [name], **attributes))
        y = name
        activate(activation)

    def activate(activation: str | None) -> None:
        nonlocal y
        if activation == "Relu6":
            weights["low"], weights["high"] = np.float32(0), np.float32(6)
            nodes.append(helper.make_node("Clip", [y, "low", "high"], [f"{y}.act"]))
        elif activation:
            nodes.append(helper.make_node(activation, [y], [f"{y}.act"]))
        y = nodes[-1].output[0]

    a, b, c = case["channels"]
    inner = b if case["before"] else a
    if case["before"]:
        convolution(b, a, 1, case["activations"][0])
    depthwise = {"group": inner, "strides": [case["stride"]] * 2, "pads": case["pads"]}
    last = None if case["residual"] and not case["after"] else case["activations"][1]
    convolution(inner, 1, case["kernel"], last, **depthwise)
    if case["after"]:
        convolution(c, inner, 1, None if case["residual"] else case["activations"][2])
    out = c if case["after"] else inner
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", a, *case["size"]])]
    if case["residual"]:
        k, (top, left, bottom, right) = case["kernel"], case["pads"]
        extra = [top + bottom, left + right]
        spatial = [
            (s + p - k) // case["stride"] + 1 for s, p in zip(case["size"], extra, strict=True)
        ]
        shape = [case["batch"], out, *spatial]
        inputs[0] = helper.make_tensor_value_info(
            "x", TensorProto.FLOAT, [case["batch"], a, *case["size"]]
        )
        inputs.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, shape))
        nodes.append(helper.make_node("Add", [y, "r"], ["sum"]))
        y = "sum"
        activate(case["activations"][2])
    graph = helper.make_graph(
        nodes,
        "chain",
        inputs,
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w, np.float32), n) for n, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def feed_of(model: onnx.ModelProto, case: dict[str, Any], rng: np.random.Generator) -> dict:
    shapes = {v.name: v.type.tensor_type.shape.dim for v in model.graph.input}
    return {
        name: rng.standard_normal([d.dim_value or case["batch"] for d in dims]).astype(np.float32)
        for name, dims in shapes.items()
    }


def unfused(model: onnx.ModelProto) -> InferenceSession:
    options = SessionOptions()
    options.graph_optimization_level = 0
    return InferenceSession(model.SerializeToString(), options)


def kernels_of(session: InferenceSession, feed: dict) -> list[str]:
    program = next(iter(session._programs.values())).program
    program.enable_profile(True)
    session.run(None, feed)
    return [row["op_type"] for row in program.profile()["nodes"]]


@given(chains(), st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None)
def test_a_chain_equals_its_operators(case, seed):
    rng = np.random.default_rng(seed)
    model = model_of(case, rng)
    feed = feed_of(model, case, rng)
    session = InferenceSession(model.SerializeToString())
    got, want = session.run(None, feed)[0], unfused(model).run(None, feed)[0]
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= BOUND * max(1.0, np.abs(want).max())
    other = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, feed)[0]
    assert np.abs(got - other).max() <= BOUND * max(1.0, np.abs(other).max())


BLOCK = {
    "channels": [24, 100, 40],
    "before": True,
    "after": True,
    "kernel": 3,
    "stride": 1,
    "pads": [1, 1, 1, 1],
    "size": [31, 27],
    "batch": 1,
    "activations": ["Relu6", "HardSwish", None],
    "bias": True,
    "residual": True,
}


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("change", [{}, {"kernel": 5, "pads": [2, 1, 0, 3]}, {"size": [3, 200]}])
def test_threads_do_not_change_a_bit(rng, threads, change):
    case = BLOCK | change
    model = model_of(case, rng)
    feed = feed_of(model, case, rng)
    session = InferenceSession(model.SerializeToString())
    try:
        _core.set_num_threads(1)
        want = session.run(None, feed)[0]
        assert "ConvChain" in kernels_of(session, feed)
        _core.set_num_threads(threads)
        np.testing.assert_array_equal(session.run(None, feed)[0], want)
    finally:
        _core.set_num_threads(2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(2, 9), (9, 2), (1, 1), (0, 9)])
def test_an_image_smaller_than_the_kernel(rng, size, stride):
    """As a convolution says it; a size of 0 once ended the interpreter."""
    model = model_of(BLOCK | {"pads": [0] * 4, "stride": stride, "residual": False}, rng)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.Clear()
    x = np.zeros((1, 24, *size), np.float32)
    for session in (unfused(model), InferenceSession(model.SerializeToString())):
        with pytest.raises(ShapeError, match="the kernel must fit into the padded input"):
            session.run(None, {"x": x})


def test_values_that_others_read_stay(rng):
    model = model_of(BLOCK, rng)
    hidden = model.graph.node[2].output[0]
    model.graph.output.append(helper.make_tensor_value_info(hidden, TensorProto.FLOAT, None))
    feed = feed_of(model, BLOCK, rng)
    session = InferenceSession(model.SerializeToString())
    for got, want in zip(session.run(None, feed), unfused(model).run(None, feed), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=BOUND * np.abs(want).max())
    assert "ConvChain" not in kernels_of(session, feed)
