"""The command line: help, happy paths, bad input (exit code and one line), JSON."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

import toolkit as tk
from tests.runtime.test_session import mlp
from toolkit.cli.main import cli, main


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp().SerializeToString())
    return str(path)


def call(*args: str) -> tuple[int, str]:
    """Exit code and output (stderr included) of the command."""
    text = io.StringIO()
    with (
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(text),
        pytest.raises(SystemExit) as exit_info,
    ):
        main(list(args))
    return int(exit_info.value.code or 0), text.getvalue()


@pytest.mark.parametrize("command", [[], ["run"], ["info"], ["ops"], ["train"], ["convert"]])
def test_help(command):
    code, text = call(*command, "--help")
    assert code == 0
    assert "Usage:" in text
    if command:
        assert "Example:" in text


def test_run(model, tmp_path):
    x = np.ones((2, 4), np.float32)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "y.npy"
    code, text = call("run", model, "--input", f"x={tmp_path / 'x.npy'}", "--output", f"y={out}")
    assert code == 0, text
    assert "y: float32[2, 3]" in text
    assert np.load(out).shape == (2, 3)
    code, text = call("--json", "run", model, "--input", "x=random")
    assert code == 0
    assert json.loads(text)["outputs"]["y"]["shape"] == [1, 3]


def test_run_image(tmp_path):
    from onnx import TensorProto, helper
    from PIL import Image

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8, 6])],
    )
    path, picture, out = tmp_path / "m.onnx", tmp_path / "i.png", tmp_path / "y.npy"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    Image.new("RGB", (6, 8), (255, 0, 51)).save(picture)
    code, text = call("run", str(path), "--input", f"x={picture}", "--output", f"y={out}")
    assert code == 0, text
    np.testing.assert_allclose(np.load(out)[0, :, 0, 0], [1.0, 0.0, 0.2], atol=1e-6)


def test_info(model):
    code, text = call("info", model)
    assert code == 0
    assert "MatMul 1" in text
    assert "parameters 15" in text
    code, text = call("info", model, "--json")
    assert json.loads(text)["parameters"] == 15


def test_ops():
    code, text = call("ops", "softplus")
    assert code == 0
    assert "Softplus" in text
    code, text = call("--json", "ops", "relu")
    assert "Relu" in {row["op_type"] for row in json.loads(text)["operators"]}


def test_convert_weights(tmp_path):
    from tests.runtime.test_fusion import counts

    source, target = str(tmp_path / "wide.onnx"), str(tmp_path / "small.onnx")
    tk.save(source, tk.nn.Linear(256, 128), inputs=(tk.zeros(1, 256),))
    assert call("convert", source, target, "--weights", "int4", "--group", "16")[0] == 0
    assert counts(target) == ["NarrowMatMul"]
    assert call("convert", source, target, "--weights", "int4", "--to", "ort")[0] != 0


def test_convert(model, tmp_path):
    import onnx

    target = tmp_path / "out.onnx"
    assert call("convert", model, str(target), "--opset", "18")[0] == 0
    proto = onnx.load(target)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == 18


@pytest.mark.parametrize(
    ("args", "code", "match"),
    [
        (["info", "none.onnx"], 1, "no such file"),
        (["run", "none.onnx"], 1, "no such file"),
        (["run"], 2, "Missing argument"),
        (["frobnicate"], 2, "No such command"),
        (["train", "mlp"], 2, "Missing option '--data'"),
        (["train", "mlp", "--data", "nothing"], 1, "data: one of"),
        (["train", "nosuch", "--data", "digits"], 1, "nosuch"),
        (["train", "mlp", "--data", "digits", "--loss", "x"], 1, "--loss: one of"),
        (["train", "mlp", "--data", "digits", "--optim", "x"], 1, "--optim: one of sgd"),
    ],
)
def test_bad_input_is_one_line(args, code, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, text = call(*args)
    assert got == code
    assert match in text
    if code == 1:
        assert text.startswith("Error: ")
        assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("x", "NAME=VALUE"),
        ("q=random", "an input among"),
        ("x=none.npy", "a readable .npy"),
        ("x=none.png", "none.png"),
    ],
)
def test_run_bad_inputs(model, option, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = call("run", model, "--input", option)
    assert code in (1, 2)
    assert match in text


def test_garbage_npy(model, tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(b"garbage")
    code, text = call("run", model, "--input", f"x={path}")
    assert code == 1
    assert "a readable .npy" in text


def test_debug_shows_the_traceback(tmp_path):
    code = "from toolkit.cli.main import main; main(['--debug', 'info', 'none.onnx'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
    assert b"Traceback" in done.stderr
    assert done.returncode == 1


def test_group_lists_every_command():
    assert set(cli.list_commands(None)) >= {"train", "run", "info", "ops"}  # type: ignore[arg-type]


def train(folder, *args: str) -> tuple[int, str, str]:
    """`toolkit train` in a process of its own: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "toolkit.cli", "train", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def weights(path) -> dict[str, bytes]:
    import onnx

    return {t.name: t.raw_data for t in onnx.load(path).graph.initializer}


