"""A training goes on in a new process: 100 steps and 100 more give the bits of 200 in one go."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.data import DataLoader, TensorDataset
from toolkit.runtime import InferenceSession
from toolkit.train import Trainer, TrainStep

STEPS, BATCH = 200, 8


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((64, 1, 6, 6)).astype(np.float32)
    return x, rng.integers(0, 4, 64)


def batch(k: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = data()
    rows = np.arange(k * BATCH, (k + 1) * BATCH) % 64
    return x[rows], y[rows]


def make() -> TrainStep:
    """BatchNorm, Dropout, AdamW, clipping, and warm-up before a cosine."""
    tk.manual_seed(11)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25),
        nn.Linear(48, 4),
    )  # fmt: skip
    optimizer = optim.AdamW(net.parameters(), lr=3e-3)
    s = optim.lr_scheduler
    parts = [s.LinearLR(optimizer, 0.1, 1.0, 30), s.CosineAnnealingLR(optimizer, STEPS - 30, 1e-5)]
    scheduler = s.SequentialLR(optimizer, parts, [30])
    return TrainStep(net, nn.CrossEntropyLoss(), optimizer, clip_grad_norm=1.0, scheduler=scheduler)


def in_a_new_process(source: str, *args: object) -> str:
    code = "from tests.train.test_new_process import *\n" + textwrap.dedent(source)
    command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_200_steps_are_100_and_100_in_a_new_process(tmp_path):
    import onnxruntime

    step, losses = make(), []
    for k in range(STEPS):
        losses.append(float(step(*batch(k))[0]))
        if k == 99:
            step.save(tmp_path / "half.onnx")
    step.save(tmp_path / "whole.onnx")
    told = in_a_new_process(
        """
        step = tk.load_training(sys.argv[1])
        for k in range(100, STEPS):
            print(float(step(*batch(k))[0]).hex())
        step.save(sys.argv[2])
        """,
        tmp_path / "half.onnx",
        tmp_path / "rest.onnx",
    )
    assert [float.fromhex(line) for line in told.split()] == losses[100:]
    assert losses[-1] < losses[0]
    # Weights, statistics, moments, step count, schedule, random state: every byte of the file.
    assert (tmp_path / "rest.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    for name in ("half.onnx", "rest.onnx"):
        onnx.checker.check_model(tmp_path / name, full_check=True)
        x = batch(0)[0]
        (got,) = onnxruntime.InferenceSession(tmp_path / name).run(None, {"input": x})
        (own,) = InferenceSession(tmp_path / name).run(None, {"input": x})
        np.testing.assert_allclose(got, own, 1e-4, 1e-5)


def trainer(folder, **options) -> Trainer:
    return Trainer(make(), run_dir=folder, progress=False, checkpoint_every=5, **options)


def loader() -> DataLoader:
    x, y = map(tk.as_tensor, data())
    return DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)


def fit_and_die(folder: str, calls: int) -> None:
    """Trains, and is killed at a call of the step."""
    run = trainer(folder)
    step, done = run.step, []

    class Dying(TrainStep):
        def __call__(self, *args):
            done.append(1)
            if len(done) == calls:
                os._exit(0)
            return super().__call__(*args)

    step.__class__ = Dying
    run.fit(loader(), epochs=3)


@pytest.mark.parametrize("calls", [9, 15])
def test_a_trainer_goes_on_in_a_new_process(tmp_path, calls):
    """The order of the data too, though the new process has drawn other numbers before."""
    trainer(tmp_path / "whole").fit(loader(), epochs=3)
    in_a_new_process("fit_and_die(sys.argv[1], int(sys.argv[2]))", tmp_path / "cut", calls)
    in_a_new_process(
        """
        tk.manual_seed(999)
        tk.rand(100)
        run = trainer(sys.argv[1])
        tk.manual_seed(999)
        assert run.resume()
        run.fit(loader(), epochs=3)
        """,
        tmp_path / "cut",
    )
    states = [tk.load_training(tmp_path / n / "last.onnx").state_dict() for n in ("whole", "cut")]
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name], err_msg=name)


def test_the_order_of_the_data_is_in_a_file_without_random_numbers(tmp_path):
    def run(folder, epochs, resume=False):
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
        step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.05))
        one = Trainer(step, run_dir=folder, progress=False)
        assert (one.resume() is not None) == resume
        one.fit(loader(), epochs=epochs)
        return step.state_dict()

    tk.manual_seed(3)
    whole = run(tmp_path / "whole", 2)
    tk.manual_seed(3)
    run(tmp_path / "cut", 1)
    tk.manual_seed(4)
    cut = run(tmp_path / "cut", 2, resume=True)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name], err_msg=name)
