"""Products whose constant weights stay integers, beside the plain path that dequantizes them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk
from tests.runtime.test_fusion import counts, model_of, plain
from tests.tolerances import assert_close
from toolkit.convert import quantize_weights
from toolkit.convert.quantize import quantize
from toolkit.errors import InvalidArgumentError
from toolkit.graph.io import save_model
from toolkit.runtime import InferenceSession, _core

F = TensorProto.FLOAT
RANGES = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
}


def packed(name, kind, array):
    """An initializer of integers, those of 4 bits two a byte."""
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        dtype = ml_dtypes.int4 if kind == TensorProto.INT4 else ml_dtypes.uint4
        return numpy_helper.from_array(array.astype(np.int8).astype(dtype), name)
    return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(kind)), name)


def product(kind, m, k, n, scales, block, zero, transposed, gemm, bias, op, seed=0):
    """(model, feed): x (m.., k) by dequantized weights; `transposed`: stored (n, k)."""
    rng = np.random.default_rng(seed)
    low, high = RANGES[kind]
    shape = (n, k) if transposed else (k, n)
    axis = 1 if transposed else 0
    groups = -(-k // block)
    of = {"tensor": (), "column": (n,), "block": (n, groups) if transposed else (groups, n)}[scales]
    how = {"axis": axis if scales == "block" else 1 - axis}
    how |= {"block_size": block} if scales == "block" else {}
    codes = rng.integers(low, high + 1, shape)
    constants = [packed("w", kind, codes)]
    scale = rng.uniform(0.01, 0.02, of).astype(np.float32)
    constants.append(numpy_helper.from_array(scale, "s"))
    if zero:
        constants.append(packed("z", kind, rng.integers(low, high + 1, of)))
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", *(["z"] if zero else [])], ["d"], **how)
    ]
    right = "d"
    if transposed and not gemm:
        nodes.append(helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]))
        right = "t"
    if bias:
        constants.append(numpy_helper.from_array(rng.standard_normal(n).astype(np.float32), "b"))
    last = "p"
    if gemm:
        inputs = ["x", right, *(["b"] if bias else [])]
        nodes.append(helper.make_node("Gemm", inputs, ["p"], transB=int(transposed)))
    else:
        nodes.append(helper.make_node("MatMul", ["x", right], ["p"]))
        if bias:
            nodes.append(helper.make_node("Add", ["p", "b"], ["q"]))
            last = "q"
    nodes.append(helper.make_node(op or "Identity", [last], ["y"]))
    x = rng.standard_normal((*m, k)).astype(np.float32)
    model = model_of(nodes, {"x": (F, x.shape)}, {"y": F}, constants)
    return model, {"x": x}


@st.composite
def products(draw):
    gemm = draw(st.booleans())
    m = draw(st.sampled_from([1, 2, 3, 4, 5, 12, 13, 40]))
    batch = () if gemm else draw(st.sampled_from([(), (2,), (1, 3)]))
    k = draw(st.sampled_from([1, 3, 16, 31, 70, 400]))
    return product(
        draw(st.sampled_from(list(RANGES))),
        (*batch, m),
        k,
        draw(st.sampled_from([1, 2, 15, 16, 33, 64, 100])),
        draw(st.sampled_from(["tensor", "column", "block"])),
        draw(st.sampled_from([1, 2, 5, 16, 32, 1000])) if k > 1 else 1,
        draw(st.booleans()),
        draw(st.booleans()),
        gemm,
        draw(st.booleans()),
        draw(st.sampled_from(["", "Relu", "Gelu"])),
        draw(st.integers(0, 1000)),
    )


@settings(max_examples=250, deadline=None)
@given(products())
def test_narrow_products_equal_the_plain_path(case):
    model, feed = case
    (want,) = InferenceSession(model, plain()).run(None, feed)
    session = InferenceSession(model)
    for _ in range(2):
        (got,) = session.run(None, feed)
        assert_close(got, want, 60)  # Codes reach 255 zero points off; sums of 400.


HALVES = {TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}


def half_product(kind, m, k, n, transposed, gemm, bias, seed=0):
    """(model, feed): all of a product in 16 bits."""
    rng, dtype = np.random.default_rng(seed), HALVES[kind]
    weight = rng.standard_normal((n, k) if transposed else (k, n)) / np.sqrt(k)
    constants = [numpy_helper.from_array(weight.astype(dtype), "w")]
    if bias:
        constants.append(numpy_helper.from_array(rng.standard_normal(n).astype(dtype), "b"))
    ends = ["b"] if bias else []
    nodes = [helper.make_node("Gemm", ["x", "w", *ends], ["y"], transB=int(transposed))]
    if not gemm:
        transpose = helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0])
        nodes = [transpose] if transposed else []
        last = "p" if bias else "y"
        nodes.append(helper.make_node("MatMul", ["x", "t" if transposed else "w"], [last]))
        nodes += [helper.make_node("Add", ["p", "b"], ["y"])] if bias else []
    x = rng.standard_normal((*m, k)).astype(dtype)
    return model_of(nodes, {"x": (kind, x.shape)}, {"y": kind}, constants), {"x": x}


@settings(max_examples=120, deadline=None)
@given(
    st.tuples(
        st.sampled_from(list(HALVES)),
        st.sampled_from([(1,), (3,), (7,), (16,), (30,)]),
        st.sampled_from([1, 5, 64, 300]),
        st.sampled_from([1, 16, 33, 100]),
        *[st.booleans()] * 3,
        st.integers(0, 1000),
    )
)
def test_products_of_16_bits_equal_the_plain_path(case):
    model, feed = half_product(*case)
    (want,) = InferenceSession(model, plain()).run(None, feed)
    session = InferenceSession(model)
    for _ in range(2):
        (got,) = session.run(None, feed)
        assert_close(got, want, 4)


@pytest.mark.parametrize("kind", HALVES)
def test_weights_of_16_bits_are_not_widened(kind):
    if kind == TensorProto.FLOAT16 and _core.isa() not in ("x86-64-v3", "x86-64-v4"):
        pytest.skip("no instruction widens float16")
    model, _ = half_product(kind, (1,), 512, 256, True, True, True)
    assert counts(model) == ["NarrowMatMul"]
    held = InferenceSession(model).memory_report()
    assert held.packed == 2 * 512 * 256 and held.constants < 1024


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("gemm", [False, True])
def test_it_is_one_kernel(kind, transposed, gemm):
    model, _ = product(kind, (3,), 64, 48, "block", 32, True, transposed, gemm, True, "Relu")
    assert counts(model) == ["NarrowMatMul"]


def test_blocks_along_columns_stay():
    """Scales that change within a row of the weight are another kernel's."""
    model, feed = product(TensorProto.INT8, (3,), 8, 8, "block", 4, False, False, False, False, "")
    (node,) = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
    node.attribute[0].CopyFrom(helper.make_attribute("axis", 1))
    (scale,) = [t for t in model.graph.initializer if t.name == "s"]
    scale.CopyFrom(numpy_helper.from_array(np.full((8, 2), 0.5, np.float32), "s"))
    assert "NarrowMatMul" not in counts(model)
    session, want = InferenceSession(model), InferenceSession(model, plain())
    assert_close(session.run(None, feed)[0], want.run(None, feed)[0], 8)


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_threads_do_not_matter(rows):
    model, feed = product(
        TensorProto.UINT4, (rows,), 300, 1000, "block", 32, True, False, False, True, ""
    )
    session, before = InferenceSession(model), _core.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            tk.set_num_threads(threads)
            found.append(session.run(None, feed)[0])
    finally:
        tk.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_weights_stay_narrow_in_memory():
    model, _ = product(
        TensorProto.INT4, (1,), 1024, 512, "block", 32, False, False, False, False, ""
    )
    held = InferenceSession(model).memory_report()
    assert held.packed < 1.3 * 1024 * 512 / 2  # Half a byte each, and the scales.
    assert held.constants < 1024


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [7, 32, None])
def test_quantized_codes_are_the_nearest(bits, symmetric, group):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((45, 6)).astype(np.float32)
    weight[:, 2] = 0
    codes, scale, zero = quantize(weight, bits, group, symmetric)
    size = group or len(weight)
    wide = np.repeat(np.atleast_2d(scale), size, 0)[:45]
    offset = 0 if zero is None else np.repeat(np.atleast_2d(zero).astype(np.float32), size, 0)[:45]
    back = (codes.astype(np.float32) - offset) * wide
    assert np.all(np.abs(back - weight) <= wide * 0.5001)
    assert np.all(back[:, 2] == 0)


