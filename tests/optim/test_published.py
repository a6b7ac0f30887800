"""Lion and LAMB, which torch has not, against numpy written from the papers; steps in bfloat16."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim

torch = pytest.importorskip("torch")


def lion(p, g, state, lr, betas, weight_decay):
    """Chen et al., 2023, algorithm 2."""
    m = state.setdefault("exp_avg", np.zeros_like(p))
    update = np.sign(betas[0] * m + (1 - betas[0]) * g)
    state["exp_avg"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * (update + weight_decay * p)


def lamb(p, g, state, lr, betas, eps, weight_decay):
    """You et al., 2020, algorithm 2, with phi the identity."""
    t = state["t"] = state.get("t", 0) + 1
    m = betas[0] * state.get("exp_avg", 0) + (1 - betas[0]) * g
    v = betas[1] * state.get("exp_avg_sq", 0) + (1 - betas[1]) * g * g
    state |= {"exp_avg": m, "exp_avg_sq": v}
    r = (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    u = r + weight_decay * p
    weight, size = np.linalg.norm(p.ravel()), np.linalg.norm(u.ravel())
    ratio = weight / size if weight > 0 and size > 0 else 1.0
    return p - lr * ratio * u


CASES = [
    ("Lion", lion, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.0}),
    ("Lion", lion, {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.3}),
    ("LAMB", lamb, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01}),
    ("LAMB", lamb, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.3}),
    ("LAMB", lamb, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.0}),
]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("name", "formula", "options"), CASES)
def test_100_steps(name, formula, options, maximize):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s) for s in ((4, 3), (7,), (2, 3, 5))] + [np.zeros(3)]
    params = [nn.Parameter(tk.tensor(v)) for v in values]
    states = [{} for _ in values]
    optimizer = getattr(optim, name)(params, maximize=maximize, **options)
    for _ in range(100):
        for i, p in enumerate(params):
            g = rng.standard_normal(p.shape)
            p.grad = tk.tensor(g)
            values[i] = formula(values[i], -g if maximize else g, states[i], **options)
        optimizer.step()
    for p, value, state in zip(params, values, states, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), value, 1e-10, 1e-12)
        for key in ("exp_avg", "exp_avg_sq"):
            if key in state:
                np.testing.assert_allclose(optimizer.state[p][key].numpy(), state[key], 1e-10)


BFLOAT16 = ["SGD", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "Adafactor", "Muon"]


@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16(name):
    """Parameters of half precision; rounding differs from torch's, which rounds each operation."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((6, 5)).astype(np.float32)
    p = nn.Parameter(tk.tensor(start).to(tk.bfloat16))
    q = torch.nn.Parameter(torch.tensor(start).bfloat16())
    mine, other = getattr(optim, name)([p], lr=0.02), getattr(torch.optim, name)([q], lr=0.02)
    for _ in range(4):
        g = rng.standard_normal((6, 5)).astype(np.float32)
        p.grad, q.grad = tk.tensor(g).to(tk.bfloat16), torch.tensor(g).bfloat16()
        mine.step()
        other.step()
    assert p.dtype == tk.bfloat16
    for state in mine.state[p].values():
        assert state.ndim == 0 or state.dtype == tk.bfloat16
    got = p.detach().to(tk.float32).numpy()
    np.testing.assert_allclose(got, q.detach().float().numpy(), rtol=0.02, atol=0.02)
