"""Quantized files (QuantizeLinear and DequantizeLinear) that are trained further."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import toolkit as tk
from tests.nn.test_graph_module import parsed, saved
from toolkit import nn, optim
from toolkit.train import TrainStep

onnxruntime = pytest.importorskip("onnxruntime")
X = np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype("f4")


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    """A small convolutional network."""
    tk.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(72, 10),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("quantized") / "float.onnx"
    net.save(path, tk.tensor(X))
    return path


def quantize(source, path, **options) -> onnx.ModelProto:
    """By onnxruntime's static quantization."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        batches = iter([{"input": 3 * X}])

        def get_next(self):
            return next(self.batches, None)

    form = quantization.QuantFormat.QDQ
    quantization.quantize_static(source, path, Reader(), quant_format=form, **options)
    return onnx.load(path)


def run_elsewhere(module, x) -> np.ndarray:
    """In onnxruntime, node by node: fused, it sums integers."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    text = module.to_proto().SerializeToString()
    session = onnxruntime.InferenceSession(text, options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


KINDS = {
    "int8 by channel": {"per_channel": True, "weight_type": "QInt8", "activation_type": "QInt8"},
    "uint8": {"weight_type": "QUInt8", "activation_type": "QUInt8"},
    "int16": {"weight_type": "QInt16", "activation_type": "QUInt16"},
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_network_is_fine_tuned(float_file, tmp_path, kind, compiled):
    """The same numbers before and after; only the stored weights change, scales stay."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    options = {
        k: getattr(quantization.QuantType, v) if isinstance(v, str) else v
        for k, v in KINDS[kind].items()
    }
    proto = quantize(float_file, tmp_path / "q.onnx", **options)
    module = tk.load(tmp_path / "q.onnx")
    assert module.to_proto() == proto
    weights = {f"{i}.{kind}_quantized" for i in (0, 2, 5) for kind in ("weight", "bias")}
    assert {n for n, _ in module.named_parameters()} == weights
    assert {p.dtype for p in module.parameters()} == {tk.float32}
    np.testing.assert_array_equal(module(tk.tensor(X)).detach().numpy(), run_elsewhere(module, X))

    loss, optimizer = nn.CrossEntropyLoss(), optim.Adam(module.parameters(), lr=5e-3)
    x, target = tk.tensor(X), tk.tensor(np.arange(8))
    losses = []
    step = TrainStep(module, loss, optimizer)
    for _ in range(15):
        if compiled:
            losses.append(float(step(x, target)[0]))
            continue
        optimizer.zero_grad()
        value = loss(module.train()(x), target)
        value.backward()
        optimizer.step()
        losses.append(float(value))
    assert losses[-1] < 0.8 * losses[0]
    y = module.eval()(x).detach().numpy()
    np.testing.assert_array_equal(y, run_elsewhere(module, X))

    tuned = saved(module)
    pairs = zip(proto.graph.initializer, tuned.graph.initializer, strict=True)
    changed = {a.name for a, b in pairs if a != b}
    assert changed == weights
    for a, b in zip(proto.graph.initializer, tuned.graph.initializer, strict=True):
        assert (a.name, a.data_type, a.dims) == (b.name, b.data_type, b.dims)
    del tuned.graph.initializer[:]
    tuned.graph.initializer.extend(proto.graph.initializer)
    assert tuned == proto


def test_a_new_head_of_a_quantized_network_is_float(float_file, tmp_path):
    """Nothing is left of the scales that were of the old classes."""
    quantize(float_file, tmp_path / "q.onnx")
    module = tk.load(tmp_path / "q.onnx").replace_head(classes=3)
    assert [n.op_type for n in saved(module).graph.node][-2:] == ["DequantizeLinear", "Gemm"]
    y = module(tk.tensor(X)).detach().numpy()
    assert y.shape == (8, 3)
    np.testing.assert_allclose(y, run_elsewhere(module, X), rtol=1e-5, atol=1e-6)