def test_train_as_a_user_does(tmp_path):
    """Every option of the issue; a run in two parts equals one in one go; then the file goes on."""
    options = ["digits_cnn", "--data", "digits", "--loss", "ce", "--optim", "adamw", "--lr", "3e-3",
               "--batch-size", "256", "--seed", "3"]  # fmt: skip
    code, out, err = train(tmp_path, *options, "--epochs", "2", "-o", "runs/whole")
    assert code == 0, err
    assert "val_accuracy" in out and "Saved runs/whole/last.onnx." in out
    assert "epoch 2/2  loss" in err
    names = {p.name for p in (tmp_path / "runs/whole").iterdir()}
    assert names == {"last.onnx", "best.onnx", "log.csv", "loss.png"}
    code, out, err = train(tmp_path, *options, "--epochs", "1", "-o", "runs/x", "-q")
    assert code == 0 and err == "" and out.splitlines()[-1] == "Saved runs/x/last.onnx."
    code, out, err = train(
        tmp_path, *options, "--epochs", "2", "-o", "runs/x", "--resume", "--json"
    )
    assert code == 0 and err == "" and json.loads(out)["metrics"]["epoch"] == 2
    assert weights(tmp_path / "runs/whole/last.onnx") == weights(tmp_path / "runs/x/last.onnx")
    code, out, err = train(tmp_path, *options[:-1], "4", "--epochs", "2", "-o", "runs/y", "-v")
    assert code == 0, err
    assert "AdamW lr 0.003" in err and "58,474 parameters, loss ce" in err
    assert weights(tmp_path / "runs/whole/last.onnx") != weights(tmp_path / "runs/y/last.onnx")
    more = [
        "runs/x/last.onnx",
        "--data",
        "digits",
        "--optim",
        "sgd",
        "--epochs",
        "1",
        *options[-2:],
    ]
    same = ["--lr", "0", "-o", "runs/same", "--json"]
    code, out, err = train(tmp_path, *more, *same)
    assert code == 0, err
    before = json.loads(train(tmp_path, *options, "--epochs", "2", "-o", "runs/x", "--resume",
                              "--json")[1])  # fmt: skip
    assert json.loads(out)["metrics"]["val_accuracy"] == pytest.approx(
        before["metrics"]["val_accuracy"], abs=0.03
    )
    # At a rate of 0 nothing but the running statistics moves.
    first, same = weights(tmp_path / "runs/x/last.onnx"), weights(tmp_path / "runs/same/last.onnx")
    moved = {name for name in first if first[name] != same[name]}
    assert moved == {name for name in first if "running_" in name}
    code, out, err = train(tmp_path, *more, "--lr", "0.01", "-o", "runs/z", "--json")
    assert json.loads(out)["metrics"]["loss"] < before["metrics"]["loss"]


def test_verbose_run_tells_more(model, capfd):
    code, text = call("run", model, "--input", "x=random", "-v")
    assert code == 0
    assert "x: float32[1, 4] given" in text and " ms" in text


def test_train_with_sums_of_batches(tmp_path):
    """Two batches a step: the file's step count says half as many steps as batches."""
    import onnx

    options = ["mlp", "--data", "digits", "--epochs", "1", "--batch-size", "128", "-o", "runs/a"]
    code, _, err = train(tmp_path, *options, "--accumulate", "2", "--clip-grad-value", "0.1", "-q")
    assert code == 0, err
    info = onnx.load(tmp_path / "runs/a/last.onnx").training_info[0].algorithm
    states = {t.name: onnx.numpy_helper.to_array(t) for t in info.initializer}
    batches = 2 * int(states["optimizer.step"]) + int(states["accumulation.count"])
    assert batches == -(-1437 // 128)
