"""Every algorithm of Conv against the plain path and float64, on drawn shapes; fused epilogues."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.runtime.oracle import run
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.runtime import InferenceSession, SessionOptions, _core

ALGORITHMS = ("auto", "direct", "winograd2", "winograd4", "winograd6", "transposed")
# Largest error of a result over the largest result, NUMERICS.md: rounding of sums of standard
# normal products in float32, of up to 49 x 40 terms and of 2000 for a gradient.
# Direct convolution adds them in order, one by one.
BOUND = {"auto": 6e-6, "plain": 2e-6, "direct": 4e-6, "winograd2": 2e-6, "winograd4": 6e-6}
BOUND |= {"winograd6": 2e-5, "transposed": BOUND["plain"]}


@st.composite
def cases(draw) -> tuple[tuple[int, ...], tuple[int, ...], dict]:
    """(x's shape, w's shape, attributes); many are what Winograd and 1 x 1 products take."""
    group = draw(st.sampled_from([1, 1, 2, 3]))
    c, o = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    n = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["winograd", "winograd", "pointwise", "depthwise", "any", "any"]))
    if kind == "depthwise":
        group, c, o = draw(st.integers(2, 6)), 1, draw(st.integers(1, 2))
        kernel = [draw(st.sampled_from([3, 5, 7]))] * 2
        strides, dilations = [draw(st.integers(1, 2))] * 2, [1, 1]
    elif kind == "winograd":
        kernel, strides, dilations = [3, 3], [1, 1], [1, 1]
    elif kind == "pointwise":
        kernel, strides, dilations = [1, 1], [draw(st.integers(1, 3)) for _ in range(2)], [1, 1]
    else:
        rank = draw(st.sampled_from([1, 2, 2]))
        kernel = [draw(st.integers(1, 7)) for _ in range(rank)]
        strides = [draw(st.integers(1, 3)) for _ in range(rank)]
        dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    pads = [0 if kind == "pointwise" else draw(st.integers(0, 3)) for _ in range(2 * len(kernel))]
    spatial = []
    for k, d in zip(kernel, dilations, strict=True):
        spatial.append((k - 1) * d + 1 + draw(st.integers(0, 30)))
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    return (n, group * c, *spatial), (group * o, c, *kernel), attributes


def error(got: np.ndarray, want: np.ndarray, squares: np.ndarray | float = 0.0) -> float:
    # Few results may all be small by chance: the root of the sum of squared terms is their size.
    assert got.shape == want.shape
    assert got.dtype == np.float32
    size = max(np.abs(want).max(), np.sqrt(np.max(squares)), 1e-6)
    return float(np.abs(got - want).max() / size)


def three(x, w, b, dy, attributes, algorithm) -> list[np.ndarray]:
    """The result and both gradients."""
    attributes = attributes | {"algorithm": algorithm}
    shapes = np.array(x.shape), np.array(w.shape)
    return [
        run("Conv", [x, w, b], attributes)[0],
        run("ConvGradInput", [dy, w, shapes[0]], attributes, domain="toolkit.grad")[0],
        run("ConvGradWeight", [x, dy, shapes[1]], attributes, domain="toolkit.grad")[0],
    ]


def drawn(case) -> tuple[np.ndarray, ...]:
    x_shape, w_shape, attributes = case
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s) for s in (x_shape, w_shape, w_shape[:1]))
    y = run("Conv", [x, w, b], attributes | {"algorithm": "plain"})[0]
    dy = rng.standard_normal(y.shape)
    return x, w, b, dy


# The phases of dx have a column less than dy.
ONE_LESS = {"strides": [2], "dilations": [1], "pads": [0, 1], "group": 1}


@settings(max_examples=60, deadline=None)
@given(cases())
@example(((2, 1, 2), (2, 1, 1), ONE_LESS))
def test_every_algorithm_against_the_plain_path_in_float64(case):
    narrow = [v.astype(np.float32) for v in drawn(case)]
    exact = [v.astype(np.float64) for v in narrow]
    want = three(*exact, case[2], "plain")
    squares = three(*[v * v for v in exact], case[2], "plain")
    for algorithm in (*ALGORITHMS, "plain"):
        results = zip(three(*narrow, case[2], algorithm), want, squares, strict=True)
        for got, expected, terms in results:
            assert error(got, expected, terms) < BOUND[algorithm], algorithm


@pytest.mark.parametrize(
    ("algorithm", "bound"),
    [("winograd2", 1e-6), ("winograd4", 4e-6), ("winograd6", 2e-5), ("plain", 3e-6)],
)
def test_error_of_deep_sums(rng, algorithm, bound):
    """NUMERICS.md's figures: 256 channels, standard normal data."""
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 256, 14, 14), (64, 256, 3, 3)))
    attributes = {"pads": [1] * 4}
    want = run("Conv", [x.astype(np.float64), w.astype(np.float64)], attributes)[0]
    assert error(run("Conv", [x, w], attributes | {"algorithm": algorithm})[0], want) < bound


