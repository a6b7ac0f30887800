"""Mixed precision of the compiled step, beside torch.autocast, and what stays float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import toolkit as tk
from toolkit import errors, nn, optim
from toolkit.runtime.measure.memory import MemoryReport
from toolkit.train import GradScaler, TrainStep
from toolkit.train.precision import NARROW

RNG = np.random.default_rng(0)
X = RNG.standard_normal((16, 1, 8, 8)).astype(np.float32)
Y = np.arange(16) % 5


def layers(kit, batch_norm=True):
    """A small network of a kit's layers; torch's autocast has no mixed batch norm on the CPU."""
    n = kit.nn
    norm = [n.BatchNorm2d(6)] if batch_norm else []
    return n.Sequential(
        n.Conv2d(1, 6, 3), *norm, n.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(54, 20),
        n.Tanh(), n.Linear(20, 5),
    )  # fmt: skip


def make(precision, batch_norm=True, **options):
    tk.manual_seed(0)
    net = layers(tk, batch_norm)
    return TrainStep(
        net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.05), precision=precision,
        **options,
    )  # fmt: skip


def narrow_nodes(step, precision):
    return [
        node.op_type
        for node in step.graph.graph
        if any(v.dtype == NARROW[precision] for v in node.outputs)
    ]


def test_steps_are_those_of_autocast():
    """Both round weights and activations of products; what is left is the order of sums."""
    step = make("bfloat16", batch_norm=False)
    twin = layers(torch, batch_norm=False)
    twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in step.model.state_dict().items()})
    peer = torch.optim.SGD(twin.parameters(), lr=0.05)
    plain = make(None, batch_norm=False)
    for _ in range(5):
        loss = float(step(X, Y)[0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            want = torch.nn.functional.cross_entropy(twin(torch.tensor(X)), torch.tensor(Y))
        peer.zero_grad()
        want.backward()
        peer.step()
        exact = float(plain(X, Y)[0])
        assert abs(loss - want.item()) < 2e-3
        assert loss != exact
    for p, q, r in zip(
        step.model.parameters(), twin.parameters(), plain.model.parameters(), strict=True
    ):
        moved = np.abs(p.detach().numpy() - q.detach().numpy()).max()
        assert moved < 2e-3
        assert np.abs(p.detach().numpy() - r.detach().numpy()).max() < 5e-3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_is_narrow(precision, tmp_path):
    scaler = GradScaler() if precision == "float16" else None
    step = make(precision, grad_scaler=scaler, ema_decay=0.9)
    losses = [float(step(X, Y)[0]) for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]
    wide = [float(v) for v in [make(None)(X, Y)[0]]]
    assert losses[0] == pytest.approx(wide[0], abs=5e-3)
    nodes = narrow_nodes(step, precision)
    assert nodes.count("Conv") == 1 and nodes.count("BatchNormTraining") == 1
    assert {"Relu", "MaxPool", "ConvGradWeight", "MaxPoolGrad"} <= set(nodes)
    assert "SoftmaxCrossEntropyLoss" not in nodes
    floats = {str(a.dtype) for a in step.state_dict().values() if a.dtype.kind not in "iu"}
    assert floats == {"float32"}
    path = tmp_path / "m.onnx"
    step.save(path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    types = {t.data_type for t in proto.graph.initializer} | {
        v.type.tensor_type.elem_type for v in proto.graph.value_info
    }
    assert not types & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    assert "Cast" not in {n.op_type for n in proto.graph.node}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (there,) = session.run(None, {session.get_inputs()[0].name: X})
    np.testing.assert_allclose(there, step.predict(X)[0], rtol=1e-4, atol=1e-5)
    loaded = tk.load_training(path)
    assert float(loaded(X, Y)[0]) == float(step(X, Y)[0])


def test_a_loss_too_large_for_float16_is_scaled_down():
    step = make("float16", grad_scaler=GradScaler(init_scale=2.0**40))
    before = step.model[0].weight.detach().numpy().copy()
    step(X, Y)
    np.testing.assert_array_equal(step.model[0].weight.detach().numpy(), before)
    assert float(step.state_dict()["grad_scaler.scale"]) == 2.0**39


def test_activations_take_less_memory():
    def live(precision):
        tk.manual_seed(0)
        blocks = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Tanh())]
        net = nn.Sequential(*blocks, nn.Linear(64, 5))
        step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.1),
                         precision=precision)  # fmt: skip
        step(RNG.standard_normal((512, 64)).astype(np.float32), np.arange(512) % 5)
        return MemoryReport(**step._programs["train"].program.memory()).live

    assert live("bfloat16") < 0.8 * live(None)


def test_a_loaded_model_with_control_flow(tmp_path):
    """The bodies of If read an activation that was made narrow: they see it in float32."""
    from onnx import parser

    model = parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        agraph (float[N, 8] x) => (float[N, 5] y)
        <float[8, 6] w1, float[6, 5] w2, bool flag = {1}> {
          h = MatMul (x, w1)
          r = Relu (h)
          z = If (flag) <
            then_branch = a () => (float[N, 6] t) { t = Exp (r) },
            else_branch = b () => (float[N, 6] e) { e = Neg (r) }
          >
          y = MatMul (z, w2)
        }""")
    for name, shape in (("w1", (8, 6)), ("w2", (6, 5))):
        array = RNG.standard_normal(shape).astype(np.float32) * 0.3
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    losses = {}
    for precision in (None, "bfloat16"):
        net = tk.load(model.SerializeToString())
        step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.1),
                         precision=precision)  # fmt: skip
        losses[precision] = [float(step(X[:, 0, 0], Y)[0]) for _ in range(5)]
    assert narrow_nodes(step, "bfloat16").count("MatMul") >= 2
    np.testing.assert_allclose(losses["bfloat16"], losses[None], atol=5e-3)
    assert losses["bfloat16"] != losses[None]


def test_names():
    assert float(make("float32")(X, Y)[0]) == float(make(None)(X, Y)[0])
    with pytest.raises(errors.InvalidArgumentError, match=r"\['float32', .*\] is required as prec"):
        make("half")