class Net(tk.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = tk.nn.Linear(64, 96), tk.nn.Linear(96, 50, bias=False)

    def forward(self, x):
        return self.b(tk.nn.functional.gelu(self.a(x)))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_model_runs_here_and_elsewhere(bits, tmp_path):
    import onnxruntime

    tk.manual_seed(0)
    tk.save(tmp_path / "f.onnx", Net(), inputs=(tk.zeros(3, 64),))
    model = quantize_weights(tmp_path / "f.onnx", bits, group=32, smallest=1)
    path = tmp_path / "q.onnx"
    save_model(model, path, opset=21)
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    session = InferenceSession(path)
    feed = {session.get_inputs()[0].name: x}
    (got,) = session.run(None, feed)
    assert counts(str(path)) == ["NarrowMatMul", "NarrowMatMul"]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    peer = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    assert_close(got, peer.run(None, feed)[0], 20)
    (full,) = InferenceSession(tmp_path / "f.onnx").run(None, feed)
    error = np.abs(got - full).max() / np.abs(full).max()
    assert error < (0.2 if bits == 4 else 0.02)


def test_mistakes_are_named(tmp_path):
    tk.save(tmp_path / "f.onnx", Net(), inputs=(tk.zeros(3, 64),))
    with pytest.raises(InvalidArgumentError, match="bits of 4 or 8 are required, got 3"):
        quantize_weights(tmp_path / "f.onnx", 3)
    with pytest.raises(InvalidArgumentError, match="a group above 0 is required, got 0"):
        quantize_weights(tmp_path / "f.onnx", 4, 0)
