"""The moving average of the weights in the compiled step, beside torch's AveragedModel."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import toolkit as tk
from tests.train.test_updates import data, pair, torch_loss
from toolkit import errors, nn, optim
from toolkit.train import GradScaler, TrainStep


def follow(steps, accumulate=1, decay=0.9):
    """A step and torch's averaged model after the same batches."""
    net, mine, twin, peer = pair("AdamW", rate=0.05)
    step = TrainStep(net, nn.MSELoss(), mine, accumulate=accumulate, ema_decay=decay)
    averaged = torch.optim.swa_utils.AveragedModel(
        twin, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    )
    for i, (x, y) in enumerate(data(steps)):
        step(x, y)
        (torch_loss(twin, x, y) / accumulate).backward()
        if i % accumulate == accumulate - 1:
            peer.step()
            peer.zero_grad()
            averaged.update_parameters(twin)
    return step, twin, averaged.module


@pytest.mark.parametrize(("steps", "accumulate"), [(1, 1), (6, 1), (7, 3)])
def test_average_equals_torchs(steps, accumulate):
    step, twin, want = follow(steps, accumulate)
    (x, _), *_ = data(1)
    got, plain = step.predict(x, averaged=True)[0], step.predict(x)[0]
    np.testing.assert_allclose(got, want(torch.tensor(x)).detach().numpy(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(plain, twin(torch.tensor(x)).detach().numpy(), rtol=2e-5, atol=1e-6)
    assert int(step.state_dict()["ema.count"]) == steps // accumulate
    for name, p in want.named_parameters():
        np.testing.assert_allclose(
            step.state_dict()[f"ema.{name}"], p.detach().numpy(), rtol=2e-5, atol=1e-6
        )


def test_file_infers_with_the_average_and_trains_on_from_the_weights(tmp_path):
    step, _, want = follow(5)
    path = tmp_path / "averaged.onnx"
    step.save(path, averaged=True)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    (x, y), *_ = data(1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (there,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(there, want(torch.tensor(x)).detach().numpy(), rtol=2e-5, atol=1e-6)
    loaded = tk.load_training(path)
    assert loaded.averages
    for _ in range(2):
        assert float(loaded(x, y)[0]) == float(step(x, y)[0])
    for name, array in step.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)
    assert loaded.evaluate(x, y, averaged=True)[0] == step.evaluate(x, y, averaged=True)[0]


def test_before_a_step_the_average_is_the_weights():
    step, *_ = follow(0)
    (x, y), *_ = data(1)
    step.prepare(x, y)
    assert not step.averages
    np.testing.assert_array_equal(step.predict(x, averaged=True)[0], step.predict(x)[0])


def test_a_skipped_step_is_not_averaged():
    net, mine, *_ = pair()
    step = TrainStep(net, nn.MSELoss(), mine, grad_scaler=GradScaler(), ema_decay=0.5)
    (x, y), *_ = data(1)
    step(x, np.full_like(y, np.inf))
    assert int(step.state_dict()["ema.count"]) == 0
    step(x, y)
    assert int(step.state_dict()["ema.count"]) == 1


def test_frozen_weights_and_statistics_are_the_models_own():
    tk.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    net[0].weight.requires_grad_(False)
    trains = [p for p in net.parameters() if p.requires_grad]
    step = TrainStep(net, nn.MSELoss(), optim.SGD(trains, lr=0.1), ema_decay=0.9)
    for x, y in data(3):
        step(x, y)
    names = {n for n in step.state_dict() if n.startswith("ema.")}
    assert names == {"ema.count", "ema.0.bias", "ema.1.weight", "ema.1.bias", "ema.2.weight",
                     "ema.2.bias"}  # fmt: skip
    twin = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    twin.load_state_dict({
        k: tk.as_tensor(step.state_dict().get(f"ema.{k}", step.state_dict()[k]).copy())
        for k in net.state_dict()
    })  # fmt: skip
    twin.eval()
    (x, _), *_ = data(1)
    np.testing.assert_allclose(
        step.predict(x, averaged=True)[0], twin(tk.as_tensor(x)).detach().numpy(), rtol=1e-5
    )


def test_decay_out_of_range():
    net, mine, *_ = pair()
    with pytest.raises(errors.InvalidArgumentError, match=r"from 0 to 1 is required as ema_decay"):
        TrainStep(net, nn.MSELoss(), mine, ema_decay=1.5)