LARGE = {
    "several blocks of tiles": ((2, 12, 70, 66), (20, 12, 3, 3)),
    "weights beyond the caches": ((3, 512, 5, 4), (512, 512, 3, 3)),
    "bands of a plane": ((1, 3, 150, 131), (3, 1, 7, 7)),
    "narrow images side by side": ((70, 40, 3, 3), (24, 40, 3, 3)),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_cases(rng, name):
    """What drawn shapes are too small for; constant weights are packed, others are not."""
    x, w = (rng.standard_normal(s).astype(np.float32) for s in LARGE[name])
    group = x.shape[1] // w.shape[1]
    attributes = {"pads": [w.shape[2] // 2] * 4, "group": group}
    want = run("Conv", [x.astype(np.float64), w.astype(np.float64)], attributes)[0]
    dy = rng.standard_normal(want.shape).astype(np.float32)
    exact = three(
        *(v.astype(np.float64) for v in (x, w, np.zeros(len(w)), dy)), attributes, "plain"
    )
    for algorithm in ("auto", "winograd2", "winograd4", "winograd6"):
        got = three(x, w, np.zeros(len(w), np.float32), dy, attributes, algorithm)
        for a, b in zip(got, exact, strict=True):
            assert error(a, b) < (3e-5 if algorithm == "winograd6" else 1e-5), algorithm
        model = conv_model([node("Conv", "x w", "y", **attributes)], {"w": w}, ["x"], shape=x.shape)
        assert error(InferenceSession(model).run(None, {"x": x})[0], want) < 1e-5


@st.composite
def transposed(draw) -> dict:
    """Arguments of torch.nn.functional.conv_transpose; often taps as far apart as the stride."""
    rank, group = draw(st.sampled_from([1, 2, 2])), draw(st.sampled_from([1, 1, 2]))
    c, o = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kernel = [draw(st.integers(1, 5)) for _ in range(rank)]
    disjoint = draw(st.booleans())
    stride = kernel if disjoint else [draw(st.integers(1, 4)) for _ in range(rank)]
    spatial = [draw(st.integers(1, 40)) for _ in range(rank)]
    return {
        "x": (draw(st.integers(1, 3)), group * c, *spatial),
        "w": (group * c, o, *kernel),
        "groups": group,
        "stride": stride,
        "padding": [0 if disjoint else draw(st.integers(0, (k - 1) // 2)) for k in kernel],
    }


@settings(max_examples=60, deadline=None)
@given(transposed())
def test_transposed_convolution(case):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(case.pop(k)).astype(np.float32) for k in ("x", "w"))
    b = rng.standard_normal(w.shape[1] * case["groups"]).astype(np.float32)
    function = getattr(torch.nn.functional, f"conv_transpose{w.ndim - 2}d")
    want = function(*(torch.from_numpy(v).double() for v in (x, w, b)), **case).numpy()
    pads = case["padding"] * 2
    attributes = {"strides": case["stride"], "pads": pads, "group": case["groups"]}
    assert error(run("ConvTranspose", [x, w, b], attributes)[0], want) < 2e-6
    weights = {"w": w, "b": b}  # Constant: packed.
    model = conv_model(
        [node("ConvTranspose", "x w b", "y", **attributes)], weights, ["x"], shape=x.shape
    )
    assert error(InferenceSession(model).run(None, {"x": x})[0], want) < 2e-6


def test_the_algorithms_differ(rng):
    """The attribute has an effect: other orders of summation give other bits."""
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, 32, 16, 16), (32, 32, 3, 3)))
    names = ("plain", "winograd2", "winograd4", "winograd6")
    results = [run("Conv", [x, w], {"pads": [1] * 4, "algorithm": a})[0].tobytes() for a in names]
    assert len(set(results)) == len(names)


def test_unknown_algorithm():
    x, w = np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 1, 3, 3), np.float32)
    with pytest.raises(InvalidArgumentError, match="algorithm must be auto, measured, plain"):
        run("Conv", [x, w], {"algorithm": "fft"})


