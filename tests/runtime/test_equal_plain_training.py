"""Training steps of drawn networks against the plain path of TOOLKIT_OPT=0."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit as tk
from tests.runtime.plain import on_the_plain_path
from toolkit import nn, optim
from toolkit.train import TrainStep

BOUND = 1e-4  # Of gradients, to the largest number: rounding, through BatchNorm of few numbers.
Layer = tuple[str, dict[str, Any]]  # A class of toolkit.nn and its arguments.


class First(nn.Module):
    """The sequence that a recurrent or attention module gives, without its states."""

    def __init__(self, module: nn.Module, times: int = 1, **how: Any) -> None:
        super().__init__()
        self.module, self.times, self.how = module, times, how

    def forward(self, x):
        return self.module(*[x] * self.times, **self.how)[0]


def build(layers: list[Layer]) -> nn.Sequential:
    made: list[nn.Module] = []
    for name, how in layers:
        if name == "MultiheadAttention":
            made.append(First(nn.MultiheadAttention(**how, batch_first=True), 3))
        elif name in ("LSTM", "GRU", "RNN"):
            made.append(First(getattr(nn, name)(**how)))
        else:
            made.append(getattr(nn, name)(**how))
    return nn.Sequential(*made)


def losses_and_states(
    layers: list[Layer], optimizer: str, options: dict[str, Any], shape: tuple[int, ...], steps: int
) -> tuple[list[float], dict[str, np.ndarray]]:
    """A training from the same weights and data, wherever it runs."""
    tk.manual_seed(0)
    model = build(layers)
    step = TrainStep(model, nn.MSELoss(), getattr(optim, optimizer)(model.parameters(), **options))
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    y = rng.standard_normal(model(tk.tensor(x)).shape).astype(np.float32)
    losses = [float(step(x, y)[0]) for _ in range(steps)]
    return losses, {k: v.copy() for k, v in step.state_dict().items()}


def assert_equal(layers: list[Layer], shape: tuple[int, ...], optimizer: str = "SGD") -> None:
    """The gradients, which momentum's buffers hold after one step, then the losses of some."""
    case = (layers, "SGD", {"lr": 0.1, "momentum": 0.9}, shape, 1)
    _, states = losses_and_states(*case)
    _, want = on_the_plain_path(losses_and_states, *case)
    assert states.keys() == want.keys()
    largest = max(float(np.abs(v).max()) for v in want.values())
    for name, value in want.items():  # One that cancels is as exact as what it is made of.
        size = max(np.abs(value).max(), largest / 100)
        assert np.abs(states[name] - value).max() <= BOUND * size, name
    case = (layers, optimizer, {"lr": 1e-3}, shape, 4)
    losses, _ = losses_and_states(*case)
    np.testing.assert_allclose(losses, on_the_plain_path(losses_and_states, *case)[0], rtol=1e-3)


SMOOTH = ["GELU", "Tanh", "Sigmoid", "SiLU", "Softplus", "ELU", "Hardswish", "ReLU", "Identity"]


@st.composite
def images(draw) -> tuple[list[Layer], tuple[int, ...]]:
    """Blocks of Conv2d or ConvTranspose2d, BatchNorm2d, an activation and a pool; then Linear."""
    channels, side = draw(st.integers(1, 20)), [draw(st.integers(7, 20)) for _ in range(2)]
    batch = draw(st.integers(2, 5))
    shape = (batch, channels, *side)
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["3x3", "3x3", "1x1", "any", "depthwise", "transposed"]))
        out, group = draw(st.integers(1, 24)), 1
        k, stride, pad, dilation = 3, 1, draw(st.integers(0, 1)), 1
        if kind == "1x1":
            k, pad = 1, 0
        elif kind == "any":
            k, stride = draw(st.integers(1, 4)), draw(st.integers(1, 2))
            dilation = draw(st.integers(1, 2))
        elif kind == "depthwise":
            out, group, k = channels * draw(st.integers(1, 2)), channels, draw(st.integers(2, 4))
        elif kind == "transposed":
            k = draw(st.integers(2, 3))
            stride, pad = k, 0
        how = {"kernel_size": k, "stride": stride, "padding": pad, "groups": group}
        how |= {"dilation": dilation, "bias": draw(st.booleans())}
        extent = (k - 1) * dilation + 1
        if min(side) + 2 * pad < extent or (kind == "transposed" and max(side) > 12):
            continue
        name = "ConvTranspose2d" if kind == "transposed" else "Conv2d"
        layers.append((name, {"in_channels": channels, "out_channels": out} | how))
        if kind == "transposed":
            side = [n * stride for n in side]
        else:
            side = [(n + 2 * pad - extent) // stride + 1 for n in side]
        channels = out
        if draw(st.booleans()):
            layers.append(("BatchNorm2d", {"num_features": channels}))
        layers.append((draw(st.sampled_from(SMOOTH)), {}))
        if min(side) >= 4 and draw(st.booleans()):
            pool = draw(st.sampled_from(["MaxPool2d", "AvgPool2d"]))
            k, stride = draw(st.integers(2, 3)), draw(st.integers(1, 2))
            layers.append((pool, {"kernel_size": k, "stride": stride}))
            side = [(n - k) // stride + 1 for n in side]
    layers.append(("Flatten", {}))
    layers.append(("Linear", {"in_features": channels * side[0] * side[1], "out_features": 7}))
    return layers, shape


@settings(max_examples=25)
@given(images())
def test_convolutional_networks(case):
    assert_equal(*case)


@st.composite
def sequences(draw) -> tuple[list[Layer], tuple[int, ...]]:
    """Recurrent layers, attention, LayerNorm, Linear and activations over (N, L, D)."""
    width = draw(st.sampled_from([1, 4, 6, 17, 32]))
    shape = (draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 8, 19])), width)
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["LSTM", "GRU", "RNN", "attention", "linear", "norm"]))
        if kind == "attention":
            heads = draw(st.sampled_from([h for h in (1, 2, 3, 4) if width % h == 0]))
            layers.append(("MultiheadAttention", {"embed_dim": width, "num_heads": heads}))
        elif kind == "linear":
            out = draw(st.sampled_from([1, 4, 17, 33]))
            layers.append(("Linear", {"in_features": width, "out_features": out}))
            layers.append((draw(st.sampled_from(SMOOTH)), {}))
            width = out
        elif kind == "norm":
            if width > 1:
                layers.append(("LayerNorm", {"normalized_shape": width}))
        else:
            out, both = draw(st.sampled_from([1, 5, 16, 18])), draw(st.booleans())
            how = {"input_size": width, "hidden_size": out, "bidirectional": both}
            layers.append(
                (kind, how | {"batch_first": True, "num_layers": draw(st.integers(1, 2))})
            )
            width = out * (2 if both else 1)
    layers.append(("Linear", {"in_features": width, "out_features": 3}))
    return layers, shape


@settings(max_examples=25)
@given(sequences(), st.sampled_from(["SGD", "Adam", "AdamW"]))
def test_sequence_networks(case, optimizer):
    assert_equal(*case, optimizer)


@settings(max_examples=15)
@given(st.one_of(images(), sequences()), st.sampled_from(["SGD", "AdamW", "RMSprop"]))
def test_threads_do_not_change_a_bit(case, optimizer):
    layers, (batch, *rest) = case
    results = set()
    for threads in (1, 2, 3, 4):
        tk.set_num_threads(threads)
        losses, states = losses_and_states(
            layers, optimizer, {"lr": 1e-3}, (4 * batch, *rest), steps=2
        )
        results.add((tuple(losses), b"".join(v.tobytes() for v in states.values())))
    assert len(results) == 1
