"""A file whose graph holds a Loop and an If trains as torch's loop does."""

import numpy as np
import onnx
import torch
from onnx import numpy_helper, parser

import toolkit as tk
from toolkit import nn, optim
from toolkit.train import TrainStep

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[B,3] x) => (float[B,3] y) {
    turns = Constant <value_int = 4> ()
    two = Constant <value_int = 2> ()
    one = Constant <value_int = 1> ()
    yes = Cast <to = 9> (one)
    y = Loop (turns, yes, x) <
        body = turn (int64 i, bool c, float[B,3] h) => (bool more, float[B,3] o) {
        more = Identity (c)
        early = Less (i, two)
        o = If (early) <then_branch = then () => (float[B,3] p) {
            hw = MatMul (h, w)
            p = Tanh (hw)
        }, else_branch = other () => (float[B,3] q) {
            hb = Add (h, b)
            q = Sigmoid (hb)
        }>
    }>
}"""
W = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
B = np.array([0.1, -0.2, 0.3], np.float32)


def file() -> bytes:
    model = parser.parse_model(TEXT)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in (("w", W), ("b", B)))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def test_a_loaded_loop_trains_beside_torch():
    net = tk.load(file())
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, 5, 3)).astype(np.float32)
    net.train()
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.5))
    w, b = (torch.tensor(a, requires_grad=True) for a in (W, B))
    twin = torch.optim.SGD([w, b], lr=0.5)
    for _ in range(4):
        h = torch.tensor(x)
        for i in range(4):
            h = torch.tanh(h @ w) if i < 2 else torch.sigmoid(h + b)
        want = torch.nn.functional.mse_loss(h, torch.tensor(t))
        twin.zero_grad()
        want.backward()
        twin.step()
        got = step(x, t)
        loss = got[0] if isinstance(got, tuple) else got
        np.testing.assert_allclose(loss.numpy(), want.detach().numpy(), rtol=1e-5)
    found = dict(net.named_parameters())
    np.testing.assert_allclose(found["w"].detach().numpy(), w.detach().numpy(), rtol=1e-4)
    np.testing.assert_allclose(found["b"].detach().numpy(), b.detach().numpy(), rtol=1e-4)


def test_eager_runs_without_gradients():
    net = tk.load(file())
    x = tk.tensor(np.ones((2, 3), np.float32))
    with tk.no_grad():
        y = net(x)
    assert tuple(y.shape) == (2, 3) and not y.requires_grad


def test_eager_gradients_beside_torch():
    net = tk.load(file())
    found = dict(net.named_parameters())
    w, b = (torch.tensor(a, requires_grad=True) for a in (W, B))
    values = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    x, h = tk.tensor(values, requires_grad=True), torch.tensor(values)
    for i in range(4):
        h = torch.tanh(h @ w) if i < 2 else torch.sigmoid(h + b)
    net(x).square().sum().backward()
    h.square().sum().backward()
    np.testing.assert_allclose(found["w"].grad.numpy(), w.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["b"].grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_eager_gradients_draw_nothing_again():
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
    g (float[N] x) => (float[N] y) {
        turns = Constant <value_int = 3> ()
        one = Constant <value_int = 1> ()
        yes = Cast <to = 9> (one)
        y = Loop (turns, yes, x) <
            body = turn (int64 i, bool c, float[N] h) => (bool more, float[N] o) {
            more = Identity (c)
            r = RandomUniformLike <low = 0.5, high = 1.5> (h)
            o = Mul (h, r)
        }>
    }""")
    x = tk.tensor(np.full(6, 2.0, np.float32), requires_grad=True)
    y = tk.load(model.SerializeToString())(x)
    y.sum().backward()
    assert len(set(y.detach().numpy().tolist())) == 6
    np.testing.assert_allclose(x.grad.numpy(), y.detach().numpy() / 2.0, rtol=1e-5)