@settings(max_examples=15, deadline=None)
@given(cases(), st.integers(1, 20))
def test_threads_do_not_change_a_bit(case, batch):
    (_, *rest), w_shape, attributes = case
    values = [v.astype(np.float32) for v in drawn(((batch, *rest), w_shape, attributes))]
    try:
        for algorithm in ALGORITHMS:
            results = set()
            for threads in (1, 2, 3, 4):
                _core.set_num_threads(threads)
                arrays = three(*values, attributes, algorithm)
                results.add(b"".join(a.tobytes() for a in arrays))
            assert len(results) == 1, algorithm
    finally:
        _core.set_num_threads(2)


SCRIPT = """
import numpy as np
from tests.runtime.oracle import run
rng = np.random.default_rng(0)
x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 112, 16, 16), (48, 112, 3, 3)))
same = [run("Conv", [x, w], {"pads": [1] * 4, "algorithm": a})[0].tobytes()
        for a in ("auto", "plain", "direct", "winograd4")]
print(*(int(s == same[0]) for s in same[1:]))
"""


@pytest.mark.parametrize(
    ("variable", "want"),
    [("TOOLKIT_OPT", ("1 0 0",)), ("TOOLKIT_WINOGRAD", ("1 0 0", "0 1 0"))],
)
def test_switches(variable, want):
    """With TOOLKIT_OPT=0 the plain path runs, with TOOLKIT_WINOGRAD=0 no Winograd."""
    env = os.environ | {variable: "0"}
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, check=True, capture_output=True, text=True
    ).stdout
    assert out.strip() in want


@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3"])
def test_other_instruction_sets(isa):
    script = (
        "from tests.runtime import test_conv_algorithms as t; from toolkit.runtime import _core;"
        f"assert _core.isa() == {isa!r};"
        "t.test_every_algorithm_against_the_plain_path_in_float64();"
        "t.test_threads_do_not_change_a_bit()"
    )
    env = os.environ | {"TOOLKIT_ISA": isa}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)


