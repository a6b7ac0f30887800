"""Optimizers under a compiled step: its state is theirs, so both ways of stepping can be mixed."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.train import TrainStep

KINDS = [
    ("SGD", {"lr": 0.125, "momentum": 0.5, "dampening": 0.25}),
    ("SGD", {"lr": 0.125}),
    ("Adam", {"lr": 0.125, "amsgrad": True}),
    ("AdamW", {"lr": 0.125, "maximize": True}),
]


def setup(kind, options):
    tk.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = getattr(optim, kind)(model.parameters(), **options)
    x, y = tk.randn(5, 3), tk.tensor([0, 1, 1, 0, 1])
    return model, optimizer, x, y


def eager(model, optimizer, x, y):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_mixed_steps_are_eager_steps(kind, options):
    model, optimizer, x, y = setup(kind, options)
    twin, other, _, _ = setup(kind, options)
    for _ in range(7):
        eager(twin, other, x, y)
    eager(model, optimizer, x, y)
    step = TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    for _ in range(3):
        step(x, y)
    state = optimizer.state_dict()["state"]
    for i, theirs in other.state_dict()["state"].items():
        assert state[i].keys() == theirs.keys()
        if "step" in theirs:
            assert state[i]["step"].item() == 4
    eager(model, optimizer, x, y)
    restored = optim.__dict__[kind](model.parameters(), **options)
    restored.load_state_dict(optimizer.state_dict())
    eager(model, restored, x, y)
    eager(model, restored, x, y)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-5, 1e-6)
