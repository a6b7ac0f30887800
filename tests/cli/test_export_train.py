"""`toolkit export-train` and `toolkit import-step`."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests.cli.test_cli import call
from tests.train.elsewhere import RATE, batches, make_step, ort, train
from toolkit import nn, optim
from toolkit.graph.targets import check_target
from toolkit.train import TrainStep


@pytest.fixture
def net(tmp_path):
    """A model as a file, with sizes that have names."""
    tk.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model.save(tmp_path / "net.onnx", inputs=tk.randn(2, 6))
    return str(tmp_path / "net.onnx")


def data(count: int, rows: int = 5):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.standard_normal((rows, 6)).astype(np.float32), rng.integers(0, 3, rows)


@pytest.mark.parametrize("command", ["export-train", "import-step"])
def test_help(command):
    code, text = call(command, "--help")
    assert code == 0
    assert "Usage:" in text and "Example:" in text


def test_a_file_goes_out_and_its_weights_come_home(net, tmp_path):
    out = tmp_path / "out"
    code, text = call("export-train", net, "--loss", "ce", "--optim", "adamw", "--lr", "0.01",
                      "--freeze", "2.bias", "-o", str(out))  # fmt: skip
    assert code == 0, text
    assert "step.onnx: 13 inputs, 12 outputs" in text and "lr 0.01" in text
    table = json.loads((out / "training.json").read_text())
    assert table["batch"] == [onnx.load(net).graph.input[0].name, "target"]
    run = ort(out / "step.onnx")
    states: dict = {}
    name = table["batch"][0]
    got = train(lambda feed: run({**feed, name: feed["x"]}), table, states, data(5))
    loaded = tk.load(net)
    loaded.get_parameter("2.bias").requires_grad_(False)
    parameters = [p for p in loaded.parameters() if p.requires_grad]
    step = TrainStep(loaded, nn.CrossEntropyLoss(), optim.AdamW(parameters, lr=0.01))
    np.testing.assert_allclose(got, [float(step(x, y)[0]) for x, y in data(5)], rtol=1e-5)
    np.savez(out / "new.npz", **states)
    code, text = call("--json", "import-step", net, str(out / "new.npz"), "-o",
                      str(tmp_path / "tuned.onnx"))  # fmt: skip
    assert code == 0, text
    assert set(json.loads(text)["weights"]) == {"0.weight", "0.bias", "2.weight"}
    old, new = onnx.load(net), onnx.load(tmp_path / "tuned.onnx")
    assert [n.name for n in old.graph.initializer] == [n.name for n in new.graph.initializer]
    assert old.graph.node == new.graph.node and old.graph.input == new.graph.input


def test_batch_norm_and_dropout_of_a_file(tmp_path):
    """BatchNorm goes on learning and Dropout is put back; the file comes home as it was."""
    step = make_step()
    step.model.save(tmp_path / "net.onnx", inputs=next(batches(1))[0])
    path, out = str(tmp_path / "net.onnx"), tmp_path / "out"
    code, text = call("export-train", path, "--dropout", "0.3", "--seed", "5", "-o", str(out))
    assert code == 0, text
    table = json.loads((out / "training.json").read_text())
    states: dict = {}
    got = train(ort(out / "step.onnx"), table, states, batches(20))
    tk.manual_seed(5)
    loaded = tk.load(path)
    loaded.insert_dropout(0.3)
    ours = TrainStep(loaded, nn.CrossEntropyLoss(), optim.AdamW(loaded.parameters(), lr=RATE))
    np.testing.assert_allclose(got, [float(ours(x, y)[0]) for x, y in batches(20)], atol=1e-4)
    before = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert not np.allclose(states["norm.running_mean"], before["norm.running_mean"])
    np.savez(out / "new.npz", **states)
    code, text = call("import-step", path, str(out / "new.npz"), "-o", str(tmp_path / "t.onnx"))
    assert code == 0, text
    old, new = onnx.load(path), onnx.load(tmp_path / "t.onnx")
    assert {t.name for t in new.graph.initializer} == set(before)
    for model in (old, new):
        del model.graph.initializer[:]
    assert old == new


def test_frozen_batch_norm(tmp_path):
    make_step().model.save(tmp_path / "net.onnx", inputs=next(batches(1))[0])
    code, text = call("--json", "export-train", str(tmp_path / "net.onnx"), "--batch-norm",
                      "frozen", "-o", str(tmp_path / "out"))  # fmt: skip
    assert code == 0, text
    names = {t["name"] for t in json.loads(text)["state"]["tensors"]}
    assert "norm.weight" in names and "norm.running_mean" not in names


def test_a_model_by_name_comes_with_its_file(tmp_path):
    options = ["--layout", "artifacts", "--target", "ortweb", "--train", "*.bias"]
    code, text = call("--json", "export-train", "mlp", *options, "--accumulate", "2", "-o",
                      str(tmp_path))  # fmt: skip
    assert code == 0, text
    table = json.loads(text)
    for model in table["models"].values():
        assert check_target(tmp_path / model["file"], "ortweb") == []
    trained = [t["name"] for t in table["state"]["tensors"] if t["weight"]]
    assert trained and all(name.endswith(".bias") for name in trained)
    state = str(tmp_path / "checkpoint.safetensors")
    code, text = call("import-step", str(tmp_path / "model.onnx"), state, "-o",
                      str(tmp_path / "m.onnx"))  # fmt: skip
    assert code == 0, text
    assert (tmp_path / "m.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_other_losses_and_the_one_file(net, tmp_path):
    code, text = call("export-train", net, "--loss", "mse", "--optim", "sgd", "--layout",
                      "training-info", "-o", str(tmp_path / "out"))  # fmt: skip
    assert code == 0, text
    assert f"Saved {tmp_path / 'out'}/training.onnx." in text
    assert onnx.load(tmp_path / "out" / "training.onnx").training_info


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--loss", "huge"], "--loss: one of"),
        (["--optim", "lamp"], "muon is required, got 'lamp'"),
        (["--train", "x.*"], "--train: a pattern that matches parameters is required, got 'x.*'"),
        (["--freeze", "*"], "a parameter that trains is required, got none"),
        (["--dim", "height=3"], "--dim: a dimension among"),
        (["--shape", "y=2,3"], "--shape: an input among"),
        (["--shape", "x=2,x"], "--shape: positive sizes are required"),
        (["--dropout", "1"], "Invalid value for '--dropout'"),
        (["--layout", "flat"], "Invalid value for '--layout'"),
        (["--state", "initializers", "--layout", "artifacts"], "a file of states is required"),
    ],
)
def test_mistakes_are_named(net, tmp_path, options, match):
    code, text = call("export-train", net, *options, "-o", str(tmp_path / "out"))
    assert code != 0
    assert match in " ".join(text.split())


def test_a_state_that_is_not_there(net, tmp_path):
    code, text = call("import-step", net, str(tmp_path / "no.npz"), "-o", str(tmp_path / "t.onnx"))
    assert code == 1
    assert "no.npz" in text
