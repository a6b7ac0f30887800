"""The progress bar of a run: loss, metric, samples a second, time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.train.callbacks import Batch, Callback
from toolkit.train.metrics import Metric, create

if TYPE_CHECKING:
    from toolkit.train.trainer import Trainer


class ProgressBar(Callback):
    """A `rich` progress bar over the batches of each epoch, with the first metric so far."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._metric: Metric | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Shows the bar."""
        self._bar = _make_bar()
        self._metric = create(trainer.metric_names[0]) if trainer.metric_names else None
        self._bar.start()

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Begins an epoch, of which some batches may have been done before."""
        at = trainer.position
        self._samples, self._start = 0, time.perf_counter()
        if self._metric is not None:
            self._metric.reset()
        self._smooth: float | None = None
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(
            f"epoch {at.epoch + 1}/{trainer.epochs}",
            total=trainer.batches_per_epoch,
            completed=at.batch,
            info="",
        )

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        """One batch more; the metric's mean is that of the epoch so far."""
        loss = batch.loss
        self._samples += batch.samples
        self._smooth = loss if self._smooth is None else 0.95 * self._smooth + 0.05 * loss
        rate = self._samples / max(time.perf_counter() - self._start, 1e-9)
        figures = [f"loss {self._smooth:.4f}"]
        if self._metric is not None:
            output = batch.outputs[0].detach()
            self._metric.update(np.asarray(output), np.asarray(batch.target))
            figures.append(f"{self._metric.name} {self._metric.value():.4f}")
        self._bar.update(self._task, advance=1, info="  ".join([*figures, f"{rate:,.0f}/s"]))

    def on_evaluate_end(self, trainer: Trainer, values: dict[str, float]) -> None:
        """An evaluation within an epoch is a line of its own."""
        if trainer.evaluates_by_step:
            self._print(f"batch {trainer.position.batches}", values)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Prints the epoch's figures as a line that stays."""
        self._print(f"epoch {int(row['epoch'])}/{trainer.epochs}", row)

    def _print(self, head: str, values: dict[str, float]) -> None:
        skipped = ("epoch", "batch", "seconds")
        figures = "  ".join(f"{k} {v:.4g}" for k, v in values.items() if k not in skipped)
        self._bar.console.print(f"{head}  {figures}")

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _make_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