LAYER = """g (float[N, 3] x) => (float[N, 2] y)
  <float s = {0.1}, int8 z = {5}, float[2] t = {0.05, 0.2}, int8[2] o = {0, 0},
   float r = {0.5}, uint8 m = {100}, int8[3, 2] w = {1, -128, 3, 127, -5, 6}> {
  xq = QuantizeLinear(x, s, z)
  xd = DequantizeLinear(xq, s, z)
  wd = DequantizeLinear<axis = 1>(w, t, o)
  p = MatMul(xd, wd)
  pq = QuantizeLinear(p, r, m)
  turned = Transpose<perm = [1, 0]>(pq)
  back = Transpose<perm = [1, 0]>(turned)
  y = DequantizeLinear(back, r, m)
}"""


def test_gradients_go_straight_through():
    """By hand: rounding counts as the identity, and clipping stops the gradient."""
    module = tk.load(parsed(LAYER).SerializeToString())
    assert [n for n, _ in module.named_parameters()] == ["w"]
    w = np.array([[1, -128], [3, 127], [-5, 6]]) * [0.05, 0.2]
    np.testing.assert_allclose(module.get_parameter("w").detach().numpy(), w, rtol=1e-6)
    given = np.array([[0.33, -2.0, 30.0], [1.0, 0.5, -0.27], [4.9, -9.0, 8.0]], "f4")
    x = tk.tensor(given, requires_grad=True)
    y = module(x)
    xd = (np.clip(np.rint(given / 0.1) + 5, -128, 127) - 5) * 0.1
    p = xd @ w
    assert (p < -50).any() and (np.abs(p) < 50).any()  # What m and r let through: -50 to 77.5.
    np.testing.assert_allclose(y.detach().numpy(), np.clip(np.rint(p / 0.5), -100, 155) * 0.5)
    np.testing.assert_array_equal(y.detach().numpy(), run_elsewhere(module, given))
    y.sum().backward()
    dp = (p > -50).astype("f4")
    np.testing.assert_allclose(module.get_parameter("w").grad.numpy(), xd.T @ dp, rtol=1e-5)
    inside = given < 12.2
    np.testing.assert_allclose(x.grad.numpy(), (dp @ w.T) * inside, rtol=1e-5)


def test_scales_are_learned_when_they_are_named():
    module = tk.load(parsed(LAYER).SerializeToString()).unfreeze("r", "t")
    module(tk.tensor([[0.33, -0.21, 0.4]])).sum().backward()
    for name in ("r", "t", "w"):
        assert module.get_parameter(name).grad.abs().sum().item() > 0


def test_weights_of_four_bits_in_blocks():
    """Two elements a byte; blocks of 2 rows with a scale each, and no zero point."""
    proto = parsed("""g (float[N, 4] x) => (float[N, 2] y) <float[2, 2] s = {0.1, 0.2, 0.3, 0.4}> {
      wd = DequantizeLinear<axis = 0, block_size = 2>(w, s)
      y = MatMul(x, wd)
    }""")
    proto.opset_import[0].version = 21
    w = np.array([[1, -8], [7, 2], [3, -4], [0, 5]]).astype(ml_dtypes.int4)
    proto.graph.initializer.append(numpy_helper.from_array(w, "w"))
    module = tk.load(proto.SerializeToString())
    assert module.to_proto() == proto
    with tk.no_grad():
        module.get_parameter("w").add_(tk.tensor(np.array([[0.1, 0], [9, 0], [0, 0.4], [-0.2, 0]])))
    after = numpy_helper.to_array(saved(module).graph.initializer[1])
    assert after.astype(int).tolist() == [[2, -8], [7, 2], [3, -3], [-1, 5]]
    x = np.eye(4, dtype="f4")
    np.testing.assert_allclose(module(tk.tensor(x)).detach().numpy(), run_elsewhere(module, x))
