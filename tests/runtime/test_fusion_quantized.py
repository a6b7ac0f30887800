"""Operators between DequantizeLinear and QuantizeLinear run on integers, beside the plain path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests import fused_ops, opcheck
from tests.opinfo import OpInfo
from tests.runtime.test_fusion import counts, model_of, plain
from tests.runtime.test_int8 import draw_bytes
from toolkit.runtime import InferenceSession, _core

NODE = helper.make_node
CONVOLUTION = fused_ops.ROWS[0]
CONVOLUTIONS = list(CONVOLUTION.samples(CONVOLUTION.draw("uint8")))


class Quantized:
    """A graph of codes: inputs and constants dequantized, results quantized."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.initializers, self.inputs, self.feed = [], [], {}, {}

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def codes(self, name, kind, shape, scale, zero=None, fed=False, axis=1):
        """The dequantized value of codes; `zero` None: no zero point."""
        array = draw_bytes(self.rng, kind, *shape)
        if fed:
            self.inputs[name] = (helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
            self.feed[name] = array
        else:
            self.constant(name, array)
        return self.dequantize(name, kind, scale, zero, axis)

    def dequantize(self, name, kind, scale, zero=None, axis=1):
        ends = [name, self.constant(f"{name}_s", np.float32(scale))]
        if zero is not None:
            ends.append(self.constant(f"{name}_z", np.full(np.shape(scale), zero, kind)))
        self.nodes.append(NODE("DequantizeLinear", ends, [f"{name}_f"], axis=axis))
        return f"{name}_f"

    def quantize(self, value, kind, scale, zero, name="y"):
        ends = [value, self.constant(f"{name}_s", np.float32(scale))]
        ends.append(self.constant(f"{name}_z", np.array(zero, kind)))
        self.nodes.append(NODE("QuantizeLinear", ends, [name]))
        self.element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        return name

    def model(self, *outputs):
        return model_of(
            self.nodes,
            self.inputs,
            dict.fromkeys(outputs or ("y",), self.element),
            self.initializers,
        )


KINDS = st.sampled_from([np.int8, np.uint8])


@st.composite
def convolutions(draw):
    g = Quantized(draw(st.integers(0, 1000)))
    kind, w_kind = draw(KINDS), draw(KINDS)
    group = draw(st.sampled_from([1, 2, 4]))
    channels, outputs = 4, group * draw(st.sampled_from([1, 3]))
    size = draw(st.sampled_from([(5, 9), (8, 8)]))
    zero = draw(st.sampled_from([None, 3, 100]))
    x = g.codes("x", kind, (2, channels, *size), 0.02, zero, fed=True)
    by_channel = draw(st.booleans())
    w_scale = g.rng.uniform(0.01, 0.02, outputs if by_channel else ()).astype(np.float32)
    w_zero = draw(st.sampled_from([None, 0, 5]))
    w = g.codes("w", w_kind, (outputs, channels // group, 3, 3), w_scale, w_zero, axis=0)
    ends = [x, w]
    if draw(st.booleans()):
        g.constant("b", g.rng.integers(-5000, 5000, outputs).astype(np.int32))
        scale = np.float32(0.02) * np.broadcast_to(w_scale, outputs)
        ends.append(g.dequantize("b", np.int32, scale, None, axis=0))
    pads = [draw(st.integers(0, 1)) for _ in range(4)]
    g.nodes.append(
        NODE("Conv", ends, ["c"], pads=pads, group=group, strides=[draw(st.integers(1, 2)), 1])
    )
    last, low = "c", np.iinfo(kind).min
    relu = draw(st.booleans())
    if relu:
        g.nodes.append(NODE("Relu", ["c"], ["r"]))
        last = "r"
    g.quantize(last, kind, 0.3, draw(st.sampled_from([low, 10])) if relu else 10)
    return g.model(), g.feed


def check(model, feed):
    (want,) = InferenceSession(model, plain()).run(None, feed)
    session = InferenceSession(model)
    for _ in range(2):
        (got,) = session.run(None, feed)
        assert got.dtype == want.dtype and got.shape == want.shape
        off = np.abs(got.astype(int) - want.astype(int))
        assert off.max(initial=0) <= 1 and (off > 0).mean() <= 0.02


@settings(max_examples=120, deadline=None)
@given(convolutions())
def test_quantized_convolutions_equal_the_plain_path(case):
    check(*case)


@st.composite
def products(draw):
    g = Quantized(draw(st.integers(0, 1000)))
    kind, k, n = draw(KINDS), draw(st.sampled_from([1, 5, 70])), draw(st.sampled_from([1, 17, 40]))
    a = g.codes("x", kind, (*draw(st.sampled_from([(), (2,)])), 3, k), 0.02, 7, fed=True)
    scale = g.rng.uniform(0.01, 0.02, n if draw(st.booleans()) else ()).astype(np.float32)
    b = g.codes("w", draw(KINDS), (k, n), scale, draw(st.sampled_from([None, 5])), axis=1)
    g.nodes.append(NODE("MatMul", [a, b], ["p"]))
    g.quantize("p", kind, 0.2, 3)
    return g.model(), g.feed


@settings(max_examples=80, deadline=None)
@given(products())
def test_quantized_products_equal_the_plain_path(case):
    check(*case)


def conv(relu=False, y_zero=0, bias=None, more=()):
    g = Quantized()
    x = g.codes("x", np.uint8, (1, 4, 6, 6), 0.02, 3, fed=True)
    w = g.codes("w", np.int8, (5, 4, 3, 3), np.full(5, 0.01), 0, axis=0)
    ends = [x, w]
    if bias is not None:
        g.constant("b", np.arange(5, dtype=np.int32))
        ends.append(g.dequantize("b", np.int32, np.full(5, bias), None, axis=0))
    g.nodes.append(NODE("Conv", ends, ["c"]))
    if relu:
        g.nodes.append(NODE("Relu", ["c"], ["r"]))
    g.quantize("r" if relu else "c", np.uint8, 0.3, y_zero)
    return g.model("y", *more), g.feed


def test_a_convolution_is_one_kernel():
    for how in ({}, {"relu": True}, {"bias": np.float32(0.02) * np.float32(0.01)}):
        model, feed = conv(**how)
        assert counts(model) == ["QLinearConv"]
        check(model, feed)


@pytest.mark.parametrize("how", [{"relu": True, "y_zero": 5}, {"bias": 0.5}])
def test_what_integers_cannot_say_stays(how):
    """A Relu in the midst of the codes; a bias of another scale than the sums'."""
    model, feed = conv(**how)
    assert "QLinearConv" not in counts(model)
    check(model, feed)


def test_elements_are_moved_as_codes():
    g = Quantized()
    x = g.codes("x", np.int8, (1, 4, 6, 6), 0.02, 3, fed=True)
    g.nodes.append(NODE("MaxPool", [x], ["m"], kernel_shape=[2, 2], strides=[2, 2]))
    g.quantize("m", np.int8, 0.02, 3, "q")
    g.nodes.append(NODE("DequantizeLinear", ["q", "q_s", "q_z"], ["q_f"]))
    g.nodes.append(NODE("Flatten", ["q_f"], ["f"]))
    g.quantize("f", np.int8, 0.02, 3)
    assert counts(g.model()) == ["MaxPool", "Flatten"]
    check(g.model(), g.feed)


def onnxruntime_plain(model):
    """onnxruntime, node by node."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    text = model.SerializeToString()
    return onnxruntime.InferenceSession(text, options, ["CPUExecutionProvider"])


@st.composite
def networks(draw):
    """Convolutions of all kinds, residual sums, functions, pools, and a product at the end."""
    kind = draw(KINDS)
    g = Quantized(draw(st.integers(0, 1000)))
    least = int(np.iinfo(kind).min)
    zero = least + draw(st.sampled_from([0, 100]))

    def quantized(name, scale=0.05):
        g.quantize(name, kind, scale, zero, f"{name}_q")
        g.nodes.append(
            NODE("DequantizeLinear", [f"{name}_q", f"{name}_q_s", f"{name}_q_z"], [f"{name}_d"])
        )
        return f"{name}_d"

    def conv(name, x, inputs, outputs, size, group=1, **attributes):
        shape = (outputs, inputs // group, size, size)
        scale = g.rng.uniform(0.004, 0.008, outputs).astype(np.float32)
        w_kind = draw(KINDS)
        middle = 128 if w_kind == np.uint8 else draw(st.sampled_from([None, 0]))
        w = g.codes(f"{name}_w", w_kind, shape, scale, middle, axis=0)
        pads = [size // 2] * 4
        g.nodes.append(NODE("Conv", [x, w], [name], group=group, pads=pads, **attributes))
        return quantized(name)

    channels, width = draw(st.sampled_from([3, 4, 8])), draw(st.sampled_from([8, 36, 68]))
    x = g.codes("x", kind, (2, channels, 9, 7), 0.02, zero, fed=True)
    first = conv("a", x, channels, width, 3, strides=[draw(st.integers(1, 2)), 1])
    deep = conv("b", first, width, width, draw(st.sampled_from([3, 5])), group=width)
    wide = conv("c", deep, width, width, 1)
    op = draw(st.sampled_from(["Add", "Mul"]))
    other = first
    if draw(st.booleans()):
        other = g.codes("k", kind, (1, width, 1, 1), 0.02, 3)
    ends = [wide, other] if draw(st.booleans()) else [other, wide]
    g.nodes.append(NODE(op, ends, ["sum"]))
    last = "sum"
    if draw(st.booleans()):
        g.nodes.append(NODE("Relu", ["sum"], ["relu"]))
        last = "relu"
    last = quantized(last)
    function = draw(st.sampled_from(["Sigmoid", "LeakyRelu", "HardSwish", None]))
    if function:
        g.nodes.append(NODE(function, [last], ["f"]))
        last = quantized("f", 0.01)
    if draw(st.booleans()):
        g.nodes.append(NODE("Concat", [last, first], ["both"], axis=1))
        last, width = quantized("both"), 2 * width
    pool = draw(st.sampled_from(["MaxPool", "AveragePool", "GlobalAveragePool"]))
    window = {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1]} if pool[0] != "G" else {}
    g.nodes.append(NODE(pool, [last], ["p"], **window))
    g.quantize("p", kind, 0.05, zero, "y")
    return g.model(), g.feed


@settings(max_examples=60, deadline=None)
@given(networks())
def test_quantized_networks_equal_the_plain_path_and_onnxruntime(case):
    """Codes differ by one where a sum of floats lies between two, and by what follows from that."""
    model, feed = case
    session = InferenceSession(model)
    (got,), (want,) = session.run(None, feed), InferenceSession(model, plain()).run(None, feed)
    (theirs,) = onnxruntime_plain(model).run(None, feed)
    for other in (want, theirs):
        off = np.abs(got.astype(int) - other.astype(int))
        assert off.max(initial=0) <= 2 and (off > 0).mean() <= 0.05
    np.testing.assert_array_equal(session.run(None, feed)[0], got)
    ran = counts(model)
    assert not {"Conv", "Add", "Mul", "Sigmoid"} & set(ran)
    if _core.isa() == "x86-64-v4":
        assert not {"QuantizeLinear", "DequantizeLinear"} & set(ran)
        assert ran.count("QConvNhwc") == 3


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_runs_on_integers(kind, transposed):
    g = Quantized()
    x = g.codes("x", kind, (3, 37), 0.02, 7, fed=True)
    scale = g.rng.uniform(0.01, 0.02, 40).astype(np.float32)
    shape = (40, 37) if transposed else (37, 40)
    w = g.codes("w", np.int8, shape, scale, 0, axis=1 - transposed)
    g.constant("b", g.rng.integers(-900, 900, 40).astype(np.int32))
    b = g.dequantize("b", np.int32, np.float32(0.02) * scale, None, axis=0)
    g.nodes.append(NODE("Gemm", [x, w, b], ["p"], transB=transposed))
    g.quantize("p", kind, 0.2, 3)
    assert "QConvNhwc" in counts(g.model()) and "Gemm" not in counts(g.model())
    check(g.model(), g.feed)
    (theirs,) = onnxruntime_plain(g.model()).run(None, g.feed)
    (got,) = InferenceSession(g.model()).run(None, g.feed)
    assert np.abs(got.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("x_kind", [np.int8, np.uint8])
@pytest.mark.parametrize("w_kind", [np.int8, np.uint8])
def test_operators_on_codes_give_the_same_integers_channels_last(x_kind, w_kind):
    """QLinearConv behind each other."""
    rng = np.random.default_rng(4)
    x = draw_bytes(rng, x_kind, 2, 4, 9, 9)
    zero = x_kind(5)
    nodes, kept, name, channels = [], {"xs": np.float32(0.02), "xz": zero}, "x", 4
    for i, (outputs, group, size) in enumerate([(40, 1, 3), (40, 40, 3), (96, 1, 1), (32, 2, 3)]):
        w = draw_bytes(rng, w_kind, outputs, channels // group, size, size)
        kept |= {
            f"w{i}": w, f"s{i}": rng.uniform(0.01, 0.02, outputs).astype("f4"),
            f"z{i}": np.full(outputs, 0 if w_kind == np.int8 else 128, w_kind),
            f"b{i}": rng.integers(-900, 900, outputs).astype("i4"),
            "ys": np.float32(0.9),
        }  # fmt: skip
        ends = [name, "ys" if i else "xs", "xz", f"w{i}", f"s{i}", f"z{i}", "ys", "xz", f"b{i}"]
        nodes.append(
            NODE("QLinearConv", ends, [f"y{i}"], group=group, pads=[size // 2] * 4, strides=[1, 2])
        )
        name, channels = f"y{i}", outputs
    element = helper.np_dtype_to_tensor_dtype(np.dtype(x_kind))
    initializers = [numpy_helper.from_array(np.asarray(v), n) for n, v in kept.items()]
    model = model_of(nodes, {"x": (element, x.shape)}, {name: element}, initializers)
    (got,) = InferenceSession(model).run(None, {"x": x})
    (want,) = InferenceSession(model, plain()).run(None, {"x": x})
    np.testing.assert_array_equal(got, want)
    assert got.std() > 10
    if (x_kind, w_kind) != (np.int8, np.uint8):  # That onnxruntime has not.
        (theirs,) = onnxruntime_plain(model).run(None, {"x": x})
        assert (got != theirs).mean() < 0.01
    if _core.isa() == "x86-64-v4":
        assert counts(model).count("QConvNhwc") == 4


@pytest.mark.parametrize("sample", CONVOLUTIONS, ids=str)
def test_a_convolution_of_codes_equals_qlinearconv(sample):
    x, xs, xz, w, ws, ys, yz, *bias = sample.inputs
    rows = x.ndim == 2
    image = np.moveaxis(x, -1, 1)[..., None, None] if rows else np.moveaxis(x, -1, 1)
    w4 = w[..., None, None] if rows else w
    ends = (xs, xz, w4, ws, np.zeros(len(ws), np.int8), ys, yz, *bias)
    plain_op = OpInfo("QLinearConv", lambda d: ())
    (want,) = opcheck.run(plain_op, replace(sample, inputs=(np.ascontiguousarray(image), *ends)))
    (got,) = opcheck.run(CONVOLUTION, sample)
    np.testing.assert_array_equal(got, want[..., 0, 0] if rows else np.moveaxis(want, 1, -1))
