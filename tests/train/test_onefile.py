"""The one file: it runs anywhere, goes on exactly, and holds standard operators only."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import toolkit as tk
from toolkit import errors, nn, optim
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep


class Net(nn.Module):
    """Conv, BatchNorm and Dropout: what other exporters of training steps refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.conv(x)))
        return self.head(self.drop(x.flatten(1)))


def batches(count: int, size: int = 12) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)
    return [
        (
            rng.standard_normal((size, 1, 8, 8)).astype(np.float32),
            rng.integers(0, 10, size).astype(np.int64),
        )
        for _ in range(count)
    ]


def make_step(kind: str = "adamw") -> TrainStep:
    tk.manual_seed(3)
    net = Net()
    rules = {
        "adamw": lambda p: optim.AdamW(p, lr=1e-2),
        "adam": lambda p: optim.Adam(p, lr=1e-2, weight_decay=1e-3),
        "sgd": lambda p: optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True, weight_decay=1e-3),
    }
    return TrainStep(net, nn.CrossEntropyLoss(), rules[kind](net.parameters()))


def states(step: TrainStep) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in step.state_dict().items()}


def assert_same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_goes_on_bit_for_bit(tmp_path, kind):
    data = batches(8)
    whole = make_step(kind)
    for x, y in data:
        whole(x, y)
    expected = states(whole)
    first = make_step(kind)
    for x, y in data[:4]:
        first(x, y)
    first.save(tmp_path / "m.onnx")
    second = tk.load_training(tmp_path / "m.onnx")
    assert_same_bits(states(first), states(second))
    for x, y in data[4:]:
        second(x, y)
    assert_same_bits(expected, states(second))


def test_parameters_are_the_modules(tmp_path):
    step = make_step()
    (x, y), *_ = batches(1)
    before = step.model.head.weight.detach().clone()
    step(x, y)
    after = step.model.head.weight
    assert not np.array_equal(before.numpy(), after.detach().numpy())
    np.testing.assert_array_equal(step.state_dict()["head.weight"], after.detach().numpy())


def test_any_batch_size_with_one_program():
    step = make_step()
    for size in (12, 5, 12, 1):
        ((x, y),) = batches(1, size)
        if size == 1:
            continue  # BatchNorm over 64 positions still works, but one sample has no variance.
        loss, outputs = step(x, y)
        assert outputs[0].shape == (size, 10)
        assert np.isfinite(float(loss))


def test_file_is_standard_and_runs_in_onnxruntime(tmp_path):
    import onnxruntime

    step = make_step()
    ((x, y),) = batches(1)
    for _ in range(3):
        step(x, y)
    path = tmp_path / "m.onnx"
    step.save(path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert len(proto.training_info) == 1
    info = proto.training_info[0]
    assert {e.key for e in info.update_binding} >= {"conv.weight", "norm.running_mean"}
    assert {e.key for e in info.initialization_binding} >= {"optimizer.step"}
    expected = step.predict(x)[0]
    for session in (InferenceSession(path), onnxruntime.InferenceSession(path)):
        (name,) = [a.name for a in session.get_inputs()]
        (got,) = session.run(None, {name: x})
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        assert session.run(None, {name: x[:5]})[0].shape == (5, 10)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_exported_step_trains_in_onnxruntime(tmp_path, kind):
    import onnxruntime

    step = make_step(kind)
    data = batches(20)
    step.prepare(*data[0])
    path = tmp_path / "step.onnx"
    tk.export_train_step(path, step)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {n.domain for n in proto.graph.node} <= {"", "ai.onnx"}
    assert not proto.functions
    session = onnxruntime.InferenceSession(path)
    names = [o.name for o in session.get_outputs()]
    feed = {}
    for x, y in data:
        ours, _ = step(x, y)
        feed |= {"x": x, "target": y, "lr": np.array(1e-2, np.float32)}
        results = dict(zip(names, session.run(None, feed), strict=True))
        assert results["loss"] == pytest.approx(float(ours), rel=1e-3)
        feed |= {n.removesuffix(".next"): v for n, v in results.items() if n.endswith(".next")}
    for name, array in step.state_dict().items():
        if name in feed:
            np.testing.assert_allclose(feed[name], array, rtol=1e-4, atol=1e-4, err_msg=name)


def test_save_and_load_a_module(tmp_path):
    tk.manual_seed(0)
    net = Net().eval()
    x = tk.randn(3, 1, 8, 8)
    tk.save(tmp_path / "net.onnx", net, inputs=x)
    loaded = tk.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(loaded(x).detach().numpy(), net(x).detach().numpy(), rtol=1e-5)
    names = {n for n, _ in loaded.named_parameters()}
    assert {"conv.weight", "head.bias"} <= names
    assert "norm.running_mean" not in names
    loaded.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


def test_fine_tune_a_loaded_module(tmp_path):
    tk.manual_seed(0)
    net = Net().eval()
    ((x, y),) = batches(1)
    tk.save(tmp_path / "net.onnx", net, inputs=tk.as_tensor(x))
    loaded = tk.load(tmp_path / "net.onnx")
    step = TrainStep(loaded, nn.CrossEntropyLoss(), optim.SGD(loaded.parameters(), lr=0.05))
    losses = [float(step(x, y)[0]) for _ in range(10)]
    assert losses[-1] < losses[0]
    loaded.save(tmp_path / "tuned.onnx")
    old, new = onnx.load(tmp_path / "net.onnx"), onnx.load(tmp_path / "tuned.onnx")
    assert [n.SerializeToString() for n in old.graph.node] == [
        n.SerializeToString() for n in new.graph.node
    ]
    (got,) = InferenceSession(tmp_path / "tuned.onnx").run(None, {"x": x})
    np.testing.assert_allclose(got, step.predict(x)[0], rtol=1e-5, atol=1e-5)


def test_file_without_training_is_refused(tmp_path):
    tk.save(tmp_path / "net.onnx", Net().eval(), inputs=tk.randn(1, 1, 8, 8))
    with pytest.raises(errors.InvalidModelError, match="training_info is required"):
        tk.load_training(tmp_path / "net.onnx")


def test_save_with_optimizer(tmp_path):
    tk.manual_seed(0)
    net = Net()
    ((x, y),) = batches(1)
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    path = tmp_path / "m.onnx"
    tk.save(path, net, optimizer=optimizer, loss=nn.CrossEntropyLoss(),
            inputs=tk.as_tensor(x), target=tk.as_tensor(y))  # fmt: skip
    step = tk.load_training(path)
    assert step.learning_rates() == pytest.approx([1e-3])
    step(x, y)
    with pytest.raises(errors.InvalidArgumentError, match="required together"):
        tk.save(path, net, optimizer=optimizer)


def test_parameter_outside_the_loss_is_named():
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(4, 2)
            self.unused = nn.Linear(4, 2)

        def forward(self, x):
            return self.used(x)

    net = Unused()
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(errors.InvalidArgumentError, match=r"unused\.weight"):
        step(np.ones((2, 4), np.float32), np.ones((2, 2), np.float32))


def test_clip_grad_norm_equals_torch():
    import torch

    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s).astype(np.float32) * 9 for s in ((6, 5), (6, 3)))
    net = nn.Linear(5, 3)
    twin = torch.nn.Linear(5, 3)
    twin.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in net.state_dict().items()})
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1), clip_grad_norm=0.5)
    peer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        step(x, y)
        peer.zero_grad()
        torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y)).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        peer.step()
    np.testing.assert_allclose(
        net.weight.detach().numpy(), twin.weight.detach().numpy(), rtol=1e-5, atol=1e-6
    )
