"""`toolkit train` on an .onnx that is changed first: frozen, another head, Dropout, adapters."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import toolkit as tk
from tests.cli.test_cli import call
from tests.cli.test_train import network
from toolkit.data import load


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.onnx")
    return tmp_path


def train(*args, data="digits"):
    """The JSON result of a run, and the tensors of the model that it wrote."""
    code, text = call("train", "net.onnx", "--data", data, "--batch-size", "128", *args, "--json",
                      "-o", "run")  # fmt: skip
    assert code == 0, text
    return json.loads(text), tensors("run/model.onnx")


def tensors(path):
    return {t.name: t for t in onnx.load(path).graph.initializer}


def accuracy(path, spec="digits"):
    """Of the held-out part, as onnxruntime computes it."""
    x, y = (np.asarray(t) for t in load(spec).test[:])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: x})
    return float((logits.argmax(1) == y).mean())


def test_frozen_parts_are_byte_identical(folder):
    before = tensors("net.onnx")
    found, after = train("--freeze", "body.*", "--epochs", "2", "--lr", "5e-3")
    same = {name for name in before if before[name] == after[name]}
    assert same == {"body.w", "body.b", "shape"}
    old, new = onnx.load("net.onnx"), onnx.load("run/model.onnx")
    assert old.graph.node == new.graph.node and old.graph.input == new.graph.input
    assert old.opset_import == new.opset_import and not new.training_info
    assert accuracy("run/model.onnx") == pytest.approx(found["metrics"]["val_accuracy"])


def test_the_best_weights_are_saved(folder):
    """Not the last: a rate that is far too large later on spoils those."""
    (folder / "spoil.py").write_text(
        "from toolkit.train import Callback\n"
        "class Spoil(Callback):\n"
        "    def on_epoch_end(self, trainer, row):\n"
        "        for group in trainer.step.param_groups:\n"
        "            group['lr'] = 3.0\n"
    )
    found, _ = train("--epochs", "2", "--lr", "5e-3", "--callback", "spoil:Spoil", "--ema", "0.1")
    rows = (folder / "run" / "log.csv").read_text().splitlines()
    names = rows[0].split(",")
    figures = [float(row.split(",")[names.index("val_accuracy")]) for row in rows[1:]]
    assert figures[1] < figures[0]
    assert accuracy("run/model.onnx") == pytest.approx(figures[0], abs=1e-9)
    assert found["metrics"]["val_accuracy"] == pytest.approx(figures[1])


def test_another_head_and_adapters(folder):
    """Classes 5 to 9 for a net of ten; low-rank updates of what is there, merged."""
    before = tensors("net.onnx")
    found, after = train(
        "--head", "auto", "--lora", "r=2,alpha=4,targets=body*", "--dropout", "p=0.1",
        "--epochs", "6", "--lr", "0.02", data="digits?only=5-9",
    )  # fmt: skip
    assert found["metrics"]["val_accuracy"] > 0.8
    assert after["fc.w"].dims == [256, 5]
    assert before["body.b"] == after["body.b"] and before["body.w"] != after["body.w"]
    delta = numpy_helper.to_array(after["body.w"]) - numpy_helper.to_array(before["body.w"])
    assert np.linalg.matrix_rank(delta.reshape(4, 9), tol=1e-4) <= 2
    assert not any("lora" in name for name in after)
    model = onnx.load("run/model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [n.op_type for n in model.graph.node].count("Dropout") == 1
    assert accuracy("run/model.onnx", "digits?only=5-9") == pytest.approx(
        found["metrics"]["val_accuracy"]
    )


@pytest.mark.parametrize("mode", ["frozen", "train"])
def test_batch_norm(folder, mode):
    model = onnx.load("net.onnx")
    node = onnx.helper.make_node("BatchNormalization", ["h", "s", "bias", "mean", "var"], ["bn"])
    model.graph.node.insert(1, node)
    model.graph.node[2].input[0] = "bn"
    for name, value in (("s", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0)):
        array = np.full(4, value, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, "net.onnx")
    before = tensors("net.onnx")
    _, after = train("--batch-norm", mode, "--epochs", "1")
    moved = {n for n in ("s", "bias", "mean", "var") if before[n] != after[n]}
    assert moved == ({"s", "bias"} if mode == "frozen" else {"s", "bias", "mean", "var"})


def test_a_model_by_name_takes_adapters_too(folder):
    code, text = call("train", "mlp", "--data", "digits", "--lora", "r=2", "--unfreeze",
                      "*bias", "--epochs", "1", "--dry-run", "--json")  # fmt: skip
    assert code == 0, text
    trains = {name for name, _, yes in json.loads(text)["parameters"] if yes}
    assert trains and all("lora" in name or name.endswith("bias") for name in trains)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["--freeze", "nix.*"], "--freeze: a glob that takes a parameter is required, got 'nix.*'. "
         "There are body.w, body.b, fc.w, fc.b."),
        (["--freeze", "*"], "train: a parameter that trains is required, got none."),
        (["--head", "10"], "--head: NAME=VALUE,... is required, got '10'"),
        (["--head", "cut=x"], "--head: classes=NUMBER,... or auto is required, got 'cut=x'"),
        (["--lora", "r=2,beta=3"], "--lora: one of r, alpha, dropout, targets, exclude, dora, rsl"),
        (["--lora", "r=two"], "--lora: a whole number is required as r, got two"),
        (["--lora", "r=2,targets=nix"], "nix"),
        (["--dropout", "p=2"], "insert_dropout: p from 0 to 1 is required, got 2.0"),
    ],
)  # fmt: skip
def test_refusals(folder, args, match):
    code, text = call("train", "net.onnx", "--data", "digits", *args, "-o", "run")
    assert code == 1 and match in text and text.count("\n") == 1, text


def test_what_needs_a_file(folder):
    code, text = call("train", "mlp", "--data", "digits", "--head", "auto", "-o", "run")
    assert code == 1 and "--head: an .onnx file is required, got 'mlp'." in text


def test_head_adds_classes(folder):
    """The hint that a net with too few classes gives works."""
    network(folder / "net.onnx", 4)
    found, after = train("--head", "classes=10", "--epochs", "1")
    assert after["fc.b"].dims == [10] and found["metrics"]["epoch"] == 1
    assert tk.load("run/model.onnx").output_names == ["logits"]
