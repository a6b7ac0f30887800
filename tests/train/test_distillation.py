"""Distillation from a teacher's file, beside the same in torch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

import toolkit as tk
from tests.tolerances import GRADIENT_32
from toolkit import errors, nn, optim
from toolkit.data import DataLoader, TensorDataset
from toolkit.train import Trainer, TrainStep, distill_loss

RTOL, ATOL = GRADIENT_32
T, ALPHA, WEIGHT = 3.0, 0.7, 0.5


def net(width):
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(0.0), nn.Linear(width, 4))


@pytest.fixture
def teacher(tmp_path):
    tk.manual_seed(1)
    net(8).save(tmp_path / "teacher.onnx", inputs=tk.zeros(2, 6))
    return tmp_path / "teacher.onnx"


def batch(rng, n=16):
    return rng.standard_normal((n, 6)).astype(np.float32), rng.integers(0, 4, n)


def torch_of(model):
    weights = {k: torch.tensor(v.numpy().copy()) for k, v in model.state_dict().items()}
    made = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Identity(), torch.nn.Linear(8, 4)
    )
    made.load_state_dict(weights)
    return made


@pytest.mark.parametrize("loaded", [False, True], ids=["module", "file"])
@pytest.mark.parametrize("alpha", [0.0, ALPHA, 1.0])
def test_beside_torch(teacher, rng, tmp_path, alpha, loaded):
    """Losses of six steps and the weights after them; hidden values of a module or a file."""
    tk.manual_seed(2)
    student = net(8)
    theirs, told = torch_of(student), torch_of(tk.load(teacher))
    name = "1"
    if loaded:
        student.save(tmp_path / "student.onnx", inputs=tk.zeros(2, 6))
        student = tk.load(tmp_path / "student.onnx")
        name = "1.Relu.out"
    loss = distill_loss(teacher, T, alpha, hidden={name: "1.Relu.out"}, hidden_weight=WEIGHT)
    step = TrainStep(student, loss, optim.SGD(student.parameters(), lr=0.1))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(6):
        x, y = batch(rng)
        got, _ = step(tk.tensor(x), tk.tensor(y))
        x, y = torch.tensor(x), torch.tensor(y)
        hidden, goal = theirs[:2](x), told[:2](x).detach()
        logits, taught = theirs[3](hidden), told(x).detach()
        soft = torch.nn.functional.kl_div(
            torch.log_softmax(logits / T, -1), torch.softmax(taught / T, -1), reduction="batchmean"
        )
        want = alpha * T**2 * soft + (1 - alpha) * torch.nn.functional.cross_entropy(logits, y)
        want = want + WEIGHT * torch.nn.functional.mse_loss(hidden, goal)
        optimizer.zero_grad()
        want.backward()
        optimizer.step()
        np.testing.assert_allclose(float(got), want.item(), RTOL)
    for key, value in theirs.state_dict().items():
        mine = student.get_parameter(key).detach().numpy()
        np.testing.assert_allclose(mine, value.numpy(), RTOL, ATOL, err_msg=key)


def test_the_teacher_stays_as_it_is(teacher, rng, tmp_path):
    """It gets no gradients and no optimizer state, and the saved model is the student alone."""
    tk.manual_seed(2)
    master = tk.load(teacher)
    before = {k: v.numpy().copy() for k, v in master.state_dict().items()}
    student = net(5)
    step = TrainStep(student, distill_loss(master), optim.AdamW(student.parameters(), lr=0.05))
    x, y = (tk.tensor(a) for a in batch(rng, 64))
    losses = [float(step(x, y)[0]) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    for key, value in before.items():
        np.testing.assert_array_equal(master.state_dict()[key].numpy(), value)
    moments = [n for n in step.state_dict() if n.startswith("optimizer.")]
    assert moments and not any("teacher" in n for n in moments)
    student.save(tmp_path / "student.onnx", inputs=x)
    assert {t.name for t in onnx.load(tmp_path / "student.onnx").graph.initializer} == {
        "0.weight", "0.bias", "3.weight", "3.bias",
    }  # fmt: skip


def test_a_saved_training_goes_on(teacher, rng, tmp_path):
    """The one file holds the teacher in its algorithm, not in its model."""
    tk.manual_seed(2)
    student = net(5)
    loss = distill_loss(teacher, hidden={"3": "output"})
    step = TrainStep(student, loss, optim.AdamW(student.parameters(), lr=0.05))
    x, y = (tk.tensor(a) for a in batch(rng))
    step(x, y)
    step.save(tmp_path / "step.onnx")
    proto = onnx.load(tmp_path / "step.onnx")
    assert not any("teacher" in t.name for t in proto.graph.initializer)
    resumed = tk.load_training(tmp_path / "step.onnx")
    assert [float(step(x, y)[0]) for _ in range(3)] == [float(resumed(x, y)[0]) for _ in range(3)]
    assert step.evaluate(x, y)[0] == resumed.evaluate(x, y)[0]


def test_in_a_trainer(teacher, rng):
    """With labels that say nothing, the student learns the teacher's classes."""
    tk.manual_seed(2)
    x, _ = batch(rng, 256)
    taught = tk.load(teacher)(tk.tensor(x)).detach().numpy().argmax(1)
    student = net(16)
    step = TrainStep(
        student, distill_loss(teacher, alpha=1.0), optim.AdamW(student.parameters(), lr=0.02)
    )
    data = TensorDataset(tk.tensor(x), tk.zeros(256, dtype=tk.int64))
    Trainer(step, progress=False).fit(DataLoader(data, 32, shuffle=True, generator=0), epochs=30)
    student.eval()
    assert (student(tk.tensor(x)).detach().numpy().argmax(1) == taught).mean() > 0.9


def test_eager(teacher, rng):
    student = net(5)
    x, y = (tk.tensor(a) for a in batch(rng))
    loss = distill_loss(teacher, hidden={"3": "output"})
    outputs, value = loss.run(student, (x,), y)
    value.backward()
    assert outputs[0].shape == (16, 4) and student[0].weight.grad is not None
    step = TrainStep(student, loss, optim.SGD(student.parameters(), lr=0.0))
    np.testing.assert_allclose(float(step(x, y)[0]), float(value.detach()), RTOL)
    with pytest.raises(errors.InvalidArgumentError, match="the model's inputs are required"):
        loss(outputs[0], y)


def test_what_is_refused(teacher, rng):
    x, y = (tk.tensor(a) for a in batch(rng))
    for options in ({"temperature": 0.0}, {"alpha": 1.5}):
        with pytest.raises(errors.InvalidArgumentError, match="a temperature above 0 and alpha"):
            distill_loss(teacher, **options)
    with pytest.raises(errors.InvalidArgumentError, match=r"got '1.Rel'. Near names: '1.Relu.out"):
        distill_loss(teacher, hidden={"1": "1.Rel"}).run(net(8), (x,), y)
    with pytest.raises(errors.InvalidArgumentError, match=r"got 'first'. Near names: "):
        distill_loss(teacher, hidden={"first": "1.Relu.out"}).run(net(8), (x,), y)
    with pytest.raises(errors.ShapeError, match="is required at '1', got"):
        distill_loss(teacher, hidden={"1": "1.Relu.out"}).run(net(5), (x,), y)
