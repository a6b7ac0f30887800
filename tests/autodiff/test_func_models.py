"""Transforms of modules beside torch.func: Hessians, per-sample gradients, ensembles, export."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import toolkit as tk
from tests.autodiff.test_func import assert_same, rand, to_tk, to_torch
from toolkit import func
from toolkit.graph.io import save_model
from toolkit.nn.export import export

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def mlp(nn):
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))


def cnn(nn):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(), nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


def encoder(nn):
    return nn.Sequential(
        nn.Embedding(7, 8), nn.LayerNorm(8), Block(nn), nn.LayerNorm(8), Mean(nn), nn.Linear(8, 3)
    )


def Block(nn):
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24)
            self.out = nn.Linear(8, 8)

        def forward(self, x):
            n, length, d = x.shape
            q, k, v = self.qkv(x).reshape(n, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
            w = (q @ k.transpose(-1, -2) / 2).softmax(-1)
            return x + self.out((w @ v).transpose(1, 2).reshape(n, length, d))

    return Attend()


def Mean(nn):
    class Average(nn.Module):
        def forward(self, x):
            return x.mean(1)

    return Average()


MODELS = {
    "mlp": (mlp, rand(5, 6)),
    "cnn": (cnn, rand(5, 2, 12, 12)),
    "encoder": (encoder, np.random.default_rng(0).integers(0, 7, (5, 4))),
}
LABELS = np.array([0, 2, 1, 1, 0])


def pair(build, train=False):
    """A toolkit module and a torch one with the same weights, in float64."""
    torch.manual_seed(0)
    theirs = build(torch.nn).double().train(train)
    mine = build(tk.nn).double().train(train)
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return mine, theirs


def parameters(module):
    return {k: v.detach() for k, v in module.named_parameters()}


def loss_of(lib, F, module, buffers):
    cross = lib.nn.functional.cross_entropy

    def loss(params, x, t):
        return cross(F.functional_call(module, (params, buffers), (x,)), t)

    return loss


def on_both(name, run, train=False, rtol=1e-8, atol=1e-10):
    build, x = MODELS[name]
    mine, theirs = pair(build, train)
    got = run(tk, func, mine, *to_tk((x, LABELS)))
    want = run(torch, torch.func, theirs, *to_torch((x, LABELS)))
    assert_same(got, want, rtol, atol)
    return got


@pytest.mark.parametrize("name", MODELS)
def test_hessian_vector_products(name):
    def run(lib, F, module, x, t):
        loss = loss_of(lib, F, module, dict(module.named_buffers()))
        params = parameters(module)
        v = {k: (p * 3).sin() for k, p in params.items()}

        def f(p):
            return loss(p, x, t)

        forward = F.jvp(F.grad(f), (params,), (v,))[1]
        reverse = F.vjp(F.grad(f), params)[1](v)
        if lib is tk:
            value, own = func.hvp(f, params, v)
            assert_same(own, to_torch({k: g.numpy() for k, g in reverse[0].items()} if isinstance(
                reverse, tuple) else {k: g.numpy() for k, g in reverse.items()}))  # fmt: skip
            assert value.item() == f(params).item()
        return forward, reverse[0] if isinstance(reverse, tuple) else reverse

    on_both(name, run)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_each_sample(name):
    def run(lib, F, module, x, t):
        loss = loss_of(lib, F, module, dict(module.named_buffers()))

        def one(params, a, b):
            return loss(params, a[None], b[None])

        return F.vmap(F.grad_and_value(one), in_dims=(None, 0, 0))(parameters(module), x, t)

    grads, _ = on_both(name, run)
    build, x = MODELS[name]
    mine, _ = pair(build)
    total = tk.nn.functional.cross_entropy(mine(tk.tensor(x)), tk.tensor(LABELS), reduction="sum")
    total.backward()
    for key, p in mine.named_parameters():
        np.testing.assert_allclose(grads[key].numpy().sum(0), p.grad.numpy(), 1e-8, 1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_ensembles(name):
    def run(lib, F, module, x, t):
        models = []
        for k in range(3):
            other = MODELS[name][0](lib.nn).double().eval()
            other.load_state_dict(
                {n: np.asarray(v) * (1 + k) if lib is tk else v * (1 + k)
                 for n, v in module.state_dict().items()}
            )  # fmt: skip
            models.append(other)
        params, buffers = F.stack_module_state(models)
        params = {k: v.detach() for k, v in params.items()}

        def call(p, b, a):
            return F.functional_call(models[0], (p, b), (a,))

        def total(p, b, a):
            return (call(p, b, a) ** 2).sum()

        shared = F.vmap(call, in_dims=(0, 0, None))(params, buffers, x)
        own = F.vmap(call)(params, buffers, lib.stack([x, x, x]))
        return shared, own, F.vmap(F.grad(total), in_dims=(0, 0, None))(params, buffers, x)

    on_both(name, run, rtol=1e-7)


def test_batch_statistics_of_each_example():
    def run(lib, F, module, x, t):
        buffers = {k: v + 0 for k, v in module.named_buffers()}
        params = parameters(module)
        xs = lib.stack([x, x * 2])
        copies = {k: lib.stack([v, v]) for k, v in buffers.items()}

        def call(b, a):
            return F.functional_call(module, (params, b), (a,))

        return F.vmap(call, in_dims=(0, 0))(copies, xs), copies

    mine, _ = pair(MODELS["cnn"][0], train=True)
    before = {k: v.numpy().copy() for k, v in mine.state_dict().items()}
    on_both("cnn", run, train=True)
    assert all((before[k] == v.numpy()).all() for k, v in mine.state_dict().items())


def test_functional_call():
    class Tied(tk.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = tk.nn.Linear(3, 3, bias=False)
            self.b = tk.nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x, scale=1.0):
            return self.b(self.a(x)) * scale

    m = Tied()
    x, w = tk.tensor(rand(2, 3).astype("f4")), tk.tensor(rand(3, 3).astype("f4"))
    bias = m.b.bias.detach()
    tied = func.functional_call(m, {"a.weight": w}, (x,))
    np.testing.assert_allclose(
        tied.detach().numpy(), (x @ w.T @ w.T + bias).numpy(), rtol=1e-5, atol=1e-6
    )
    loose = func.functional_call(m, {"a.weight": w}, x, {"scale": 2.0}, tie_weights=False)
    want = (x @ w.T @ m.b.weight.detach().T + bias) * 2
    np.testing.assert_allclose(loose.detach().numpy(), want.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="which are tied"):
        func.functional_call(m, {"a.weight": w, "b.weight": w + 1}, x)
    with pytest.raises(ValueError, match="appears in multiple dictionaries"):
        func.functional_call(m, ({"b.bias": bias}, {"b.bias": bias}), x)
    with pytest.raises(RuntimeError, match="Missing key"):
        func.functional_call(m, {"b.bias": bias}, x, strict=True)
    with pytest.raises(RuntimeError, match="names of parameters"):
        func.functional_call(m, {"c": bias}, x)
    assert m.b.weight is m.a.weight
    assert isinstance(m.a.weight, tk.nn.Parameter)


class Forces(tk.nn.Module):
    """Energies, their negative gradients by the positions, and the curvature of each example."""

    def __init__(self):
        super().__init__()
        self.net = mlp(tk.nn)

    def energy(self, x):
        return self.net(x).sum()

    def forward(self, x):
        grads, values = func.vmap(func.grad_and_value(self.energy))(x)
        return values, -grads, func.vmap(func.hessian(self.energy))(x)


def test_export_of_transformed_functions(tmp_path):
    model = Forces()
    x = rand(4, 6).astype("f4")
    want = [y.detach().numpy() for y in model(tk.tensor(x))]
    exported = export(model, (tk.tensor(x),), {"x": {0: "batch"}})
    path = tmp_path / "forces.onnx"
    save_model(exported, path, inline=True)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {n.domain for n in proto.graph.node} <= {"", "ai.onnx"}
    assert not {n.op_type for n in proto.graph.node} & {"Loop", "Scan"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for got, expected in zip(session.run(None, {"x": x}), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)
    other = rand(7, 6).astype("f4")
    got = session.run(None, {"x": other})
    for g, w in zip(got, model(tk.tensor(other)), strict=True):
        np.testing.assert_allclose(g, w.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_a_transformed_function_trains():
    """A loss with gradients in it, in one compiled step: as the eager steps, and as torch's."""

    class Smooth(tk.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(tk.nn)

        def forward(self, x):
            slopes = func.vmap(func.grad(lambda a: self.net(a).sum()))(x)
            return (self.net(x) ** 2).mean() + (slopes**2).mean()

    build, x = MODELS["mlp"]
    x = x.astype("f4")
    results = []
    for compiled in (True, False):
        tk.manual_seed(0)
        model = Smooth()
        start = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        optimizer = tk.optim.SGD(model.parameters(), lr=0.1)
        step = tk.train.TrainStep(model, lambda y, t: y, optimizer)
        for _ in range(3):
            if compiled:
                step(x, LABELS)
            else:
                optimizer.zero_grad()
                model(tk.tensor(x)).backward()
                optimizer.step()
        results.append({k: v.numpy().copy() for k, v in model.state_dict().items()})
    theirs = build(torch.nn)
    theirs.load_state_dict({k.removeprefix("net."): torch.tensor(v) for k, v in start.items()})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        a = torch.tensor(x, requires_grad=True)
        y = theirs(a)
        (slopes,) = torch.autograd.grad(y.sum(), [a], create_graph=True)
        ((y**2).mean() + (slopes**2).mean()).backward()
        optimizer.step()
    for key, w in theirs.state_dict().items():
        for got in results:
            np.testing.assert_allclose(got[f"net.{key}"], w.numpy(), rtol=1e-4, atol=1e-6)
