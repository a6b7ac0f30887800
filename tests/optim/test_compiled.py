"""Optimizers under a compiled step: its state is theirs, so both ways of stepping can be mixed."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError
from toolkit.train import TrainStep

KINDS = [
    ("SGD", {"lr": 0.125, "momentum": 0.5, "dampening": 0.25}),
    ("SGD", {"lr": 0.125}),
    ("Adam", {"lr": 0.125, "amsgrad": True}),
    ("AdamW", {"lr": 0.125, "maximize": True}),
    ("NAdam", {"lr": 0.125}),
    ("RAdam", {"lr": 0.125}),
    ("Adamax", {"lr": 0.125}),
    ("Adagrad", {"lr": 0.125, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 1.0}),
    ("RMSprop", {"lr": 0.125, "momentum": 0.5, "centered": True, "eps": 0.125}),
    ("Rprop", {"lr": 0.125}),
    ("ASGD", {"lr": 0.125, "t0": 2}),
    ("Lion", {"lr": 0.125}),
    ("LAMB", {"lr": 0.125}),
    ("Adafactor", {"lr": 0.125}),
    ("Muon", {"lr": 0.125}),
]


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


def setup(kind, options):
    tk.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    if kind == "Muon":
        options = {**options, "ns_steps": 2}
        for p in model.parameters():
            p.requires_grad_(p.ndim == 2)
    optimizer = getattr(optim, kind)(trained(model), **options)
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
    restored = optim.__dict__[kind](trained(model), **options)
    restored.load_state_dict(optimizer.state_dict())
    eager(model, restored, x, y)
    eager(model, restored, x, y)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_the_file_goes_on_here_and_in_onnxruntime(tmp_path, kind, options):
    """One step by three: this process, the file read again, the exported step in onnxruntime."""
    import onnxruntime

    model, optimizer, x, y = setup(kind, options)
    step = TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    for _ in range(3):
        step(x, y)
    step.save(tmp_path / "whole.onnx")
    tk.export_train_step(tmp_path / "step.onnx", step)
    step(x, y)
    again = tk.load_training(tmp_path / "whole.onnx")
    again(x, y)
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    feed = {"input": x.numpy(), "target": y.numpy(), "lr": np.array(options["lr"], np.float32)}
    feed = {v.name: feed[v.name] for v in session.get_inputs() if v.name in feed}  # Rprop: no lr.
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(None, feed), strict=True))
    for name, array in step.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array, err_msg=name)
        if f"{name}.next" in found:
            np.testing.assert_allclose(found[f"{name}.next"], array, 1e-4, 1e-5, err_msg=name)
    moving = len(optimizer.state_names(optimizer.param_groups[0])) > 0
    assert any(n.startswith("optimizer.") and n != "optimizer.step.next" for n in found) is moving


def test_the_command_line_knows_every_optimizer_with_an_operator():
    from toolkit.models.recipe import OPTIMIZERS, make_optimizer

    eager = {"LBFGS", "SparseAdam", "Optimizer", "lr_scheduler", "swa_utils"}
    assert OPTIMIZERS.keys() == {n.lower() for n in optim.__all__ if n not in eager}
    net = nn.Linear(3, 2, bias=False)
    for name, kind in OPTIMIZERS.items():
        assert isinstance(make_optimizer(name, net, None, 0.9, None), kind)
    assert make_optimizer("lion", net, 0.5, 0.9, 0.25).defaults["weight_decay"] == 0.25
    with pytest.raises(InvalidArgumentError, match="--weight-decay: an optimizer that has it"):
        make_optimizer("rprop", net, None, 0.9, 0.1)
