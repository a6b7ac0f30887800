"""`Callback`: what may happen around a `Trainer`'s batches and epochs; early stop, checkpoints.

The logs and the progress bar are callbacks too (`logs.py`, `tensorboard.py`, `progress.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.train import metrics
from toolkit.train.checkpoints import BEST, LAST

if TYPE_CHECKING:
    from toolkit.train.trainer import History, Trainer


@dataclass
class Batch:
    """What one batch gave.

    Attributes:
        index: its number in the epoch, from 0.
        loss: before the step.
        samples: how many it had.
        outputs: the model's outputs in training mode.
        target: the batch's last member.
    """

    index: int
    loss: float
    samples: int
    outputs: tuple[Any, ...]
    target: Any


class Callback:
    """Told what a `Trainer` does, in the order of the methods; each does nothing by default.

    `trainer.position` says where the run stands (epochs and batches done), `trainer.step` is the
    compiled step, `trainer.stop(reason)` ends the run after the batch or epoch at hand.
    What `state_dict` gives (JSON) travels in the checkpoints.

    Example:
        class Halve(Callback):
            def on_epoch_end(self, trainer, row):
                for group in trainer.step.param_groups:
                    group["lr"] /= 2
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch of this `fit`; after a resumed run's position was taken up."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before an epoch's first batch, also when it is resumed midway."""

    def on_evaluate_end(self, trainer: Trainer, values: dict[str, float]) -> None:
        """After an evaluation; without validation data, at each epoch's end with its figures.

        Args:
            trainer: the trainer.
            values: names as in the log: "val_loss", "val_accuracy", ...
        """

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        """After a batch, whose step (and evaluation, if one was due) is done."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """After an epoch; what is added to `row` is in the log."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """After the last epoch, an early stop or an interruption; not after an error."""

    def close(self) -> None:
        """At the very end, errors included: for files and bars."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know, as JSON holds it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up what `state_dict` gave."""


class Monitor:
    """Watches one figure: which, and what is better.

    Args:
        name: as in the log ("val_f1"); None: the first metric's on validation data, else the loss.
        mode: "min" or "max"; None: what the metric says, "min" for losses.
        min_delta: a change that is not more than this is no improvement.
    """

    def __init__(
        self, name: str | None = None, mode: str | None = None, min_delta: float = 0.0
    ) -> None:
        if mode not in (None, "min", "max"):
            raise InvalidArgumentError(f"Monitor: mode must be 'min' or 'max', got '{mode}'.")
        self.name, self.mode, self.min_delta = name, mode, min_delta
        self.best: float | None = None

    def improved(self, trainer: Trainer, values: Mapping[str, float]) -> bool:
        """Notes a figure, and says whether it is the best so far."""
        name = self.name or self._default(trainer, values)
        if name not in values:
            raise InvalidArgumentError(
                f"Monitor: one of {sorted(values)} is required, got '{name}'. "
                "Name it among the metrics, and give validation data."
            )
        value = values[name]
        gain = math.inf if self.best is None else value - self.best
        if self.best is not None and not self._higher(name):
            gain = -gain
        if math.isnan(value) or not gain > self.min_delta:
            return False
        self.best = value
        return True

    def _default(self, trainer: Trainer, values: Mapping[str, float]) -> str:
        wanted = [f"val_{name}" for name in (*trainer.metric_names[:1], "loss")]
        return next((name for name in wanted if name in values), "loss")

    def _higher(self, name: str) -> bool:
        if self.mode is not None:
            return self.mode == "max"
        return metrics.higher_is_better(name.removeprefix("val_"))


class EarlyStopping(Callback):
    """Ends the run when a figure has not improved for `patience` evaluations.

    Args:
        patience: evaluations without an improvement.
        monitor: as for `Monitor`.
        mode: as for `Monitor`.
        min_delta: the smallest change that counts.
    """

    def __init__(
        self,
        patience: int,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
    ) -> None:
        if patience < 1:
            raise InvalidArgumentError(f"EarlyStopping: patience >= 1 is required, got {patience}.")
        self.patience = patience
        self.monitor = Monitor(monitor, mode, min_delta)
        self.stale = 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        """A run that had stopped stays so."""
        self._check(trainer)

    def on_evaluate_end(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Counts evaluations since the best."""
        self.stale = 0 if self.monitor.improved(trainer, values) else self.stale + 1
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if self.stale >= self.patience:
            best = self.monitor.best
            trainer.stop(f"no better value than {best:.6g} in {self.stale} evaluations")

    def state_dict(self) -> dict[str, Any]:
        """The best value, and how long ago it was."""
        return {"best": self.monitor.best, "stale": self.stale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on counting."""
        self.monitor.best, self.stale = state["best"], state["stale"]


class Checkpoint(Callback):
    """Writes `last.onnx` at each epoch's end, and `best.onnx` when the figure is the best so far.

    With an average of the weights, `best.onnx` infers with the average, as the evaluation did.

    Args:
        folder: where.
        every: batches between checkpoints besides; 0: none.
        keep: how many of the newest checkpoints stay; older ones are `step-<number>.onnx`.
        monitor: as for `Monitor`.
        mode: as for `Monitor`.
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 0,
        keep: int = 1,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        if every < 0 or keep < 1:
            raise InvalidArgumentError(
                f"Checkpoint: every >= 0 and keep >= 1 are required, got {every} and {keep}."
            )
        self.folder, self.every, self.keep = Path(folder), every, keep
        self.monitor = Monitor(monitor, mode)
        self._improved = False
        self._saved: tuple[int, int] | None = None  # (epoch, batch) of the last one.

    def on_fit_begin(self, trainer: Trainer) -> None:
        """What a resumed run came from need not be written again."""
        self._saved = trainer.resumed_at

    def on_evaluate_end(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Notes whether this is the best: it is written when the batch or epoch is accounted."""
        self._improved |= self.monitor.improved(trainer, values)

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        """The best, and the checkpoint between epochs."""
        at, total = trainer.position, trainer.batches_per_epoch
        due = self.every and at.batch % self.every == 0 and at.batch < total
        if self._improved or due:
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """The epoch's checkpoint."""
        self.save(trainer)

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """What an interruption or an early stop left unsaved."""
        if self._saved != trainer.position.place:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the best, if it is new, and the last.

        The best is first: killed in between, the epoch is done again and writes it again.
        """
        if self._improved:
            trainer.save(self.folder / BEST, averaged=trainer.step.averages)
            self._improved = False
        if self.keep > 1:
            self._put_aside()
        trainer.save(self.folder / LAST)
        self._saved = trainer.position.place
        self._written = trainer.position.batches

    _written: int | None = None  # Batches of the run at the last checkpoint.

    def _put_aside(self) -> None:
        """The last checkpoint takes a name of its own; the oldest go."""
        last = self.folder / LAST
        if last.exists() and self._written is not None:
            last.replace(self.folder / f"step-{self._written:08d}.onnx")
        for old in sorted(self.folder.glob("step-*.onnx"))[: 1 - self.keep]:
            old.unlink()

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.monitor.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on comparing."""
        self.monitor.best = state["best"]
