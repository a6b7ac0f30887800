"""`Trainer`: what a run writes, and that killing it loses nothing."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

import toolkit as tk
from toolkit import errors, nn, optim
from toolkit.data import DataLoader, TensorDataset
from toolkit.train import Trainer, TrainStep

KILLS = 20
EPOCHS = 40  # Of 6 batches, of the run that is killed: longer than all the lives before its last.


def loader(count: int = 96, size: int = 16, seed: int = 0) -> DataLoader:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((count, 6)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    return DataLoader(
        TensorDataset(tk.as_tensor(x), tk.as_tensor(y)), size, shuffle=True, generator=seed
    )


def make_trainer(folder: Path | None, **options) -> Trainer:
    tk.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
    )
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    return Trainer(
        TrainStep(model, nn.CrossEntropyLoss(), optimizer),
        scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60),
        schedule_every="batch",
        metrics=["accuracy"],
        run_dir=folder,
        progress=False,
        **options,
    )


def test_run_folder(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    history = trainer.fit(loader(), loader(32, 32), epochs=4)
    assert history["loss"][-1] < history["loss"][0]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "best.onnx",
        "last.onnx",
        "log.csv",
        "loss.png",
    ]
    with (tmp_path / "run" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [r["epoch"] for r in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(history.last["val_accuracy"])
    assert (tmp_path / "run" / "loss.png").read_bytes()[:4] == b"\x89PNG"
    onnx.checker.check_model(onnx.load(tmp_path / "run" / "last.onnx"), full_check=True)


def test_progress_shows_loss_metric_speed_and_time_left(capsys, monkeypatch):
    """The bar of `rich` as a terminal of 120 columns shows it."""
    import re

    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    trainer = make_trainer(None)
    trainer.progress = True
    trainer.fit(loader(), loader(32, 32), epochs=2)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    bar = r"epoch \d/2 .*6/6 loss \d\.\d{4}  accuracy [01]\.\d{4}  [\d,]+/s \d:\d\d:\d\d"
    assert re.search(bar, text), text
    assert re.search(r"epoch 2/2  loss \S+  lr \S+  val_loss \S+  val_accuracy \S+", text), text


def test_early_stop(tmp_path):
    trainer = make_trainer(None, early_stop=2)
    for group in trainer.step.param_groups:
        group["lr"] = 0.0
    trainer.scheduler = None
    history = trainer.fit(loader(), None, epochs=50)
    assert len(history.rows) <= 6


def test_nan_loss_stops():
    trainer = make_trainer(None)
    data = loader()
    bad = [(np.full((4, 6), np.nan, np.float32), np.zeros(4, np.int64))]
    with pytest.raises(errors.ToolkitError, match="a finite loss is required, got nan in epoch 0"):
        trainer.fit(bad, None, 1)
    del data


def final_bits(folder: Path) -> dict[str, bytes]:
    proto = onnx.load(folder / "last.onnx")
    tensors = [*proto.graph.initializer, *proto.training_info[0].algorithm.initializer]
    return {t.name: t.SerializeToString() for t in tensors}


def test_resume_equals_one_go(tmp_path):
    make_trainer(tmp_path / "whole").fit(loader(), None, 4)
    make_trainer(tmp_path / "parts").fit(loader(), None, 2)
    resumed = make_trainer(tmp_path / "parts")
    assert resumed.resume()
    resumed.fit(loader(), None, 4)
    assert final_bits(tmp_path / "whole") == final_bits(tmp_path / "parts")


_CHILD = """
import sys
from pathlib import Path
from tests.train.test_trainer import EPOCHS, loader, make_trainer
trainer = make_trainer(Path(sys.argv[1]), checkpoint_every=2)
trainer.resume()
print("ready", flush=True)
train_batch = trainer._train_batch
def counted(*args):
    print("batch", flush=True)
    train_batch(*args)
trainer._train_batch = counted
trainer.fit(loader(), loader(32, 32), EPOCHS)
print("done", flush=True)
"""


def run_child(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=Path(__file__).parents[2],
    )


def check_files(folder: Path) -> None:
    """A model is whole or not there. So is what hides for the moment before it is put in place."""
    for path in (*folder.glob("*.onnx"), *folder.glob(".*.onnx.*")) if folder.exists() else ():
        onnx.checker.check_model(onnx.load(path))


def kill_at_random(child: subprocess.Popen[bytes], rng: random.Random) -> None:
    """After up to 10 batches, and some part of the time that a batch or a checkpoint takes.

    Not after a time of the clock: on a busy machine no child would come to its first checkpoint.
    """
    assert child.stdout is not None
    times = [time.perf_counter()]
    for _ in range(rng.randrange(11)):
        if child.stdout.readline() != b"batch\n":
            break
        times.append(time.perf_counter())
    time.sleep(rng.random() * 2 * (times[-1] - times[-2] if len(times) > 1 else 0.1))
    child.send_signal(signal.SIGKILL)


def test_sigkill_loses_nothing(tmp_path):
    """Killed at random moments and resumed, a run ends at the bits of one that was not."""
    make_trainer(tmp_path / "whole", checkpoint_every=2).fit(loader(), loader(32, 32), EPOCHS)
    folder = tmp_path / "killed"
    rng = random.Random(0)
    kills = 0
    midway = 0  # Kills that left a checkpoint behind.
    for _ in range(KILLS * 4):
        with run_child(folder) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            if kills < KILLS:
                kill_at_random(child, rng)
                kills += child.wait() == -signal.SIGKILL
                midway += (folder / "last.onnx").exists()
                check_files(folder)
            finished = child.stdout.read().endswith(b"done\n")
        if finished:
            break
    assert finished and kills == KILLS and midway > KILLS // 2
    assert final_bits(tmp_path / "whole") == final_bits(folder)
    assert not [p.name for p in folder.glob(".*")]
