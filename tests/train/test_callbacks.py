"""What happens around batches and epochs: order, evaluation by step, best, early stop, logs."""

from __future__ import annotations

import csv

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests.train.test_trainer import final_bits, loader, make_trainer
from toolkit import errors, nn, optim
from toolkit.train import Callback, CsvLog, EarlyStopping, Trainer, TrainStep, param_groups


class Recorder(Callback):
    """Notes what it is told."""

    def __init__(self):
        self.events = []

    def on_fit_begin(self, trainer):
        self.events.append("begin")

    def on_epoch_begin(self, trainer):
        self.events.append(f"epoch {trainer.position.epoch}")

    def on_batch_end(self, trainer, batch):
        self.events.append(f"batch {batch.index} of {batch.samples}")
        assert np.isfinite(batch.loss) and batch.outputs[0].shape == (batch.samples, 2)

    def on_evaluate_end(self, trainer, values):
        self.events.append(("evaluated", *sorted(k for k in values if k.startswith("val"))))

    def on_epoch_end(self, trainer, row):
        row["twice"] = 2.0 * row["epoch"]
        self.events.append(f"end {trainer.position.epoch}")

    def on_fit_end(self, trainer, history):
        self.events.append(f"fit {len(history.rows)}")

    def close(self):
        self.events.append("close")


FIGURES = ("evaluated", "val_accuracy", "val_loss")


def test_order_of_events(tmp_path):
    seen = Recorder()
    history = make_trainer(tmp_path, callbacks=[seen]).fit(loader(40), loader(16), 2)
    batches = ["batch 0 of 16", "batch 1 of 16", "batch 2 of 8"]
    assert seen.events == [
        "begin", "epoch 0", *batches, FIGURES, "end 1",
        "epoch 1", *batches, FIGURES, "end 2", "fit 2", "close",
    ]  # fmt: skip
    assert history["twice"] == [2.0, 4.0]
    with (tmp_path / "log.csv").open() as stream:
        assert [row["twice"] for row in csv.DictReader(stream)] == ["2.0", "4.0"]


def test_close_is_called_after_an_error():
    seen = Recorder()
    bad = [(np.full((4, 6), np.nan, np.float32), np.zeros(4, np.int64))]
    with pytest.raises(errors.ToolkitError, match="finite loss"):
        make_trainer(None, callbacks=[seen]).fit(bad)
    assert seen.events == ["begin", "epoch 0", "close"]


def test_evaluation_every_n_steps(tmp_path):
    """Every 4 steps of 2 batches, in epochs of 6 batches, and at the run's end."""
    tk.manual_seed(0)
    net = nn.Linear(6, 2)
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), 0.1), accumulate=2)
    trainer = Trainer(step, metrics=["accuracy"], run_dir=tmp_path, progress=False,
                      eval_every="4 steps")  # fmt: skip
    history = trainer.fit(loader(), loader(32, 32), 3)
    assert [e["batch"] for e in history.evaluations] == [8, 16, 18]
    assert [round(e["epoch"], 3) for e in history.evaluations] == [1.333, 2.667, 3.0]
    with (tmp_path / "evaluations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [r["batch"] for r in rows] == ["8", "16", "18"]
    assert ["val_loss" in row for row in history.rows] == [False, True, True]
    assert history.last["val_loss"] == history.evaluations[-1]["val_loss"]


def test_evaluation_every_second_epoch_and_at_the_end(tmp_path):
    history = make_trainer(tmp_path, eval_every="2 epochs").fit(loader(), loader(32, 32), 5)
    assert ["val_loss" in row for row in history.rows] == [False, True, False, True, True]
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [bool(r["val_loss"]) for r in rows] == [False, True, False, True, True]


def test_best_by_any_metric(tmp_path):
    """best.onnx is the model of the evaluation whose figure is the best."""
    for mode in ("max", "min"):
        folder = tmp_path / mode
        trainer = make_trainer(folder, monitor="val_f1", mode=mode)
        trainer.metric_names = ["accuracy", "f1"]
        history = trainer.fit(loader(), loader(32, 32), 5)
        best = Trainer(tk.load_training(folder / "best.onnx"), metrics=["f1"], progress=False)
        want = (max if mode == "max" else min)(history["val_f1"])
        assert best.evaluate(loader(32, 32))["f1"] == pytest.approx(want)
    with pytest.raises(errors.InvalidArgumentError, match=r"one of \[.*\] is required, got 'nix'"):
        make_trainer(tmp_path / "x", monitor="nix").fit(loader(), None, 1)


def test_best_holds_the_average(tmp_path):
    tk.manual_seed(0)
    net = nn.Linear(6, 2)
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), 0.1), ema_decay=0.8)
    trainer = Trainer(step, run_dir=tmp_path, progress=False)
    history = trainer.fit(loader(), loader(32, 32), 2)
    x, y = next(iter(loader(32, 32)))
    assert history.last["val_loss"] == pytest.approx(step.evaluate(x, y, averaged=True)[0])
    got = tk.load(tmp_path / "best.onnx")(x).detach().numpy()
    np.testing.assert_allclose(got, step.predict(x, averaged=True)[0], rtol=1e-5)
    assert not np.allclose(got, step.predict(x)[0], rtol=1e-5)


def test_early_stop_survives_a_resume(tmp_path):
    def stuck():
        trainer = make_trainer(tmp_path, early_stop=2)
        trainer.scheduler = None
        for group in trainer.step.param_groups:
            group["lr"] = 0.0
        return trainer

    history = stuck().fit(loader(), loader(32, 32), 9)
    assert len(history.rows) < 9 and "no better value than" in history.stopped
    again = stuck()
    assert again.resume()
    assert len(again.fit(loader(), loader(32, 32), 9).rows) == len(history.rows)


