"""Products and convolutions of 8-bit integers on drawn shapes, beside sums of 64 bits in numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk
from toolkit.runtime import InferenceSession, _core

KINDS = st.sampled_from([np.int8, np.uint8])


def session_of(op_type, fed, constants, **attributes):
    """A session of one node: `x` fed, the rest constants; None leaves an input out."""
    names = ["x", *("" if c is None else f"c{i}" for i, c in enumerate(constants))]
    element = helper.np_dtype_to_tensor_dtype(fed.dtype)
    kind = element if op_type.startswith("Q") else TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", element, fed.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(c, n) for c, n in zip(constants, names[1:], strict=True) if n],
    )
    return InferenceSession(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    )


def draw_bytes(rng, kind, *shape):
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, shape, kind, endpoint=True)


def requantized(sums, x_scale, w_scale, y_scale, zero):
    """The operators' last step; the multiplier is float32, the rest exact."""
    multiplier = (np.float32(x_scale) * w_scale / np.float32(y_scale)).astype(np.float64)
    info = np.iinfo(zero.dtype)
    return np.clip(np.rint(sums * multiplier) + int(zero), info.min, info.max).astype(zero.dtype)


@st.composite
def products(draw):
    m, n = draw(st.sampled_from([1, 2, 13, 15, 31])), draw(st.sampled_from([1, 7, 16, 33, 70]))
    k = draw(st.sampled_from([1, 2, 3, 4, 5, 17, 64, 200]))
    return m, k, n, draw(KINDS), draw(KINDS), draw(st.booleans()), draw(st.integers(0, 1000))


@settings(max_examples=120, deadline=None)
@given(products())
def test_products_are_exact(case):
    m, k, n, a_kind, b_kind, by_column, seed = case
    rng = np.random.default_rng(seed)
    a, b = draw_bytes(rng, a_kind, m, k), draw_bytes(rng, b_kind, k, n)
    a_zero = draw_bytes(rng, a_kind, 1)[0]
    b_zero = draw_bytes(rng, b_kind, *((n,) if by_column else ()))
    sums = (a.astype(np.int64) - int(a_zero)) @ (b.astype(np.int64) - b_zero.astype(np.int64))
    constants = [b, np.array(a_zero), np.asarray(b_zero)]
    (got,) = session_of("MatMulInteger", a, constants).run(None, {"x": a})
    np.testing.assert_array_equal(got, sums.astype(np.int32))
    y_zero = draw_bytes(rng, a_kind, 1)[0]
    scale = rng.uniform(0.01, 0.02, n if by_column else ()).astype(np.float32)
    y_scale = np.float32(np.sqrt(k))
    constants = [np.float32(0.1), np.array(a_zero), b, scale, np.asarray(b_zero), y_scale, y_zero]
    (got,) = session_of("QLinearMatMul", a, [np.asarray(c) for c in constants]).run(None, {"x": a})
    np.testing.assert_array_equal(got, requantized(sums, 0.1, scale, y_scale, y_zero))


def convolved(x, w, pads, strides, dilations, group):
    """Sums of 64 bits over windows of the padded image."""
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    extents = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, extents, (2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    batch, channels = x.shape[:2]
    windows = windows.reshape(batch, group, channels // group, *windows.shape[2:])
    w = w.reshape(group, -1, *w.shape[1:])
    y = np.einsum("bgcyxij,gocij->bgoyx", windows, w)
    return y.reshape(batch, -1, *y.shape[3:])


@st.composite
def convolutions(draw):
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 5), (1, 7)]))
    group = draw(st.sampled_from([1, 1, 2, 5]))
    depthwise = draw(st.booleans())
    per_group = 1 if depthwise else draw(st.sampled_from([1, 3, 4, 9]))
    group = draw(st.sampled_from([3, 8])) if depthwise else group
    size = draw(st.sampled_from([(7, 7), (8, 14), (5, 40), (12, 70), (1, 9)]))
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    dilations = [draw(st.sampled_from([1, 1, 2])) for _ in range(2)]
    for d in range(2):  # The window fits.
        need = (kernel[d] - 1) * dilations[d] + 1 - size[d] - pads[d] - pads[d + 2]
        pads[d] += max(need, 0)
    return {
        "batch": draw(st.sampled_from([1, 2])),
        "kernel": kernel,
        "group": group,
        "channels": per_group,
        "outputs": draw(st.sampled_from([1, 2, 15, 30]))
        if not depthwise
        else draw(st.integers(1, 2)),
        "size": size,
        "pads": pads,
        "strides": [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(2)],
        "dilations": dilations,
        "x_kind": draw(KINDS),
        "w_kind": draw(KINDS),
        "w_zero": draw(st.sampled_from(["none", "middle", "any", "channel"])),
        "bias": draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
    }


