"""The loops of examples/train_elsewhere, run by what they are written for, beside our own.

Python always runs. JavaScript needs node and the package of `npm install` in that folder, C++ a
compiler and the headers (Debian's libonnxruntime-dev, or a folder in ONNXRUNTIME_INCLUDE).
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import toolkit as tk
from tests.train.elsewhere import Net
from toolkit import nn, optim
from toolkit.train import TrainStep, export_training, import_state

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "train_elsewhere"
STEPS, PEAK = 40, 1e-2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The numbers that data.py writes."""
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, EXAMPLES / "data.py", folder], check=True)
    return folder


@pytest.fixture
def step():
    tk.manual_seed(3)
    net = Net()
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.AdamW(net.parameters(), lr=PEAK))
    return step.prepare(np.zeros((2, 1, 8, 8), np.float32), np.zeros(2, np.int64))


def ours(step: TrainStep, data: Path) -> list[float]:
    """The same loop: batches in order, a cosine schedule."""
    x = np.fromfile(data / "x.bin", np.float32).reshape(-1, 1, 8, 8)
    y = np.fromfile(data / "y.bin", np.int64)
    losses = []
    for i in range(STEPS):
        at = 64 * i % len(y)
        step.param_groups[0]["lr"] = PEAK * 0.5 * (1 + math.cos(math.pi * i / STEPS))
        losses.append(float(step(x[at : at + 64], y[at : at + 64])[0]))
    return losses


def check(step: TrainStep, data: Path, folder: Path, command: list, trained: str, **how) -> None:
    """The loop prints our losses, and what it saves is our model."""
    step.model.save(folder / "net.onnx", inputs=np.zeros((2, 1, 8, 8), np.float32))
    done = subprocess.run(
        [*command, folder, data, str(STEPS)], capture_output=True, text=True, **how
    )
    assert done.returncode == 0, done.stderr[-2000:]
    got = [float(line) for line in done.stdout.split()]
    want = ours(step, data)
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert want[-1] < 0.8 * want[0]
    import_state(folder / "net.onnx", folder / trained, folder / "tuned.onnx")
    x = np.fromfile(data / "x.bin", np.float32).reshape(-1, 1, 8, 8)[:64]
    session = onnxruntime.InferenceSession(folder / "tuned.onnx")
    (scores,) = session.run(None, {"x": x})
    np.testing.assert_allclose(scores, step.predict(x)[0], rtol=1e-3, atol=1e-3)


def test_python(step, data, tmp_path):
    export_training(step, tmp_path)
    check(step, data, tmp_path, [sys.executable, EXAMPLES / "train.py"], "trained.npz")


def test_javascript(step, data, tmp_path):
    """onnxruntime-web's WebAssembly in node, with the graph for a browser's GPU."""
    node = shutil.which("node")
    if node is None or not (EXAMPLES / "node_modules" / "onnxruntime-web").exists():
        pytest.skip("node, and `npm install` in examples/train_elsewhere")
    export_training(step, tmp_path, target="ortweb")
    command = [node, EXAMPLES / "train.mjs"]
    check(step, data, tmp_path, command, "trained.safetensors", cwd=EXAMPLES)


def headers() -> Path | None:
    given = os.environ.get("ONNXRUNTIME_INCLUDE")
    folders = [given] if given else ["/usr/include/onnxruntime", "/usr/local/include/onnxruntime"]
    return next((Path(f) for f in folders if Path(f, "onnxruntime_cxx_api.h").exists()), None)


def test_cpp(step, data, tmp_path):
    """Against the library that the Python package ships."""
    compiler, include = shutil.which("g++"), headers()
    if compiler is None or include is None:
        pytest.skip("g++ and onnxruntime's headers, e.g. of libonnxruntime-dev")
    found = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    library = tmp_path / "libonnxruntime.so.1"
    library.symlink_to(found)
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-isystem", include]
    build = [compiler, *options, EXAMPLES / "train.cc", library, f"-Wl,-rpath,{tmp_path}", "-o",
             tmp_path / "train"]  # fmt: skip
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    export_training(step, tmp_path)
    check(step, data, tmp_path, [tmp_path / "train"], "trained.bin")