def test_min_delta():
    stop = EarlyStopping(1, "loss", min_delta=0.5)
    trainer = make_trainer(None)
    stop.on_evaluate_end(trainer, {"loss": 2.0})
    stop.on_evaluate_end(trainer, {"loss": 1.6})
    assert stop.stale == 1
    with pytest.raises(errors.InvalidArgumentError, match="patience >= 1"):
        EarlyStopping(0)
    with pytest.raises(errors.InvalidArgumentError, match="'min' or 'max'"):
        EarlyStopping(1, mode="up")


def test_overfit_batches():
    """Two batches, again and again, for training and for evaluation."""
    seen = Recorder()
    trainer = make_trainer(None, overfit_batches=2, callbacks=[seen])
    history = trainer.fit(loader(), loader(32, 32), 30)
    assert sum(str(e).startswith("batch") for e in seen.events) == 60
    assert history.last["val_accuracy"] == 1.0
    few = trainer._chosen(loader(), None)[0]
    assert trainer.evaluate(few)["loss"] == pytest.approx(history.last["val_loss"])


@pytest.mark.parametrize("every", ["", "0 epochs", "steps", "3 days", -1])
def test_bad_interval(every):
    with pytest.raises(errors.InvalidArgumentError, match="is required as eval_every"):
        make_trainer(None, eval_every=every)


def test_csv_takes_new_columns(tmp_path):
    log, trainer = CsvLog(tmp_path), make_trainer(None)
    for row in ({"epoch": 1}, {"epoch": 2, "val_loss": 0.5}, {"epoch": 3}):
        trainer.position.rows.append(row)
        log.on_epoch_end(trainer, row)
    text = (tmp_path / "log.csv").read_text().split()
    assert text == ["epoch,val_loss", "1,", "2,0.5", "3,"]


def test_tensorboard_events(tmp_path):
    """Read back by the event file's own framing: length, checksum, event, checksum."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    make_trainer(tmp_path, tensorboard=True).fit(loader(), loader(32, 32), 2)
    resumed = make_trainer(tmp_path, tensorboard=True)
    resumed.resume()
    resumed.fit(loader(), loader(32, 32), 3)
    scalars = {}
    files = sorted((tmp_path / "tensorboard").iterdir())
    for data in (path.read_bytes() for path in files):
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            for value in event.summary.value:
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    assert len(files) == 2
    assert sorted(scalars["train/batch_loss"]) == list(range(1, 19))
    assert sorted(scalars) == ["train/batch_loss", "train/loss", "train/lr", "val/accuracy",
                               "val/loss"]  # fmt: skip
    rows = [row["val_loss"] for row in resumed.position.rows]
    assert [scalars["val/loss"][k] for k in (6, 12, 18)] == pytest.approx(rows)


def test_tensorboard_absent(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(errors.ToolkitError, match=r"tensorboardX is required. .*\[tensorboard\]"):
        make_trainer(None, tensorboard="events")


def test_dry_run_changes_nothing(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    first = next(iter(loader().batches(0)))
    states = trainer.step.prepare(*first).state_dict()
    before = {name: array.copy() for name, array in states.items()}
    report = trainer.dry_run(loader(), loader(32, 32))
    assert not (tmp_path / "run").exists()
    for name, array in states.items():
        np.testing.assert_array_equal(array, before[name])
    assert report.loss == float(trainer.step(*first)[0])
    assert report.largest_change == pytest.approx(1e-2, rel=0.2)  # The first step of AdamW.
    assert report.inputs == [("input", "float32", [16, 6]), ("target", "int64", [16])]
    assert report.outputs == [("output", "float32", [16, 2])]
    assert ("0.weight", [16, 6], True) in report.parameters and len(report.parameters) == 6
    assert report.memory.states > 0 and report.memory.arena > 0
    assert "178 parameters, of which 178 train" in report.as_text()


def test_groups_by_glob():
    tk.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    net[2].weight.requires_grad_(False)
    groups = param_groups(net, {"0.*": {"lr": 0.0}, "*.bias": {"lr": 0.5, "momentum": 0.0}})
    names = [[name for name, _ in group["params"]] for group in groups]
    assert names == [["0.weight", "0.bias"], ["2.bias", "4.bias"], ["4.weight"]]
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(groups, lr=0.1, momentum=0.9))
    assert step.learning_rates() == [0.0, 0.5, 0.1]
    step(*next(iter(loader())))
    moved = {k for k, v in net.state_dict().items() if not np.array_equal(v.numpy(), before[k])}
    assert moved == {"2.bias", "4.weight", "4.bias"}
    with pytest.raises(errors.InvalidArgumentError, match=r"got 'x\.\*'. There are 0\.weight"):
        param_groups(net, {"x.*": {"lr": 1.0}})


def test_checkpoints_that_stay(tmp_path):
    trainer = make_trainer(tmp_path, checkpoint_every=2, keep_checkpoints=3)
    trainer.fit(loader(), None, 2)
    names = sorted(p.name for p in tmp_path.glob("*.onnx"))
    assert names == ["best.onnx", "last.onnx", "step-00000008.onnx", "step-00000010.onnx"]
    parts = make_trainer(tmp_path)
    parts.resume(tmp_path / "step-00000008.onnx")
    parts.run_dir = None
    whole = onnx.load(tmp_path / "last.onnx")
    parts.fit(loader(), None, 2)
    assert final_bits(tmp_path)
    assert whole.graph.initializer == onnx.load(tmp_path / "last.onnx").graph.initializer
