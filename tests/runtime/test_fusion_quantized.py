"""Operators between DequantizeLinear and QuantizeLinear run on integers, beside the plain path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.runtime.test_fusion import counts, model_of, plain
from tests.runtime.test_int8 import draw_bytes
from toolkit.runtime import InferenceSession

NODE = helper.make_node


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
