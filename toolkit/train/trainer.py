"""`Trainer`: epochs over data with evaluation, checkpoints, early stop, logs and progress.

A checkpoint is the one file that `tk.save` writes. The order of the data is a function of seed and
epoch, so a run that was killed goes on to the same bits as one that was not. What happens around
batches and epochs is done by callbacks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.graph.atomic import sweep
from toolkit.train import metrics as metric_registry
from toolkit.train.callbacks import Batch, Callback, Checkpoint, EarlyStopping
from toolkit.train.checkpoints import LAST, METADATA_KEY, checksum, newest, read
from toolkit.train.feeding import FirstBatches, remaining
from toolkit.train.interrupt import Interrupt
from toolkit.train.nonfinite import Watch, require_finite
from toolkit.train.step import TrainStep

if TYPE_CHECKING:
    from toolkit.train.dryrun import DryRun

_EVERY = re.compile(r"(\d+)\s*(epochs?|steps?)?")


@dataclass
class History:
    """What a run gave: one row an epoch, as in the CSV.

    Attributes:
        rows: figures of the epochs.
        evaluations: where steps say when to evaluate, figures of each evaluation.
        stopped: why the run ended before its last epoch; None if it did not.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    stopped: str | None = None

    def __getitem__(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]

    @property
    def last(self) -> dict[str, float]:
        """The latest epoch's figures."""
        return self.rows[-1] if self.rows else {}


@dataclass
class Position:
    """Where a run stands; travels in the checkpoint."""

    epoch: int = 0
    batch: int = 0  # Batches of this epoch that are done.
    batches: int = 0  # Of the whole run.
    loss_sum: float = 0.0
    samples: int = 0
    unevaluated: bool = False  # An evaluation is due that an interruption cut off.
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    scheduler: dict[str, Any] | None = None
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def place(self) -> tuple[int, int]:
        """Epochs done, and batches of the next one."""
        return self.epoch, self.batch


