"""What is folded into a convolution, and names for unknown dimensions, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from toolkit.runtime import InferenceSession

BOUND = 6e-6  # Of the largest result, NUMERICS.md.

# Nodes from x to y; what is left of them when the session has fused them. The file does not say
# that y has the shape of what is before it, so the last node is on its own.
CASES = {
    "scale": ("c = Conv(x, w, b) y = Mul(c, s)", ["Conv"]),
    "scale in front": ("c = Conv(x, w) y = Mul(s, c)", ["Conv"]),
    "divisor": ("c = Conv(x, w, b) y = Div(c, s)", ["Conv"]),
    "dividend": ("c = Conv(x, w, b) d = Div(s, c) y = Tanh(d)", ["Conv", "Div", "Tanh"]),
    "scale and shift": ("c = Conv(x, w, b) d = Mul(c, s) y = Add(d, three)", ["Conv"]),
    "a number a channel": ("c = Conv(x, w, b) d = Mul(c, v) y = Add(d, v)", ["Conv"]),
    "a number a column": ("c = Conv(x, w, b) y = Mul(c, row)", ["Conv", "Mul"]),
    "scale before padding": ("d = Mul(x, s) y = Conv<pads=[1,1,1,1]>(d, w, b)", ["Conv"]),
    "shift before padding": ("d = Add(x, s) y = Conv<pads=[1,1,1,1]>(d, w, b)", ["Add", "Conv"]),
    "shift before": ("d = Add(x, u) e = Mul(d, u) y = Conv(e, w, b)", ["Conv"]),
    "before groups": ("d = Add(x, u) e = Mul(d, u) y = Conv<group=2>(e, g, b)", ["Conv"]),
    "hard swish": (
        "c = Conv(x, w, b) a = Add(c, three) p = Clip(a, zero, six) m = Mul(c, p) y = Div(m, six)",
        ["FusedConv"],
    ),
    "hard swish by a product": (
        "c = Conv(x, w, b) a = Add(three, c) p = Clip(a, zero, six) "
        "m = Mul(p, c) y = Mul(m, sixth)",
        ["FusedConv"],
    ),
    "no hard swish": (
        "c = Conv(x, w, b) a = Add(c, s) p = Clip(a, zero, six) m = Mul(c, p) y = Div(m, six)",
        ["Conv", "Elementwise", "Div"],
    ),
    "residual": (
        "r = Relu(x) c = Conv<pads=[1,1,1,1]>(x, q, b) y = Add(c, r)",
        ["Relu", "FusedConv"],
    ),
    "read twice": (
        "c = Conv(x, w, b) d = Mul(c, s) e = Sigmoid(c) f = Add(d, e) y = Neg(f)",
        ["Conv", "Elementwise", "Neg"],
    ),
}


def model_of(nodes: str, rng: np.random.Generator) -> onnx.ModelProto:
    graph = parser.parse_graph(
        f"g (float[n, 4, height, width] x) => (float[k, l, m, o] y) {{ {nodes} }}"
    )
    weights = {
        "w": rng.standard_normal((6, 4, 3, 3)) / 6,
        "q": rng.standard_normal((4, 4, 3, 3)) / 6,
        "g": rng.standard_normal((6, 2, 3, 3)) / 4,
        "b": rng.standard_normal(6),
        "s": np.array([1.7]),
        "v": rng.standard_normal((6, 1, 1)),
        "u": rng.standard_normal((1, 4, 1, 1)),
        "row": rng.standard_normal(7),
        "zero": np.array(0.0),
        "three": np.array([3.0]),
        "six": np.array(6.0),
        "sixth": np.array(1 / 6),
    }
    weights["b"] = weights["b"][:4] if "q, b" in nodes else weights["b"]
    used = {name for node in graph.node for name in node.input}
    for name, array in weights.items():
        if name in used:
            graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8
    )


@pytest.mark.parametrize("name", CASES)
def test_folded_as_onnxruntime(rng, name):
    nodes, left = CASES[name]
    model = model_of(nodes, rng).SerializeToString()
    x = rng.standard_normal((2, 4, 8, 9)).astype(np.float32)
    session = InferenceSession(model)
    other = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got, want = session.run(None, {"x": x})[0], other.run(None, {"x": x})[0]
    assert np.abs(got - want).max() <= BOUND * np.abs(want).max()
    program = next(iter(session._programs.values())).program
    program.enable_profile(True)
    session.run(None, {"x": x})
    assert [row["op_type"] for row in program.profile()["nodes"]] == left


def test_unknown_dimensions_do_not_keep_nodes_apart(rng):
    nodes = "c = Conv(x, w, b) d = Exp(c) e = Add(d, c) f = Sqrt(d) m = Mul(e, f) y = Tanh(m)"
    model = model_of(nodes, rng)
    session = InferenceSession(model.SerializeToString())
    x = rng.standard_normal((1, 4, 6, 5)).astype(np.float32)
    session.run(None, {"x": x})
    program = next(iter(session._programs.values())).program
    program.enable_profile(True)
    session.run(None, {"x": x})
    assert [row["op_type"] for row in program.profile()["nodes"]] == ["Conv", "Elementwise", "Tanh"]
    assert session.get_inputs()[0].shape == ["n", 4, "height", "width"]
    assert session.get_outputs()[0].shape == ["n", 6, "m", "o"]
