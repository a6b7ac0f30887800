"""`Trainer`: epochs over data with progress, metrics, checkpoints, early stop and logs.

A checkpoint is the one file that `tk.save` writes. The order of the data is a function of seed and
epoch, so a run that was killed goes on to the same bits as one that was not.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError, ToolkitError
from toolkit.graph.atomic import sweep
from toolkit.train import metrics as metric_registry
from toolkit.train.logs import CsvLog, plot_history
from toolkit.train.progress import Progress
from toolkit.train.step import TrainStep

CHECKPOINT = "last.onnx"
BEST = "best.onnx"
METADATA_KEY = "toolkit.trainer"


@dataclass
class History:
    """One entry an epoch in each list; what the CSV holds too."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]

    @property
    def last(self) -> dict[str, float]:
        """The latest epoch's figures."""
        return self.rows[-1] if self.rows else {}


@dataclass
class _Position:
    """Where a run stands; travels in the checkpoint."""

    epoch: int = 0
    batch: int = 0  # Batches of this epoch that are done.
    loss_sum: float = 0.0
    samples: int = 0
    best: float | None = None
    stale: int = 0  # Epochs since the best.
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    scheduler: dict[str, Any] | None = None


class Trainer:
    """Trains a `TrainStep` over a data loader.

    Args:
        step: the compiled step. Its optimizer's learning rate is used unless a scheduler is given.
        scheduler: a `toolkit.optim.lr_scheduler` on the step's optimizer.
        schedule_every: "epoch" or "batch": when the scheduler steps.
        metrics: names of metrics, of which the first decides what is best ("loss" when empty).
        run_dir: folder for checkpoints, log and plot; None: nothing is written.
        checkpoint_every: batches between checkpoints, besides one at each epoch's end; 0: none.
        early_stop: epochs without a better value after which training ends; 0: never.
        progress: show a progress bar.
    """

    def __init__(
        self,
        step: TrainStep,
        scheduler: Any = None,
        schedule_every: str = "epoch",
        metrics: Sequence[str] = (),
        run_dir: str | Path | None = None,
        checkpoint_every: int = 0,
        early_stop: int = 0,
        progress: bool = True,
    ) -> None:
        if schedule_every not in ("epoch", "batch"):
            raise InvalidArgumentError(
                f"Trainer: schedule_every must be 'epoch' or 'batch', got '{schedule_every}'."
            )
        self.step = step
        self.scheduler = scheduler
        self.schedule_every = schedule_every
        self.metric_names = list(metrics)
        self.run_dir = Path(run_dir) if run_dir is not None else None
        self.checkpoint_every = checkpoint_every
        self.early_stop = early_stop
        self.progress = progress
        self._position = _Position()

    @property
    def checkpoint_path(self) -> Path | None:
        """The file that a resumed run starts from."""
        return self.run_dir / CHECKPOINT if self.run_dir is not None else None

    def resume(self, path: str | Path | None = None) -> bool:
        """Takes up a run where its checkpoint left it.

        Args:
            path: the checkpoint; None: the run folder's, if there is one.

        Returns:
            Whether there was something to resume.
        """
        from toolkit.train.onefile import load_training

        path = Path(path) if path is not None else self.checkpoint_path
        if path is None or not path.exists():
            return False
        loaded = load_training(path)
        text = loaded.metadata.get(METADATA_KEY)
        if text is None:
            raise InvalidArgumentError(
                f"resume: a checkpoint written by Trainer is required, got '{path}'. "
                "Use tk.load_training to go on from another file."
            )
        self.step.adopt(loaded)
        self._position = _Position(**json.loads(text))
        if self.scheduler is not None and self._position.scheduler is not None:
            self.scheduler.load_state_dict(self._position.scheduler)
        return True

    def fit(self, train: Any, val: Iterable[Any] | None = None, epochs: int = 1) -> History:
        """Trains until `epochs` epochs are done in all, earlier (resumed) ones counted in.

        Args:
            train: a `DataLoader`, or any sized iterable of batches in the same order each time.
            val: batches for evaluation after each epoch.
            epochs: how many in all.

        Raises:
            ToolkitError: the loss is not a number.
        """
        if self.run_dir is not None:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            sweep(self.run_dir)
        log = CsvLog(self.run_dir / "log.csv") if self.run_dir is not None else None
        if log is not None:
            log.rewrite(self._position.rows)
        metric = metric_registry.create(self.metric_names[0]) if self.metric_names else None
        with Progress(self.progress, epochs, metric) as bar:
            while self._position.epoch < epochs:
                row = self._epoch(train, val, bar)
                if log is not None:
                    log.append(row)
                if self.early_stop and self._position.stale >= self.early_stop:
                    break
        history = History(list(self._position.rows))
        if self.run_dir is not None:
            plot_history(history.rows, self.run_dir / "loss.png")
        return history

    def _epoch(self, train: Any, val: Iterable[Any] | None, bar: Progress) -> dict[str, float]:
        at = self._position
        bar.start_epoch(at.epoch, len(train), at.batch)
        started = time.perf_counter()
        for index, batch in enumerate(_remaining(train, at.epoch, at.batch), at.batch):
            self._train_batch(batch, bar, index, len(train))
        row = {"epoch": at.epoch + 1, "loss": at.loss_sum / max(at.samples, 1)}
        row["lr"] = float(self.step.learning_rates()[0])
        if val is not None:
            row.update({f"val_{k}": v for k, v in self.evaluate(val).items()})
        at.seconds += time.perf_counter() - started
        row["seconds"] = at.seconds
        improved = self._note_best(row)
        if self.scheduler is not None and self.schedule_every == "epoch":
            _advance(self.scheduler, row)
        at.rows.append(row)
        at.epoch, at.batch, at.loss_sum, at.samples = at.epoch + 1, 0, 0.0, 0
        bar.end_epoch(row)
        # The best is written first: killed in between, the epoch is done again and writes it again.
        if improved and self.run_dir is not None:
            self.step.save(self.run_dir / BEST)
        self._checkpoint()
        return row

    def _train_batch(self, batch: Any, bar: Progress, index: int, total: int) -> None:
        at = self._position
        loss, outputs = self.step(*batch)
        value = float(loss)
        if not math.isfinite(value):
            raise ToolkitError(
                f"Trainer: a finite loss is required, got {value} in epoch {at.epoch}, "
                f"batch {index}. Lower the learning rate or clip gradients."
            )
        count = len(batch[0])
        at.loss_sum += value * count
        at.samples += count
        at.batch = index + 1
        if self.scheduler is not None and self.schedule_every == "batch":
            self.scheduler.step()
        bar.advance(value, count, outputs[0].detach(), batch[-1])
        if self.checkpoint_every and at.batch % self.checkpoint_every == 0 and at.batch < total:
            self._checkpoint()

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Loss and metrics in inference mode over `batches`, weighted by batch size."""
        meters = [metric_registry.create(name) for name in self.metric_names]
        total, count = 0.0, 0
        for batch in batches:
            loss, outputs = self.step.evaluate(*batch)
            size = len(batch[0])
            total += float(loss) * size
            count += size
            for meter in meters:
                meter.update(outputs[0], np.asarray(batch[-1]))
        values = {"loss": total / max(count, 1)}
        values.update({meter.name: meter.value() for meter in meters})
        return values

    def _note_best(self, row: dict[str, float]) -> bool:
        at = self._position
        name = f"val_{self.metric_names[0]}" if self.metric_names else "val_loss"
        value = row.get(name, row["loss"])
        higher = (
            bool(self.metric_names)
            and name in row
            and metric_registry.create(self.metric_names[0]).higher_is_better
        )
        if at.best is None or (value > at.best if higher else value < at.best):
            at.best, at.stale = value, 0
            return True
        at.stale += 1
        return False

    def _checkpoint(self) -> None:
        path = self.checkpoint_path
        if path is None:
            return
        if self.scheduler is not None:
            self._position.scheduler = self.scheduler.state_dict()
        self.step.save(path, metadata={METADATA_KEY: json.dumps(asdict(self._position))})


def _remaining(train: Any, epoch: int, done: int) -> Iterable[Any]:
    """An epoch's batches without those that an interrupted run had done."""
    if hasattr(train, "batches"):
        batches: Iterable[Any] = train.batches(epoch, done)
        return batches
    return itertools.islice(train, done, None)


def _advance(scheduler: Any, row: dict[str, float]) -> None:
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        scheduler.step(row.get("val_loss", row["loss"]))
    else:
        scheduler.step()
