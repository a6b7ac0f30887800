"""`TensorBoard`: event files of a run, written by the package tensorboardX."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import ToolkitError
from toolkit.train.callbacks import Batch, Callback

if TYPE_CHECKING:
    from toolkit.train.trainer import Trainer


class TensorBoard(Callback):
    """Scalars by training batch: loss and rates of each, the figures of evaluations and epochs.

    Args:
        folder: where the event file goes; a resumed run adds one, and TensorBoard drops from the
            older ones what came after the checkpoint.
        every: batches between the scalars of single batches.

    Raises:
        ToolkitError: tensorboardX (extra "tensorboard") is not installed.
    """

    def __init__(self, folder: str | Path, every: int = 1) -> None:
        try:
            import tensorboardX
        except ImportError:
            raise ToolkitError(
                "TensorBoard: the package tensorboardX is required. Install it: "
                "pip install 'toolkit[tensorboard]'."
            ) from None
        self._make = tensorboardX.SummaryWriter
        self._folder, self._every = Path(folder), every
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Opens the event file."""
        done = trainer.position.batches
        self._writer = self._make(
            str(self._folder),
            purge_step=done + 1 if done else None,
            filename_suffix=f".{os.getpid()}.{done}",  # The name holds whole seconds only.
        )

    def on_batch_end(self, trainer: Trainer, batch: Batch) -> None:
        """Loss and rates."""
        at = trainer.position.batches
        if at % self._every:
            return
        self._writer.add_scalar("train/batch_loss", batch.loss, at)
        rates = trainer.step.learning_rates()
        for i, rate in enumerate(rates):
            self._writer.add_scalar("train/lr" if len(rates) == 1 else f"train/lr.{i}", rate, at)

    def on_evaluate_end(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Figures on validation data."""
        for name, value in values.items():
            if name.startswith("val_"):
                tag = f"val/{name.removeprefix('val_')}"
                self._writer.add_scalar(tag, value, trainer.position.batches)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """The epoch's mean loss; what is written reaches the disk."""
        self._writer.add_scalar("train/loss", row["loss"], trainer.position.batches)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
