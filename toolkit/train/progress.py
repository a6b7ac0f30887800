"""The progress bar of a run: loss, metric, samples a second, time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import numpy as np

from toolkit.train.metrics import Mean


class Progress:
    """A `rich` progress bar over the batches of each epoch; silent when not enabled."""

    def __init__(self, enabled: bool, epochs: int, metric: Mean | None = None) -> None:
        self._epochs = epochs
        self._metric = metric
        self._bar: Any = None
        self._task: Any = None
        if enabled:
            self._bar = _make_bar()

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start_epoch(self, epoch: int, batches: int, done: int) -> None:
        """Begins an epoch of which `done` batches were done before."""
        self._samples, self._start = 0, time.perf_counter()
        if self._metric is not None:
            self._metric.reset()
        self._smooth: float | None = None
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(
            f"epoch {epoch + 1}/{self._epochs}", total=batches, completed=done, info=""
        )

    def advance(self, loss: float, samples: int, output: Any = None, target: Any = None) -> None:
        """One batch more, with what the metric takes: its mean is that of the epoch so far."""
        if self._bar is None:
            return
        self._samples += samples
        self._smooth = loss if self._smooth is None else 0.95 * self._smooth + 0.05 * loss
        rate = self._samples / max(time.perf_counter() - self._start, 1e-9)
        figures = [f"loss {self._smooth:.4f}"]
        if self._metric is not None:
            self._metric.update(np.asarray(output), np.asarray(target))
            figures.append(f"{self._metric.name} {self._metric.value():.4f}")
        self._bar.update(self._task, advance=1, info="  ".join([*figures, f"{rate:,.0f}/s"]))

    def end_epoch(self, row: dict[str, float]) -> None:
        """Prints the epoch's figures as a line that stays."""
        if self._bar is None:
            return
        figures = "  ".join(
            f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "seconds")
        )
        self._bar.console.print(f"epoch {int(row['epoch'])}/{self._epochs}  {figures}")


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
