"""Accumulation, clipping and loss scaling in the compiled step, beside torch's eager loop."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch

import toolkit as tk
from tests.autodiff.helpers import run
from toolkit import errors, nn, optim
from toolkit.graph.targets import check_target
from toolkit.train import GradScaler, TrainStep
from toolkit.train.onefile import export_train_step

RNG = np.random.default_rng(0)


def data(count: int, scale: float = 1.0, rows: int = 6):
    """Batches of five numbers to three."""
    return [
        tuple((RNG.standard_normal((rows, k)) * scale).astype(np.float32) for k in (5, 3))
        for _ in range(count)
    ]


def pair(kind: str = "SGD", seed: int = 0, rate: float = 0.1, dtype=None, **options):
    """A net and torch's of the same weights, with an optimizer each."""
    tk.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    twin = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    twin.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in net.state_dict().items()})
    peer = getattr(torch.optim, kind)(twin.parameters(), lr=rate, **options)
    return net, getattr(optim, kind)(net.parameters(), lr=rate, **options), twin, peer


def torch_loss(twin, x, y):
    return torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y))


def assert_equal(net, twin, rtol=2e-5, atol=1e-6):
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=rtol, atol=atol)


OPTIMIZERS = [("SGD", {"momentum": 0.9}), ("AdamW", {})]


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_accumulation_equals_torchs_loop(kind, options):
    net, mine, twin, peer = pair(kind, rate=0.02, **options)
    step = TrainStep(net, nn.MSELoss(), mine, accumulate=3)
    for i, (x, y) in enumerate(data(9)):
        before = [p.detach().numpy().copy() for p in net.parameters()]
        loss, _ = step(x, y)
        want = torch_loss(twin, x, y)
        np.testing.assert_allclose(loss.numpy(), want.detach().numpy(), rtol=1e-5)
        (want / 3).backward()
        if i % 3 == 2:
            peer.step()
            peer.zero_grad()
        else:
            for p, q in zip(net.parameters(), before, strict=True):
                np.testing.assert_array_equal(p.detach().numpy(), q)
        assert_equal(net, twin)
        assert int(step.state_dict()["optimizer.step"]) == (i + 1) // 3


def test_accumulation_equals_one_large_batch():
    net, mine, *_ = pair("AdamW", rate=0.02)
    other, theirs, *_ = pair("AdamW", rate=0.02)
    step, large = (
        TrainStep(net, nn.MSELoss(), mine, accumulate=4),
        TrainStep(other, nn.MSELoss(), theirs),
    )
    for _ in range(3):
        parts = data(4)
        for x, y in parts:
            step(x, y)
        large(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("order", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("largest", [0.05, 1e6])
def test_clipping_by_norm_equals_torch(order, largest):
    net, mine, twin, peer = pair()
    step = TrainStep(net, nn.MSELoss(), mine, clip_grad_norm=largest, clip_norm_type=order)
    for x, y in data(3, 5.0):
        step(x, y)
        peer.zero_grad()
        torch_loss(twin, x, y).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), largest, order)
        peer.step()
    assert_equal(net, twin)


def test_clipping_by_value_comes_before_clipping_by_norm():
    net, mine, twin, peer = pair()
    step = TrainStep(
        net, nn.MSELoss(), mine, clip_grad_norm=0.1, clip_grad_value=0.02, accumulate=2
    )
    for i, (x, y) in enumerate(data(6, 5.0)):
        step(x, y)
        (torch_loss(twin, x, y) / 2).backward()
        if i % 2:
            torch.nn.utils.clip_grad_value_(twin.parameters(), 0.02)
            torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
            peer.step()
            peer.zero_grad()
    assert_equal(net, twin)


