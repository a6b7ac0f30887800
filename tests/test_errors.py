"""What goes wrong for a user is one line that names the place, what is needed and what was given.

Each mistake is made in every place where it can be made: a session, a module, an operation, a
compiled training step, the command line.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests.runtime.test_session import mlp
from toolkit import nn, optim
from toolkit.errors import ToolkitError
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep

X, Y = np.zeros((2, 4), np.float32), np.zeros(2, np.int64)
NARROW, DOUBLE = X[:, :3], X.astype(np.float64)


def unknown(domain: str) -> bytes:
    model = mlp()
    model.graph.node[2].op_type = "Frobnicate"
    model.graph.node[2].domain = domain
    if domain:
        model.opset_import.add(domain=domain, version=1)
    return model.SerializeToString()


def session(**feed):
    return lambda: InferenceSession(mlp()).run(None, feed)


def module(*inputs):
    return lambda: tk.load(mlp().SerializeToString())(*map(tk.tensor, inputs))


def step(*batch):
    def run():
        net = nn.Sequential(nn.Linear(4, 3))
        step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.1))
        step(X, Y)
        before = net[0].weight.detach().clone().numpy()
        try:
            step(*batch)
        finally:  # A step that fails leaves the weights as they were.
            np.testing.assert_array_equal(net[0].weight.detach().numpy(), before)

    return run


WHOLE = mlp().SerializeToString()
CASES = {
    "shape, session": (session(x=NARROW), r"'x' must have shape \(batch, 4\), got \(2, 3\)"),
    "shape, module": (module(NARROW), r"MatMul.*: inner .* match, got A \(2, 3\) and B \(4, 3\)"),
    "shape, operation": (
        lambda: tk.tensor(X) + tk.tensor(NARROW), r"Add: .*\(2, 4\) and \(2, 3\)"),
    "shape, step": (step(NARROW, Y), r"Gemm '0.Gemm.*inner .* must match, got A \(2, 3\)"),
    "shape, target": (step(X, Y[:1]), r"Loss.*: labels must have shape \(2,\).*, got \(1,\)"),
    "dtype, session": (session(x=DOUBLE), "must be float32, got float64"),
    "dtype, module": (module(DOUBLE), "MatMul.*: B must have A's dtype float64, got float32"),
    "dtype, step": (step(DOUBLE, Y), "Gemm '0.Gemm.*': B must have A's dtype float64, got float32"),
    "dtype, target": (step(X, DOUBLE[:, 0]), "labels must be int64 or int32, got float64"),
    "operator, standard": (
        lambda: InferenceSession(unknown("")), "load: a valid .* is required, .*Frobnicate 'act'"),
    "operator, foreign": (
        lambda: InferenceSession(unknown("acme")),
        "Frobnicate 'act': a kernel or .* is required for operator 'acme.Frobnicate', got neither"),
    "operator, module": (lambda: tk.load(unknown("")), "load: .*is required, .*Frobnicate 'act'"),
    "truncated, session": (
        lambda: InferenceSession(WHOLE[: len(WHOLE) // 2]), "load: an ONNX model is required, got"),
    "truncated, module": (lambda: tk.load(WHOLE[:-1]), "load: an ONNX model is required, got"),
    "missing, session": (session(), r"input 'x' is required, got \[\]"),
    "missing, module": (module(), r"inputs \['x'\] are required, got 0 values"),
    "missing, step": (step(X), r"TrainStep: a batch of \['input', 'target'\] is .*, got 1 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_place_need_and_got(case):
    call, match = CASES[case]
    with pytest.raises(ToolkitError) as caught:
        call()
    text, *rest = str(caught.value).split("\n")
    assert re.search(match, text), text
    # Below it stands at most the line of the user's own source.
    assert len(rest) <= 1 and all(re.match(r"  \S+\.py:\d+: ", line) for line in rest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(WHOLE)
    (tmp_path / "cut.onnx").write_bytes(WHOLE[:-9])
    (tmp_path / "unknown.onnx").write_bytes(unknown(""))
    np.save(tmp_path / "narrow.npy", NARROW)
    np.save(tmp_path / "double.npy", DOUBLE)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["run", "m.onnx", "--input", "x=narrow.npy"], r"have shape \(batch, 4\), got \(2, 3\)"),
        (["run", "m.onnx", "--input", "x=double.npy"], "must be float32, got float64"),
        (["run", "m.onnx", "--input", "z=random"], r"an input among \['x'\] is required, got 'z'"),
        (["run", "unknown.onnx"], "load 'unknown.onnx': .* is required, .*Frobnicate 'act'"),
        (["run", "cut.onnx"], "load 'cut.onnx': an ONNX model is required, got .* truncated"),
        (["info", "cut.onnx"], "load 'cut.onnx': an ONNX model is required, got .* truncated"),
        (["train", "cut.onnx", "--data", "digits"], "load 'cut.onnx': an ONNX model is required"),
        (["train", "m.onnx", "--data", "digits"],
         r"input 'x' of 'm.onnx' requires float32 \(batch, 4\), got float32 \(batch, 1, 8, 8\)"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, list) else "",
)  # fmt: skip
def test_the_command_line_says_it_in_one_line(folder, args, match):
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.cli", "-q", *args],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert re.search(match, done.stderr), done.stderr


def test_no_file_is_left_by_a_run_that_failed(folder):
    before = set(folder.iterdir())
    subprocess.run([sys.executable, "-m", "toolkit.cli", "run", "m.onnx", "--input", "x=narrow.npy",
                    "--output", "y=y.npy"], cwd=folder, capture_output=True)  # fmt: skip
    assert set(folder.iterdir()) == before


def test_every_truncation_of_a_training_file_is_refused(tmp_path):
    """At a thousand places: an error that names the file, never a crash or half a training."""
    net = nn.Sequential(nn.Linear(4, 3))
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()))
    step(X, Y)
    path = tmp_path / "m.onnx"
    step.save(path)
    text = path.read_bytes()
    onnx.checker.check_model(onnx.load(path))
    for size in range(0, len(text), max(1, len(text) // 1000)):
        path.write_bytes(text[:size])
        with pytest.raises(ToolkitError, match=r"load\w* '.*m\.onnx'"):
            tk.load_training(path)
