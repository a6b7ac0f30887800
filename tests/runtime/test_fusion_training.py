"""Fused training steps and gradients against the plain path, on drawn stacks of modules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit as tk
from toolkit import nn, optim
from toolkit._tensor import segments
from toolkit.train import TrainStep

ACTIVATIONS = [nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.ELU, nn.Hardswish]


def stack(activations, width: int, norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for activation in activations:
        layers += [nn.Linear(width, width), activation()]
        if norm:
            layers.append(nn.LayerNorm(width))
    return nn.Sequential(*layers)


def both(run):
    """What `run` gives, fused and with every operator on its own."""
    fused = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_OPT", "0")
        return fused, run()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(ACTIVATIONS), min_size=1, max_size=3),
    st.sampled_from([(4,), (2, 3), (1, 1, 2)]),
    st.sampled_from([1, 5, 16]),
    st.booleans(),
    st.sampled_from([optim.SGD, optim.AdamW]),
)
def test_steps(activations, batch, width, norm, optimizer):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((*batch, width)).astype(np.float32) for _ in range(2))

    def run():
        tk.manual_seed(0)
        model = stack(activations, width, norm)
        step = TrainStep(model, nn.MSELoss(), optimizer(model.parameters(), lr=1e-3))
        return [float(step(x, y)[0]) for _ in range(4)]

    fused, single = both(run)
    np.testing.assert_allclose(fused, single, rtol=1e-4, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(ACTIVATIONS), min_size=1, max_size=3),
    st.sampled_from([(4,), (2, 3)]),
    st.booleans(),
)
def test_eager_gradients(activations, batch, norm):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((*batch, 7))

    def run():
        segments._cache.clear()
        tk.manual_seed(0)
        model = stack(activations, 7, norm).double()
        t = tk.tensor(x, requires_grad=True)
        (model(t).square().sum() * 0.5).backward()
        return [t.grad.numpy(), *(p.grad.numpy() for p in model.parameters())]

    for a, b in zip(*both(run), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 5]),
    st.sampled_from([3, 17]),
)
def test_lstm_hands_its_gates_to_its_gradient(layers, both_ways, batch_first, batch, width):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 6, 4) if batch_first else (6, batch, 4)).astype(np.float32)
    directions = 2 if both_ways else 1
    y = rng.standard_normal((*x.shape[:2], directions * width)).astype(np.float32)

    def run():
        tk.manual_seed(0)
        lstm = Tagger(4, width, layers, batch_first=batch_first, bidirectional=both_ways)
        step = TrainStep(lstm, nn.MSELoss(), optim.SGD(lstm.parameters(), lr=0.5))
        losses = [float(step(x, y)[0]) for _ in range(4)]
        fused = sum(
            node["domain"] == "toolkit.fused" and node["op_type"] == "LSTM"
            for node in nodes_of(step, x, y)
        )
        return losses, fused

    (fused, joined), (single, apart) = both(run)
    np.testing.assert_allclose(fused, single, rtol=1e-5)
    assert joined == layers
    assert apart == 0


class Tagger(nn.LSTM):
    """An LSTM that gives its outputs alone."""

    def forward(self, x):
        return super().forward(x)[0]


def nodes_of(step: TrainStep, *batch: np.ndarray) -> list[dict]:
    """The instructions of the compiled step."""
    program = step._programs["train"].program
    program.enable_profile(True)
    step(*batch)
    return program.profile()["nodes"]
