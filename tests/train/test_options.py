"""Options of the optimizer that change between the steps of a compiled `TrainStep`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import toolkit as tk
from toolkit import errors, nn, optim
from toolkit.train import TrainStep
from toolkit.train.step import MANY_CHANGES

RNG = np.random.default_rng(0)
DATA = [
    (RNG.standard_normal((8, 6)).astype(np.float32), RNG.standard_normal((8, 3)).astype(np.float32))
    for _ in range(9)
]


def pair(kind: str, **options):
    """Our step and a function that does torch's, from equal weights."""
    tk.manual_seed(0)
    net, twin = nn.Linear(6, 3), torch.nn.Linear(6, 3)
    twin.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in net.state_dict().items()})
    step = TrainStep(net, nn.MSELoss(), getattr(optim, kind)(net.parameters(), **options))
    peer = getattr(torch.optim, kind)(twin.parameters(), **options)

    def torch_step(x, y):
        peer.zero_grad()
        torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y)).backward()
        peer.step()

    return step, peer, torch_step, twin


def assert_equal(step, twin):
    for p, q in zip(step.model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "changes"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, {"nesterov": True}),
        ("SGD", {"lr": 0.1}, {"maximize": True}),
        ("SGD", {"lr": 0.1}, {"momentum": 0.9}),
        ("AdamW", {"lr": 0.1}, {"weight_decay": 0.3, "betas": (0.7, 0.9)}),
        ("Adam", {"lr": 0.1}, {"eps": 0.1}),
    ],
    ids=str,
)
def test_a_changed_option_counts_from_the_next_step(kind, options, changes):
    step, peer, torch_step, twin = pair(kind, **options)
    for i, (x, y) in enumerate(DATA):
        if i in (3, 6):
            for group in (*step.param_groups, *peer.param_groups):
                group.update(changes if i == 3 else {k: peer.defaults[k] for k in changes})
        step(x, y)
        torch_step(x, y)
        assert_equal(step, twin)
    assert int(step.state_dict()["optimizer.step"]) == len(DATA)


def test_a_parameter_that_is_frozen_rests():
    step, _, torch_step, twin = pair("SGD", lr=0.1)
    for i, (x, y) in enumerate(DATA):
        if i == 4:
            step.model.bias.requires_grad_(False)
            twin.bias.requires_grad_(False)
            twin.bias.grad = None
        step(x, y)
        torch_step(x, y)
    assert_equal(step, twin)


def test_the_largest_norm_may_change():
    step, *_ = pair("SGD", lr=1.0)
    step(*DATA[0])
    before = step.model.weight.detach().clone().numpy()
    step.clip_grad_norm = 1e-3
    step(*DATA[1])
    assert 0 < np.linalg.norm(step.model.weight.detach().numpy() - before) <= 1e-3


def test_nothing_is_compiled_anew_for_a_learning_rate():
    step, peer, torch_step, twin = pair("SGD", lr=0.1, momentum=0.9)
    step(*DATA[0])
    torch_step(*DATA[0])
    program = step._programs["train"]
    for x, y in DATA:
        for group in (*step.param_groups, *peer.param_groups):
            group["lr"] *= 0.7
        step(x, y)
        torch_step(x, y)
    assert step._programs["train"] is program
    assert_equal(step, twin)


def test_many_changes_are_a_warning():
    step, *_ = pair("SGD", lr=0.1, momentum=0.9)
    with pytest.warns(UserWarning, match="compiled anew"):
        for i in range(MANY_CHANGES + 1):
            step.param_groups[0]["momentum"] = 0.1 + 0.05 * i
            step(*DATA[0])


@pytest.mark.parametrize("name", ["weight_decay", "momentum", "betas"])
def test_a_step_from_a_file_refuses_other_options(tmp_path, name):
    step, *_ = pair("SGD", lr=0.1, momentum=0.9)
    step(*DATA[0])
    step.save(tmp_path / "m.onnx")
    loaded = tk.load_training(tmp_path / "m.onnx")
    loaded.param_groups[0]["lr"] = 0.01
    loaded(*DATA[0])
    loaded.param_groups[0][name] = 0.5
    with pytest.raises(errors.InvalidArgumentError, match=f"only 'lr' may be set, .*'{name}'"):
        loaded(*DATA[0])


def test_schedulers_work_on_a_step_from_a_file(tmp_path):
    step, *_ = pair("SGD", lr=0.1)
    step(*DATA[0])
    step.save(tmp_path / "m.onnx")
    loaded = tk.load_training(tmp_path / "m.onnx")
    schedule = optim.lr_scheduler.StepLR(loaded.optimizer, step_size=1, gamma=0.5)
    for rate in (0.1, 0.05, 0.025):
        assert loaded.learning_rates() == pytest.approx([rate])
        loaded(*DATA[0])
        schedule.step()