def check_convolution(c):
    rng = np.random.default_rng(c["seed"])
    channels, outputs = c["group"] * c["channels"], c["group"] * c["outputs"]
    x = draw_bytes(rng, c["x_kind"], c["batch"], channels, *c["size"])
    w = draw_bytes(rng, c["w_kind"], outputs, c["channels"], *c["kernel"])
    x_zero = draw_bytes(rng, c["x_kind"], 1)[0]
    middle = np.array(0 if c["w_kind"] == np.int8 else 128, c["w_kind"])
    zeros = draw_bytes(rng, c["w_kind"], outputs)
    w_zero = {"none": None, "middle": middle, "any": zeros[0], "channel": zeros}[c["w_zero"]]
    offset = np.int64(0) if w_zero is None else np.asarray(w_zero, np.int64)
    how = {k: c[k] for k in ("pads", "strides", "dilations", "group")}
    sums = convolved(
        x.astype(np.int64) - int(x_zero),
        w.astype(np.int64) - offset.reshape(-1, 1, 1, 1),
        *how.values(),
    )
    constants = [w, np.array(x_zero), None if w_zero is None else np.asarray(w_zero)]
    (got,) = session_of("ConvInteger", x, constants, **how).run(None, {"x": x})
    np.testing.assert_array_equal(got, sums.astype(np.int32))
    scale = rng.uniform(0.01, 0.02, outputs).astype(np.float32)
    y_scale = np.float32(np.sqrt(w[0].size))
    y_zero = draw_bytes(rng, c["x_kind"], 1)[0]
    bias = rng.integers(-9999, 9999, outputs).astype(np.int32) if c["bias"] else None
    if w_zero is None:
        w_zero = np.zeros(outputs, c["w_kind"])
    parts = [np.float32(0.1), x_zero, w, scale, w_zero, y_scale, y_zero]
    constants = [*(np.asarray(p) for p in parts), *([] if bias is None else [bias])]
    (got,) = session_of("QLinearConv", x, constants, **how).run(None, {"x": x})
    sums = sums + (0 if bias is None else bias.reshape(1, -1, 1, 1))
    want = requantized(sums, 0.1, scale.reshape(1, -1, 1, 1), y_scale, y_zero)
    np.testing.assert_array_equal(got, want)


@settings(max_examples=200, deadline=None)
@given(convolutions())
def test_convolutions_are_exact(case):
    check_convolution(case)


def plain_case(**changes):
    base = {"batch": 2, "kernel": (3, 3), "group": 6, "channels": 1, "outputs": 1, "size": (9, 70)}
    base |= {"pads": [1] * 4, "strides": [1, 1], "dilations": [1, 1], "x_kind": np.uint8}
    return base | {"w_kind": np.int8, "w_zero": "none", "bias": True, "seed": 0} | changes


CASES = [
    plain_case(),
    plain_case(strides=[2, 2], x_kind=np.int8, size=(14, 14)),
    plain_case(group=2, channels=5, outputs=17),
    # The last position of a row is the first of the next: padding of both.
    plain_case(group=1, channels=1, kernel=(1, 1), pads=[0, 1, 0, 1], size=(8, 30)),
    plain_case(group=1, channels=1, kernel=(1, 1), pads=[0, 1, 0, 1], size=(8, 14)),
    plain_case(group=1, channels=8, outputs=20, kernel=(1, 1), pads=[0] * 4, w_zero="channel"),
]


@pytest.mark.parametrize("setting", ["TOOLKIT_VNNI=0", "TOOLKIT_ISA=x86-64-v2"])
def test_other_instruction_sets_are_exact_too(setting):
    code = "from tests.runtime.test_int8 import *\nfor c in CASES: check_convolution(c)\n"
    code += "test_products_are_exact()"
    name, value = setting.split("=")
    if not _core.isa().startswith("x86"):
        pytest.skip("of x86")
    environment = {**os.environ, name: value}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=environment)


@pytest.mark.parametrize("case", CASES)
def test_threads_do_not_matter(case):
    before = _core.get_num_threads()
    try:
        for threads in (1, 3):
            tk.set_num_threads(threads)
            check_convolution(case)
    finally:
        tk.set_num_threads(before)


def test_a_stride_that_no_second_position_takes():
    rng = np.random.default_rng(0)
    x = draw_bytes(rng, np.int8, 2, 8, 5, 5)
    w = draw_bytes(rng, np.uint8, 4, 8, 1, 1)
    constants = [w, np.array(35, np.int8)]
    results = [
        session_of("ConvInteger", x, constants, strides=[stride] * 2).run(None, {"x": x})[0]
        for stride in (5, 2**31)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    want = np.einsum("nc,oc->no", x[:, :, 0, 0].astype(np.int64) - 35, w[:, :, 0, 0])
    np.testing.assert_array_equal(results[0][:, :, 0, 0], want)