class Trainer:
    """Trains a `TrainStep` over a data loader.

    Args:
        step: the compiled step. Its optimizer's learning rate is used unless a scheduler is given.
        scheduler: a `toolkit.optim.lr_scheduler` on the step's optimizer.
        schedule_every: "epoch" or "batch": when the scheduler steps.
        metrics: names of metrics (`toolkit.train.metrics`), of which the first decides what is
            best ("loss" when empty) unless `monitor` does.
        run_dir: folder for checkpoints, log and plot; None: nothing is written.
        checkpoint_every: batches between checkpoints, besides one at each epoch's end; 0: none.
        early_stop: evaluations without a better value after which training ends; 0: never.
        progress: show a progress bar.
        eval_every: epochs between evaluations (2 or "2 epochs"), or optimizer steps ("500 steps").
        monitor: the figure that decides what is best, as in the log: "val_f1", "loss".
        mode: "min" or "max", which is better; None: what the metric says.
        keep_checkpoints: how many of the newest stay; older ones are `step-<batches>.onnx`.
        tensorboard: write event files into the run folder's `tensorboard` (or this folder).
        callbacks: called before the trainer's own.
        detect_nan: keep the states from before each step, and when a loss or a weight is not
            finite put them back and name the first value that was not.
        overfit_batches: train and evaluate on this many batches only, always the same; 0: on all.
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
        *,
        eval_every: int | str = 1,
        monitor: str | None = None,
        mode: str | None = None,
        keep_checkpoints: int = 1,
        tensorboard: bool | str | Path = False,
        callbacks: Sequence[Callback] = (),
        detect_nan: bool = False,
        overfit_batches: int = 0,
    ) -> None:
        if schedule_every not in ("epoch", "batch"):
            raise InvalidArgumentError(
                f"Trainer: schedule_every must be 'epoch' or 'batch', got '{schedule_every}'."
            )
        for name in metrics:
            metric_registry.create(name)  # An unknown one is refused at once.
        self.step = step
        self.scheduler = scheduler
        self.schedule_every = schedule_every
        self.metric_names = list(metrics)
        self.run_dir = Path(run_dir) if run_dir is not None else None
        self.progress = progress
        self.eval_every, self.evaluates_by_step = _interval(eval_every)
        self.position = Position()
        self.resumed_at: tuple[int, int] | None = None
        self.epochs = 0
        self.batches_per_epoch = 0
        self.overfit_batches = overfit_batches
        self._stop: str | None = None
        self._interrupt = Interrupt()
        self._watch = Watch(step) if detect_nan else None
        self.callbacks = [*callbacks]
        if self.run_dir is not None:
            from toolkit.train.logs import CsvLog, Plot

            self.callbacks += [CsvLog(self.run_dir), Plot(self.run_dir)]
        if tensorboard:
            self.callbacks.append(self._tensorboard(tensorboard))
        if early_stop:
            self.callbacks.append(EarlyStopping(early_stop, monitor, mode))
        if self.run_dir is not None:  # The last one: the others' states go along.
            self.callbacks.append(
                Checkpoint(self.run_dir, checkpoint_every, keep_checkpoints, monitor, mode)
            )

    def _tensorboard(self, where: bool | str | Path) -> Callback:
        from toolkit.train.tensorboard import TensorBoard

        if not isinstance(where, bool):
            return TensorBoard(where)
        if self.run_dir is None:
            raise InvalidArgumentError("Trainer: run_dir is required by tensorboard=True.")
        return TensorBoard(self.run_dir / "tensorboard")

    # -- resuming ------------------------------------------------------------------------------

    @property
    def checkpoint_path(self) -> Path | None:
        """The file that holds the run's latest state."""
        return self.run_dir / LAST if self.run_dir is not None else None

    def resume(self, path: str | Path | None = None) -> Path | None:
        """Takes up a run where its checkpoint left it.

        Args:
            path: the checkpoint; None or "auto": the newest in the run folder that is whole. One
                that is not is passed over with a warning.

        Returns:
            What was resumed from; None if there was nothing.

        Raises:
            InvalidArgumentError: the file is no checkpoint, or one of another model or optimizer.
        """
        if path is None or path == "auto":
            found = newest(self.run_dir) if self.run_dir is not None else None
            if found is None:
                return None
        else:
            found = read(path)
        self.step.adopt(found.step)
        known = {f.name for f in fields(Position)}
        self.position = at = Position(**{k: v for k, v in found.position.items() if k in known})
        self.resumed_at = at.place
        if self.scheduler is not None and at.scheduler is not None:
            self.scheduler.load_state_dict(at.scheduler)
        for callback, entry in zip(self.callbacks, at.callbacks, strict=False):
            if entry["kind"] == type(callback).__name__:
                callback.load_state_dict(entry["state"])
        return found.path

    def save(self, path: str | Path, averaged: bool = False) -> None:
        """Writes a checkpoint: the step's one file, with the position in its metadata."""
        if self.scheduler is not None:
            self.position.scheduler = self.scheduler.state_dict()
        self.position.callbacks = [
            {"kind": type(c).__name__, "state": c.state_dict()} for c in self.callbacks
        ]
        text = json.dumps({**asdict(self.position), "checksum": checksum(self.step)})
        self.step.save(path, metadata={METADATA_KEY: text}, averaged=averaged)

    # -- the run -------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Ends the run after the batch or epoch at hand."""
        self._stop = self._stop or reason

    @property
    def interrupted(self) -> bool:
        """Whether SIGINT or SIGTERM ended the latest run."""
        return self._interrupt.received

    def fit(self, train: Any, val: Iterable[Any] | None = None, epochs: int = 1) -> History:
        """Trains until `epochs` epochs are done in all, earlier (resumed) ones counted in.

        At Ctrl-C (and SIGTERM) the batch at hand is finished, a checkpoint is written and the
        history returned, with `interrupted` in `stopped`; a second Ctrl-C ends at once.

        Args:
            train: a `DataLoader`, or any sized iterable of batches in the same order each time.
            val: batches for evaluation.
            epochs: how many in all.

        Raises:
            ToolkitError: the loss is not a number.
        """
        if self.run_dir is not None:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            sweep(self.run_dir)
        train, val = self._chosen(train, val)
        self.epochs, self.batches_per_epoch, self._stop = epochs, len(train), None
        own = list(self.callbacks)
        if self.progress:
            from toolkit.train.progress import ProgressBar

            self.callbacks.append(ProgressBar())
        try:
            with self._interrupt:
                self._tell("on_fit_begin")
                while self.position.epoch < epochs and self._stop is None:
                    self._epoch(train, val)
                stopped = self._stop if self.position.epoch < epochs else None
                at = self.position
                history = History(list(at.rows), list(at.evaluations), stopped)
                self._tell("on_fit_end", history)
        finally:
            for callback in self.callbacks:
                callback.close()
            self.callbacks = own
        return history

    def _chosen(self, train: Any, val: Any) -> tuple[Any, Any]:
        if not self.overfit_batches:
            return train, val
        few = FirstBatches(train, self.overfit_batches)
        return few, None if val is None else few

    def dry_run(self, train: Any, val: Iterable[Any] | None = None) -> DryRun:
        """Builds everything and does one step on copies; nothing is changed or written."""
        from toolkit.train.dryrun import dry_run

        train, val = self._chosen(train, val)
        first = next(iter(remaining(train, 0, 0)))
        return dry_run(self.step, first, None if val is None else next(iter(val)))

    def _tell(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    def _epoch(self, train: Any, val: Iterable[Any] | None) -> None:
        at = self.position
        self._tell("on_epoch_begin")
        started = time.perf_counter()
        if at.unevaluated:  # An interruption cut it off.
            self._evaluate_midway(val)
        for batch in self._interrupt.guard(remaining(train, at.epoch, at.batch)):
            self._train_batch(batch, val)
            if self._stop is not None:
                break
        if self._interrupt.received:
            self.stop("interrupted")
        if self._stop is None:
            self._end_epoch(val, started)
        else:
            at.seconds += time.perf_counter() - started

    def _end_epoch(self, val: Iterable[Any] | None, started: float) -> None:
        at = self.position
        row: dict[str, float] = {"epoch": at.epoch + 1, "loss": at.loss_sum / max(at.samples, 1)}
        row["lr"] = float(self.step.learning_rates()[0])
        due = val is not None and not self.evaluates_by_step
        due = due and ((at.epoch + 1) % self.eval_every == 0 or at.epoch + 1 == self.epochs)
        if due:
            row.update(self._figures(val))
        elif self.evaluates_by_step and at.evaluations:
            latest = at.evaluations[-1]
            if latest["batch"] > at.batches - at.batch:
                row.update({k: v for k, v in latest.items() if k.startswith("val_")})
        if self._interrupt.received:  # In the middle of the evaluation: it is done again.
            self.stop("interrupted")
            at.seconds += time.perf_counter() - started
            return
        at.seconds += time.perf_counter() - started
        row["seconds"] = at.seconds
        if due or val is None:
            self._tell("on_evaluate_end", row)
        if self.scheduler is not None and self.schedule_every == "epoch":
            _advance(self.scheduler, row)
        at.rows.append(row)
        at.epoch, at.batch, at.loss_sum, at.samples = at.epoch + 1, 0, 0.0, 0
        self._tell("on_epoch_end", row)

    def _train_batch(self, batch: Any, val: Iterable[Any] | None) -> None:
        at = self.position
        if self._watch is not None:
            self._watch.before(batch)
        loss, outputs = self.step(*batch)
        value = float(loss)
        require_finite(self, value, batch, self._watch)
        done = Batch(at.batch, value, len(batch[0]), outputs, batch[-1])
        at.loss_sum += value * done.samples
        at.samples += done.samples
        at.batch, at.batches = at.batch + 1, at.batches + 1
        if self.scheduler is not None and self.schedule_every == "batch":
            self.scheduler.step()
        if self.evaluates_by_step and val is not None and self._evaluation_due():
            self._evaluate_midway(val)
        self._tell("on_batch_end", done)
        if self._interrupt.received:
            self.stop("interrupted")

    def _evaluation_due(self) -> bool:
        at = self.position
        last = at.place == (self.epochs - 1, self.batches_per_epoch)
        return last or at.batches % (self.eval_every * self.step.accumulate) == 0

    def _evaluate_midway(self, val: Iterable[Any] | None) -> None:
        at = self.position
        at.unevaluated = True
        figures = self._figures(val) if val is not None else {}
        if self._interrupt.received:
            return
        at.unevaluated = False
        epoch = at.epoch + at.batch / max(self.batches_per_epoch, 1)
        at.evaluations.append({"batch": at.batches, "epoch": epoch, **figures})
        self._tell("on_evaluate_end", at.evaluations[-1])

    def _figures(self, val: Any) -> dict[str, float]:
        return {f"val_{k}": v for k, v in self.evaluate(val).items()}

    def evaluate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Loss and metrics in inference mode over `batches`, weighted by batch size.

        With `TrainStep(ema_decay=)` they are those of the average of the weights.
        """
        meters = [metric_registry.create(name) for name in self.metric_names]
        total, count = 0.0, 0
        for loss, output, batch in self._evaluated(batches):
            size = len(batch[0])
            total += loss * size
            count += size
            for meter in meters:
                meter.update(output, np.asarray(batch[-1]))
        values = {"loss": total / max(count, 1)}
        values.update({meter.name: meter.value() for meter in meters})
        return values

    def confusion_matrix(self, batches: Iterable[Any]) -> np.ndarray[Any, Any]:
        """Samples by true class (rows) and predicted class, as `evaluate` sees them."""
        meter = metric_registry.Confusion("f1")
        for _, output, batch in self._evaluated(batches):
            meter.update(output, np.asarray(batch[-1]))
        return meter.matrix

    def _evaluated(self, batches: Iterable[Any]) -> Iterator[tuple[float, Any, Any]]:
        """Loss, first output and batch, each in turn; ends early when the run is interrupted."""
        averaged = self.step.averages
        for batch in self._interrupt.guard(batches):
            loss, outputs = self.step.evaluate(*batch, averaged=averaged)
            yield loss, outputs[0], batch


def _advance(scheduler: Any, row: dict[str, float]) -> None:
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        scheduler.step(row.get("val_loss", row["loss"]))
    else:
        scheduler.step()


def _interval(every: int | str) -> tuple[int, bool]:
    """How many, and whether steps (not epochs) are counted."""
    found = _EVERY.fullmatch(str(every).strip())
    if found is None or int(found[1]) < 1:
        raise InvalidArgumentError(
            f"Trainer: '<number> epochs' or '<number> steps' is required as eval_every, "
            f"got '{every}'."
        )
    return int(found[1]), (found[2] or "").startswith("step")