SCALER = {"init_scale": 2.0**10, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_loss_scaling_equals_torchs_grad_scaler(kind, options, accumulate):
    """Scale, counter, skipped steps and parameters over batches of which some give infinities."""
    net, mine, twin, peer = pair(kind, rate=0.02, **options)
    step = TrainStep(net, nn.MSELoss(), mine, clip_grad_norm=0.5, accumulate=accumulate,
                     grad_scaler=GradScaler(**SCALER))  # fmt: skip
    scaler = torch.amp.GradScaler("cpu", **SCALER)
    done = 0
    for i, (x, y) in enumerate(data(24)):
        if i in (2, 9, 10, 17):
            y = y.copy()
            y[0, 0] = np.inf if i % 2 else np.nan
        step(x, y)
        scaler.scale(torch_loss(twin, x, y) / accumulate).backward()
        if (i + 1) % accumulate:
            continue
        scaler.unscale_(peer)
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        finite = all(torch.isfinite(p.grad).all() for p in twin.parameters())
        done += finite
        scaler.step(peer)
        scaler.update()
        peer.zero_grad()
        state = step.state_dict()
        assert float(state["grad_scaler.scale"]) == scaler.get_scale()
        assert int(state["grad_scaler.growth_tracker"]) == scaler._get_growth_tracker()
        assert int(state["optimizer.step"]) == done
        assert_equal(net, twin)
    assert 0 < done < 24 // accumulate


def test_a_scale_does_not_grow_beyond_float32():
    net, mine, *_ = pair()
    scaler = GradScaler(init_scale=2.0**127, growth_interval=1)
    step = TrainStep(net, nn.MSELoss(), mine, grad_scaler=scaler)
    x, y = np.zeros((2, 5), np.float32), np.zeros((2, 3), np.float32)
    for p in net.parameters():
        p.data.copy_(tk.zeros_like(p))
    step(x, y)
    assert float(step.state_dict()["grad_scaler.scale"]) == 2.0**127
    assert int(step.state_dict()["grad_scaler.growth_tracker"]) == 0


class Half(nn.Module):
    """A product in float16 of a float32 weight, as under autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(tk.ones(4, 1))

    def forward(self, x):
        return x @ self.weight.to(tk.float16)


def test_float16_trains_where_gradients_would_vanish():
    """Gradients below float16's smallest number: lost without a scale, kept with one."""
    moved = []
    x, y = np.full((1, 4), 1e-4, np.float16), np.full((1, 1), 1e-4, np.float16)
    for scaler in (None, GradScaler(init_scale=2.0**15)):
        net = Half()
        rate = optim.SGD(net.parameters(), lr=1e7)
        step = TrainStep(net, lambda out, target: (out * target).sum(), rate, grad_scaler=scaler)
        step(x, y)
        moved.append(np.abs(net.weight.detach().numpy() - 1).max())
    assert moved[0] == 0
    np.testing.assert_allclose(moved[1], 0.1, rtol=0.05)


ALL = {"clip_grad_norm": 0.5, "clip_grad_value": 0.3, "accumulate": 3}


@pytest.mark.parametrize("opset", [21, 18])
def test_a_saved_step_goes_on_bit_for_bit(tmp_path, opset):
    """Saved amid an accumulation: the file and a fresh module go on as the step itself does."""

    def make(seed):
        net, mine, *_ = pair("AdamW", seed, 0.02)
        return TrainStep(net, nn.MSELoss(), mine, **ALL, grad_scaler=GradScaler(**SCALER))

    step, path = make(0), tmp_path / "step.onnx"
    batches = data(14)
    batches[3][1][0, 0] = np.inf
    for x, y in batches[:7]:
        step(x, y)
    step.save(path, opset=opset)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    loaded, again = tk.load_training(path), make(5)
    again.adopt(tk.load_training(path))
    for x, y in batches[7:]:
        for other in (step, loaded, again):
            other(x, y)
    want = step.state_dict()
    assert {"accumulation.count", "grad_scaler.scale", "accumulation.0.weight"} <= want.keys()
    for other in (loaded, again):
        got = other.state_dict()
        assert got.keys() == want.keys()
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_a_training_that_starts_anew_has_its_first_scale():
    net, mine, *_ = pair()
    step = TrainStep(net, nn.MSELoss(), mine, accumulate=2, grad_scaler=GradScaler(init_scale=64.0))
    batches = data(1)
    batches[0][1][0, 0] = np.inf
    for _ in range(3):
        step(*batches[0])
    assert float(step.state_dict()["grad_scaler.scale"]) == 32
    step.initialize()
    assert float(step.state_dict()["grad_scaler.scale"]) == 64
    assert int(step.state_dict()["accumulation.count"]) == 0
    assert not step.state_dict()["accumulation.0.weight"].any()


def test_scale_and_sums_outlive_a_change_of_options():
    net, mine, *_ = pair()
    step = TrainStep(net, nn.MSELoss(), mine, accumulate=4, grad_scaler=GradScaler(**SCALER))
    for x, y in data(2):
        step(x, y)
    sums = step.state_dict()["accumulation.0.weight"].copy()
    mine.param_groups[0]["weight_decay"] = 0.1
    step.prepare(*data(1)[0])
    np.testing.assert_array_equal(step.state_dict()["accumulation.0.weight"], sums)
    assert int(step.state_dict()["accumulation.count"]) == 2


@pytest.mark.parametrize("target", [None, "ortweb"])
def test_the_exported_step_runs_in_onnxruntime(tmp_path, target):
    net, mine, *_ = pair("AdamW", rate=0.02)
    step = TrainStep(net, nn.MSELoss(), mine, **ALL, grad_scaler=GradScaler(**SCALER))
    batches = data(7)
    step.prepare(*batches[0])
    path = tmp_path / "step.onnx"
    export_train_step(path, step, target=target)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {n.domain for n in proto.graph.node} == {""}
    assert target is None or check_target(path, target) == []
    names = [v.name for v in proto.graph.input]
    states = {k: v.copy() for k, v in step.state_dict().items() if k in names}
    for x, y in batches:
        got = run(proto, {names[0]: x, names[1]: y, "lr": np.array(0.02, np.float32), **states})
        step(x, y)
        states = {k: got[f"{k}.next"] for k in states}
    for k, v in states.items():
        want = step.state_dict()[k]
        atol = max(1e-6, 1e-6 * float(np.abs(want).max(initial=0)))  # Sums cancel.
        np.testing.assert_allclose(v, want, rtol=1e-4, atol=atol, err_msg=k)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"accumulate": 0}, "1 or more is required as accumulate, got 0"),
        ({"clip_norm_type": 0.0}, "order above 0 is required as clip_norm_type"),
        ({"clip_grad_value": -1.0}, "required as clip_grad_value, got -1"),
        ({"clip_grad_norm": -1.0}, "required as clip_grad_norm, got -1"),
    ],
)
def test_options_out_of_range(options, match):
    net, mine, *_ = pair()
    with pytest.raises(errors.InvalidArgumentError, match=match):
        TrainStep(net, nn.MSELoss(), mine, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [("init_scale", 0.0), ("growth_factor", 1.0), ("backoff_factor", 1.0), ("growth_interval", 0)],
)
def test_scaler_options_out_of_range(name, value):
    with pytest.raises(errors.InvalidArgumentError, match=f"required as {name}, got"):
        GradScaler(**{name: value})


def test_options_of_a_step_from_a_file_are_fixed(tmp_path):
    net, mine, *_ = pair()
    step = TrainStep(net, nn.MSELoss(), mine)
    step(*data(1)[0])
    step.save(tmp_path / "s.onnx")
    loaded = tk.load_training(tmp_path / "s.onnx")
    loaded.accumulate = 2
    with pytest.raises(errors.InvalidArgumentError, match=r"got \['accumulate'\]"):
        loaded(*data(1)[0])
