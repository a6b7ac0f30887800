"""`toolkit train`: any .onnx on data of a specification, with every option, and clear refusals."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.test_cli import call
from tests.train.test_trainer import final_bits


def network(path, classes=10, batch="n"):
    """A small convolutional network for digits, as another program would write it."""
    rng = np.random.default_rng(0)

    def weight(name, *shape):
        array = (rng.standard_normal(shape) * 0.2).astype(np.float32)
        return numpy_helper.from_array(array, name)

    nodes = [
        helper.make_node("Conv", ["image", "body.w", "body.b"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [
            weight("body.w", 4, 1, 3, 3),
            weight("body.b", 4),
            numpy_helper.from_array(np.array([-1, 256]), "shape"),
            weight("fc.w", 256, classes),
            weight("fc.b", classes),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.onnx")
    return tmp_path


def train(*args):
    """Exit code and the JSON result of a run on digits."""
    code, text = call("train", "net.onnx", "--data", "digits", "--batch-size", "128", *args,
                      "--json")  # fmt: skip
    return code, json.loads(text) if text.startswith("{") else text


def test_many_options_at_once(folder):
    pytest.importorskip("tensorboardX")
    code, found = train(
        "--epochs", "3", "--lr", "0.01", "--optim", "adamw", "--ema", "0.9", "--precision",
        "bfloat16", "--class-weights", "balanced", "--label-smoothing", "0.1", "--metrics",
        "f1,top3", "--metrics", "accuracy", "--eval-every", "10 steps", "--monitor", "val_accuracy",
        "--confusion", "--tensorboard", "--group", "body.*:lr=1e-3,weight_decay=0", "--schedule",
        "onecycle", "--keep", "2", "--val-split", "0.3", "--detect-nan", "-o", "run",
    )  # fmt: skip
    assert code == 0, found
    assert set(found["metrics"]) >= {"val_loss", "val_f1", "val_top3", "val_accuracy"}
    assert found["metrics"]["val_accuracy"] > 0.3 and found["stopped"] is None
    names = {p.name for p in (folder / "run").iterdir()}
    assert names >= {"last.onnx", "best.onnx", "log.csv", "evaluations.csv", "loss.png",
                     "confusion.csv", "tensorboard"}  # fmt: skip
    with open("run/evaluations.csv") as stream:
        assert [r["batch"] for r in csv.DictReader(stream)] == ["10", "20", "30"]
    with open("run/confusion.csv") as stream:
        rows = [list(map(int, r[1:])) for r in list(csv.reader(stream))[1:]]
    hits = sum(rows[i][i] for i in range(10))
    assert sum(map(sum, rows)) == 539
    assert hits / 539 == pytest.approx(found["metrics"]["val_accuracy"])


def test_dry_run_writes_nothing(folder):
    code, found = train("--dry-run", "--precision", "float16", "--ema", "0.5", "-o", "run")
    assert code == 0 and not (folder / "run").exists()
    assert found["outputs"][0][1:] == ["float32", [128, 10]]
    assert [row[0] for row in found["parameters"]] == ["body.w", "body.b", "fc.w", "fc.b"]
    assert found["largest_change"] == pytest.approx(1e-3, rel=0.1)
    code, text = call("train", "net.onnx", "--data", "digits", "--dry-run")
    assert code == 0 and "2,610 parameters, of which 2,610 train" in text and "arena" in text


def test_overfit(folder):
    code, found = train("--overfit-batches", "1", "--epochs", "60", "--lr", "0.01", "-o", "run")
    assert code == 0 and found["metrics"]["val_accuracy"] == 1.0


def test_early_stop(folder):
    code, found = train("--lr", "0", "--early-stop", "2", "--epochs", "9", "-o", "run")
    assert code == 0, found
    assert found["metrics"]["epoch"] == 3
    assert "no better value than" in found["stopped"]


def test_resume_of_a_broken_checkpoint(folder):
    """An .onnx with a constant among its initializers, whose newest checkpoint is cut off."""
    whole = train("--epochs", "3", "-o", "whole")
    assert train("--epochs", "2", "--keep", "3", "-o", "run")[0] == 0
    last = folder / "run" / "last.onnx"
    last.write_bytes(last.read_bytes()[:2000])
    with pytest.warns(UserWarning, match=r"passed over: .*last\.onnx"):
        code, found = train("--epochs", "3", "-o", "run", "--resume")
    assert code == 0
    for result in (found, whole[1]):
        result["metrics"].pop("seconds")
    assert found["metrics"] == whole[1]["metrics"]
    assert final_bits(folder / "whole") == final_bits(folder / "run")
    code, found = train("--epochs", "4", "-o", "other", "--resume", "run/last.onnx")
    assert code == 0 and found["metrics"]["epoch"] == 4


def test_interrupt(folder):
    """A process is sent SIGINT in the middle: it saves, says so, and ends with 130."""
    command = [sys.executable, "-W", "ignore", "-m", "toolkit.cli", "train", "net.onnx", "--data",
               "digits", "--epochs", "100000", "-q", "-o", "run"]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "run" / "last.onnx").exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    text, _ = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "Ended early: interrupted." in text and "Saved run/last.onnx." in text
    onnx.checker.check_model(onnx.load("run/last.onnx"), full_check=True)
    assert not list((folder / "run").glob(".*"))


def test_callbacks_of_the_users_own(folder):
    (folder / "mine.py").write_text(
        "from toolkit.train import Callback\n"
        "class Note(Callback):\n"
        "    def on_epoch_end(self, trainer, row):\n"
        "        row['seen'] = float(trainer.position.batches)\n"
    )
    code, found = train("--epochs", "1", "--callbacks", "mine:Note", "-o", "run")
    sys.modules.pop("mine", None)
    assert code == 0 and found["metrics"]["seen"] == 12.0


def test_tables_and_validation_files(folder):
    """A table whose class follows from a colour and a number, for an .onnx of three features."""
    rng = np.random.default_rng(0)

    def write(path, count):
        rows = zip(rng.choice(["red", "blue"], count), rng.normal(0, 1, count), strict=True)
        lines = [f"{c};{x:.4f};{'yes' if (c == 'red') == (x > 0) else 'no'}" for c, x in rows]
        path.write_text("colour;x;out\n" + "\n".join(lines) + "\n")

    write(folder / "train.csv", 400)
    write(folder / "val.csv", 100)
    spec = "csv:train.csv?sep=;&target=out&categorical=colour"
    args = ["train", "mlp", "--data", spec, "--val-data", "csv:val.csv?sep=;", "--epochs", "15",
            "--lr", "0.01", "--metrics", "f1_binary", "-o", "run", "--json"]  # fmt: skip
    code, text = call(*args)
    assert code == 0, text
    assert json.loads(text)["metrics"]["val_f1_binary"] > 0.9
    more = ["train", "run/best.onnx", *args[2:], "-o", "more", "--epochs", "1"]
    code, text = call(*more)
    assert code == 0, text
    assert json.loads(text)["metrics"]["val_f1_binary"] > 0.9


def test_several_inputs_by_name(folder):
    """The file's arrays are in another order than the model's inputs."""
    text = """
        <ir_version: 9, opset_import: ["": 18]>
        agraph (float[N, 3] a, int64[N] k) => (float[N, 2] y) {
          e = Gather (table, k)
          both = Concat <axis = 1> (a, e)
          y = MatMul (both, w)
        }"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in (("table", (5, 4)), ("w", (7, 2))):
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, "two.onnx")
    k = rng.integers(0, 5, 100)
    a = rng.standard_normal((100, 3)).astype(np.float32)
    np.savez("d.npz", k=k, a=a, label=(k > 2).astype(np.int64))
    args = ["train", "two.onnx", "--epochs", "20", "--lr", "0.05", "--json", "-o", "run"]
    code, text = call(*args, "--data", "npz:d.npz?inputs=k,a&target=label&dtype=keep")
    assert code == 0, text
    assert json.loads(text)["metrics"]["val_accuracy"] > 0.9
    code, text = call(*args, "--data", "npz:d.npz?inputs=k&target=label&dtype=keep")
    assert code == 1 and "data for the inputs a, k of 'two.onnx' are required, got 1" in text
    code, text = call(*args, "--data", "npz:d.npz?inputs=k,a&target=label")
    assert code == 1
    assert "input 'k' of 'two.onnx' requires int64 (N), got float32 (batch)" in text


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["--data", "mnist5k"], "input 'image' of 'net.onnx' requires float32 (n, 1, 8, 8), got "
         "float32 (batch, 1, 28, 28) of 'mnist5k'. The sizes behind the batch must be these."),
        (["--data", "digits?shape=64"], "got float32 (batch, 64) of 'digits?shape=64'. "
         "Give shape=1x8x8."),
        (["--data", "digits?dtype=int64"], "Give dtype=float32 in the data's specification."),
        (["--class-weights", "1,2"], "--class-weights: 10 numbers are required, got 2."),
        (["--class-weights", "balanced", "--loss", "mse"], "--loss ce, nll, bce is required"),
        (["--label-smoothing", "0.1", "--loss", "mse"], "--loss ce is required, got 'mse'"),
        (["--group", "body.*"], "--group: GLOB:NAME=VALUE,... is required, got 'body.*'"),
        (["--group", "x:lr=1"], "a pattern that takes a parameter which trains is required"),
        (["--group", "body.*:lr=fast"], "--group: a number is required, got 'fast'"),
        (["--callback", "nix:Nix"], "required, got 'nix:Nix'. No module named 'nix'."),
        (["--callback", "json:loads"], "--callback"),
        (["--metrics", "auc"], "metric: one of accuracy,"),
        (["--eval-every", "often"], "is required as eval_every, got 'often'"),
        (["--resume", "net.onnx"], "a model with training_info is required"),
        (["--val-data", "digits", "--val-split", "0.1"], "val or val_split is required, got both"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(folder, args, match):
    data = [] if "--data" in args else ["--data", "digits"]
    code, text = call("train", "net.onnx", *data, *args, "-o", "run")
    assert code == 1, text
    assert match in text and text.count("\n") == 1, text


def test_too_few_classes(folder):
    network(folder / "small.onnx", 4)
    code, text = call("train", "small.onnx", "--data", "digits", "-o", "run")
    assert code == 1
    assert "an output of 10 classes is required by 'digits', got 4 of 'small.onnx'" in text
    assert "--head classes=10" in text


def test_images_that_do_not_fit(folder):
    from PIL import Image

    for i in range(10):
        path = folder / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 9), i * 20).save(path)
    args = ["train", "net.onnx", "--epochs", "1", "-o", "run", "--data"]
    for options, hint in (
        ("", "Give channels=gray."),
        ("?channels=gray", "Give size=8x8, or resize= and crop=."),
        ("?channels=gray&layout=nhwc&size=8", "Give layout=nchw."),
    ):
        code, text = call(*args, f"images:pictures{options}")
        assert code == 1 and hint in text, text
    code, text = call(*args, "images:pictures?channels=gray&size=8", "-q")
    assert code == 0, text


def test_tensorboard_is_an_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    code, text = call("train", "net.onnx", "--data", "digits", "--tensorboard", "-o", "run")
    assert code == 1 and "pip install 'toolkit[tensorboard]'" in text
    assert not os.path.exists("run")