def conv_model(layers, weights, inputs, shape=("N", 8, 12, 12)) -> onnx.ModelProto:
    """A graph whose first node is Conv(x, w); the last node's output is y."""
    graph = helper.make_graph(
        layers,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(shape)) for n in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def node(op: str, inputs: str, output: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


BN = node("BatchNormalization", "c scale bias mean var", "d", epsilon=1e-3)
ENDINGS = {
    "relu": ([node("Relu", "c", "y")], 1),
    "clip": ([node("Clip", "c low high", "y")], 1),
    "clip above": ([helper.make_node("Clip", ["c", "", "high"], ["y"])], 1),
    "leaky": ([node("LeakyRelu", "c", "y", alpha=0.2)], 1),
    "sigmoid": ([node("Sigmoid", "c", "y")], 1),
    "hard sigmoid": ([node("HardSigmoid", "c", "y", alpha=0.3)], 1),
    "hard swish": ([node("HardSwish", "c", "y")], 1),
    "tanh": ([node("Tanh", "c", "y")], 1),
    "elu": ([node("Elu", "c", "y", alpha=0.7)], 1),
    "mish": ([node("Mish", "c", "y")], 1),
    "softplus": ([node("Softplus", "c", "y")], 1),
    "swish": ([node("Sigmoid", "c", "s"), node("Mul", "c s", "y")], 1),
    "residual": ([node("Add", "c x", "y")], 1),
    "residual first, relu": ([node("Add", "x c", "s"), node("Relu", "s", "y")], 1),
    "bias": ([node("Add", "c row", "y")], 1),
    "batch norm": ([BN, node("Identity", "d", "y")], 1),
    "batch norm, residual, relu": ([BN, node("Add", "d x", "s"), node("Relu", "s", "y")], 1),
    "batch norm, swish": ([BN, node("Sigmoid", "d", "s"), node("Mul", "s d", "y")], 1),
    # What must stay as it is.
    "two readers": ([node("Relu", "c", "r"), node("Add", "c r", "y")], 3),
    "broadcast": ([node("Add", "c wide", "y")], 2),
    "twice": ([node("Add", "c c", "y")], 2),
}


def ending_weights(rng) -> dict[str, np.ndarray]:
    weights = {k: rng.standard_normal(8) for k in ("scale", "bias", "mean")}
    weights |= {"w": rng.standard_normal((8, 8, 3, 3)), "var": rng.random(8) + 0.5}
    weights |= {"low": np.array(-0.5), "high": np.array(0.7), "wide": rng.standard_normal((1, 12))}
    weights["row"] = rng.standard_normal((8, 1, 1))
    return {k: v.astype(np.float32) for k, v in weights.items()}


@pytest.mark.parametrize("algorithm", ["auto", "plain", "direct", "winograd2", "winograd4"])
@pytest.mark.parametrize("name", ENDINGS)
def test_fused_endings_as_unfused(rng, name, algorithm, monkeypatch):
    layers, nodes = ENDINGS[name]
    conv = node("Conv", "x w", "c", pads=[1] * 4)
    weights = ending_weights(rng)
    used = {i for n in layers for i in n.input} | {"w"}
    model = conv_model([conv, *layers], {k: v for k, v in weights.items() if k in used}, ["x"])
    fused, plain = InferenceSession(model), plain_session(model)
    ops = [n.op_type for n in fused._model.graph]
    assert len(ops) == nodes, ops
    feed = {"x": rng.standard_normal((3, 8, 12, 12)).astype(np.float32)}
    want = plain.run(None, feed)[0]
    assert error(fused.run(None, feed)[0], want) < 1e-5
    for n in fused._model.graph:
        if n.op_type in ("Conv", "FusedConv"):
            with_algorithm = forced(n, algorithm)
            inputs = [None if v is None else feed.get(v.name, constant(v)) for v in n.inputs]
            got = run(n.op_type, inputs, with_algorithm, domain=n.domain)[0]
            if nodes == 1:
                assert error(got, want) < 4e-5  # Sums of 8, bounded by 1 or less.


def plain_session(model) -> InferenceSession:
    options = SessionOptions()
    options.graph_optimization_level = 0
    return InferenceSession(model, options)


def constant(value):
    return None if value.const_value is None else value.const_value.numpy()


def forced(n, algorithm: str) -> dict:
    attributes = {}
    for attr in n.attributes.values():
        value = attr.value
        attributes[attr.name] = list(value) if isinstance(value, (tuple, list)) else value
    return attributes | {"algorithm": algorithm}


def test_weights_that_can_be_fed_are_not_folded(rng):
    weights = ending_weights(rng)
    layers = [node("Conv", "x w", "c", pads=[1] * 4), BN, node("Relu", "d", "y")]
    model = conv_model(layers, {k: weights[k] for k in ("w", "scale", "bias", "mean", "var")}, "x")
    model.graph.input.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [8]))
    session, plain = InferenceSession(model), plain_session(model)
    feed = {"x": rng.standard_normal((1, 8, 12, 12)).astype(np.float32)}
    feed["mean"] = weights["mean"] + 1
    np.testing.assert_allclose(
        session.run(None, feed)[0], plain.run(None, feed)[0], rtol=1e-4, atol=1e-4
    )


X = np.zeros((1, 4, 5, 5), np.float32)
W = np.zeros((6, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("inputs", "attributes", "error_type", "match"),
    [
        ([X, W, None, X], {}, ShapeError, "residual must have the output's shape"),
        ([X, W], {"activation": "Relux"}, InvalidArgumentError, "activation must be an operator"),
        ([X, W], {"activation": "Clip"}, InvalidArgumentError, "must have 2 values, got 0"),
    ],
)
def test_fused_conv_checks_its_input(inputs, attributes, error_type, match):
    with pytest.raises(error_type, match=match):
        run("FusedConv", inputs, attributes, domain="toolkit.fused")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 5, 7]),
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([1, 1, 2]),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 3),
)
def test_depthwise_against_float64(kernel, stride, dilation, pads, extra, multiplier):
    rng = np.random.default_rng(0)
    extent = (kernel - 1) * dilation
    x = rng.standard_normal((2, 3, extent + extra[0], extent + extra[1])).astype(np.float32)
    w = rng.standard_normal((3 * multiplier, 1, kernel, kernel)).astype(np.float32)
    b = rng.standard_normal(3 * multiplier).astype(np.float32)
    attributes = {"group": 3, "strides": [stride] * 2, "dilations": [dilation] * 2, "pads": pads}
    want = run("Conv", [v.astype(np.float64) for v in (x, w, b)], attributes)[0]
    assert error(run("Conv", [x, w, b], attributes)[0], want) < 1e-6
    dy = rng.standard_normal(want.shape).astype(np.float32)
    exact = [dy.astype(np.float64), w.astype(np.float64), np.array(x.shape)]
    got = run("ConvGradInput", [dy, w, exact[2]], attributes, domain="toolkit.grad")[0]
    assert error(got, run("ConvGradInput", exact, attributes, domain="toolkit.grad")[0]) < 1e-6
