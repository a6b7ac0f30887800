"""Straight-through gradients of quantization, beside torch's autograd of the same definition."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from toolkit.autodiff import grad_model
from toolkit.runtime import InferenceSession

RANGES = {TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127), TensorProto.INT4: (-8, 7)}
RNG = np.random.default_rng(3)


def model(nodes, inputs, constants, opset=28):
    kind = helper.np_dtype_to_tensor_dtype
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, inputs["x"].shape)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(k, kind(v.dtype), v.shape) for k, v in inputs.items()],
        [y],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=13)


def gradients(proto, inputs, dy, opset=None, **unused):
    """By each of `inputs`; `unused` inputs are fed too."""
    wrt = list(inputs)
    result = grad_model(proto, wrt, ["y"], opset=opset)
    onnx.checker.check_model(result)
    session = InferenceSession(result.SerializeToString())
    return session.run([f"d_{name}" for name in wrt], {**inputs, "d_y": dy, **unused})


def pair(**attributes):
    return [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
    ]


def fake_quantized(x, s, z, low, high):
    """The rounding's gradient is 1, clamping's 0 outside."""
    r = x / s
    r = r + (r.round() - r).detach()
    return (torch.clamp(r + z, low, high) - z) * s


def spread(v, x, axis, block):
    if v.ndim == 0:
        return v
    if not block:
        return v.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return v.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize(
    ("shape", "scale", "axis", "block"),
    [((7,), (), 1, 0), ((4, 5), (4,), 0, 0), ((3, 5, 2), (5,), 1, 0), ((3, 7), (3, 3), 1, 3),
     ((5, 2, 3), (2, 2, 3), 0, 3), ((6,), (6,), 0, 0)],
)  # fmt: skip
def test_fake_quantization_is_lsq(kind, shape, scale, axis, block):
    low, high = RANGES[kind]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    s = RNG.uniform(0.02, 0.05, scale).astype(np.float32)
    z = RNG.integers(0, 4, scale).astype(dtype)
    x = RNG.normal(scale=(high - low) * 0.02, size=shape).astype(np.float32)
    dy = RNG.normal(size=shape).astype(np.float32)
    attributes = {"axis": axis, "block_size": block} if scale else {}
    dx, ds = gradients(model(pair(**attributes), {"x": x, "s": s}, {"z": z}), {"x": x, "s": s}, dy)

    tx, ts = (torch.tensor(v, requires_grad=True) for v in (x, s))
    tz = torch.tensor(z.astype(np.float32))
    y = fake_quantized(tx, spread(ts, tx, axis, block), spread(tz, tx, axis, block), low, high)
    y.backward(torch.tensor(dy))
    assert ((dx == 0) == (tx.grad.numpy() == 0)).all()
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ds, ts.grad.numpy(), rtol=2e-4, atol=2e-4 * abs(dy).max() * 9)


def test_some_elements_are_clipped():
    """So that the test above compares both branches."""
    x = np.array([-1.0, 0.3, 100.0, 25.4, 25.5], np.float32)
    constants = {"s": np.float32(0.1).reshape(()), "z": np.uint8(0).reshape(())}
    (dx,) = gradients(model(pair(), {"x": x}, constants), {"x": x}, np.ones(5, np.float32))
    np.testing.assert_allclose(dx, [0, 1, 0, 1, 1], rtol=1e-6)
    x = np.array([25.54, 25.56], np.float32)
    (dx,) = gradients(model(pair(), {"x": x}, constants), {"x": x}, np.ones(2, np.float32))
    np.testing.assert_allclose(dx, [1, 0], rtol=1e-6)


def test_dequantization_learns_its_scale():
    q = RNG.integers(-128, 128, (4, 6)).astype(np.int8)
    z = np.array([1, -2, 3, 0], np.int8)
    s = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    dy = RNG.normal(size=(4, 6)).astype(np.float32)
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0)]
    proto = model(nodes, {"x": dy, "s": s}, {"q": q, "z": z})
    (ds,) = gradients(proto, {"s": s}, dy, x=dy)
    want = (dy * (q.astype(np.float32) - z[:, None])).sum(1)
    np.testing.assert_allclose(ds, want, rtol=1e-5)


def test_a_view_between_the_two_passes():
    x = RNG.normal(size=(2, 6)).astype(np.float32)
    constants = {
        "s": np.float32(0.1).reshape(()),
        "z": np.int8(0).reshape(()),
        "n": np.int64([3, 4]),
    }
    first, second = pair()
    second.input[0] = "r"
    second.output[0] = "t"
    nodes = [
        first,
        helper.make_node("Reshape", ["q", "n"], ["r"]),
        second,
        helper.make_node("Reshape", ["t", "m"], ["y"]),
    ]
    constants["m"] = np.int64([2, 6])
    dy = RNG.normal(size=(2, 6)).astype(np.float32)
    (dx,) = gradients(model(nodes, {"x": x}, constants), {"x": x}, dy)
    np.testing.assert_allclose(dx, dy, rtol=1e-6)


@pytest.mark.parametrize(
    "kind", (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.FLOAT6E3M2)
)
def test_float8_passes_straight_through(kind):
    x = np.array([0.3, -2.0, 1e6, -1e6], np.float32)
    dy = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    cast = [
        helper.make_node("Cast", ["x"], ["q"], to=kind),
        helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT),
    ]
    np.testing.assert_array_equal(gradients(model(cast, {"x": x}, {}), {"x": x}, dy)[0], dy)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=kind),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    constants = {"s": np.float32(0.5).reshape(())}
    dx = gradients(model(nodes, {"x": x}, constants), {"x": x}, dy)[0]
    np.testing.assert_array_equal(dx, [1, 2, 0, 0])
    x[2:] = np.array([0.45, -0.55]) * float(
        ml_dtypes.finfo(helper.tensor_dtype_to_np_dtype(kind)).max
    )
    dx = gradients(model(nodes, {"x": x}, constants), {"x": x}, dy)[0]
    np.testing.assert_array_equal(dx, [1, 2, 3, 0])


def test_dynamic_quantization_passes_straight_through():
    x = np.array([0.3, -2.0, 5.0, 1.0], np.float32)
    dy = np.array([1.0, 2.0, 0.0, 4.0], np.float32)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    (dx,) = gradients(model(nodes, {"x": x}, {}), {"x": x}, dy)
    tx = torch.tensor(x, requires_grad=True)
    scale = (tx.max().clamp(min=0) - tx.min().clamp(max=0)) / 255
    zero = torch.round(-tx.min() / scale).detach()
    fake_quantized(tx, scale, zero, 0, 255).backward(torch.tensor(dy))
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_integers_stop_the_walk():
    x = RNG.normal(size=(3,)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    (dx,) = gradients(model(nodes, {"x": x}, {}), {"x": x}, np.ones(3, np.float32))
    np.testing.assert_array_equal(dx, np.ones(3, np.float32))


def test_the_gradient_runs_elsewhere():
    """Exported to an opset of other runtimes, with the same numbers."""
    import onnxruntime

    x = RNG.normal(size=(4, 5)).astype(np.float32)
    s = RNG.uniform(0.01, 0.02, 5).astype(np.float32)
    dy = RNG.normal(size=(4, 5)).astype(np.float32)
    proto = model(pair(axis=1), {"x": x, "s": s}, {"z": np.zeros(5, np.int8)})
    ours = gradients(proto, {"x": x, "s": s}, dy, opset=21)
    result = grad_model(proto, ["x", "s"], ["y"], opset=21)
    result.ir_version = 10
    session = onnxruntime.InferenceSession(
        result.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    theirs = session.run(["d_x", "d_s"], {"x": x, "s": s, "d_y": dy})
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
