"""What a run leaves to look at: the CSV log and the curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.graph.atomic import write_atomically
from toolkit.train.callbacks import Callback

if TYPE_CHECKING:
    from toolkit.train.trainer import History, Trainer


class CsvLog(Callback):
    """`log.csv`: one line an epoch. `evaluations.csv`: one an evaluation, where steps say when."""

    def __init__(self, folder: str | Path) -> None:
        self._log, self._evaluations = Path(folder) / "log.csv", Path(folder) / "evaluations.csv"

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Makes the files hold what was done: a resumed run drops what came after that."""
        _write(self._log, trainer.position.rows)
        _write(self._evaluations, trainer.position.evaluations)

    def on_evaluate_end(self, trainer: Trainer, values: dict[str, float]) -> None:
        """A line more of evaluations."""
        if trainer.evaluates_by_step:
            _append(self._evaluations, trainer.position.evaluations)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """A line more of the log."""
        _append(self._log, trainer.position.rows)


def _columns(rows: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _write(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """The whole file, or none without rows."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _columns(rows))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, stream.getvalue().encode())


def _append(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """The last row as a line; a column that is new makes the file anew."""
    known = _columns(rows[:-1])
    if not path.exists() or not known or set(rows[-1]) - set(known):
        _write(path, rows)
        return
    with path.open("a", newline="") as stream:
        csv.DictWriter(stream, known).writerow(rows[-1])


class Plot(Callback):
    """`loss.png`: losses and, beside them, the metrics over epochs, drawn at the end.

    Without matplotlib (extra "plot") nothing is drawn.
    """

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / "loss.png"

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """Draws."""
        plot_history(history.rows, self._path, history.evaluations)


def plot_history(
    rows: list[dict[str, float]], path: Path, evaluations: Sequence[dict[str, float]] = ()
) -> bool:
    """Draws losses and metrics over epochs as a PNG.

    Args:
        rows: one an epoch.
        path: the file.
        evaluations: where steps said when, with "epoch" as a fraction: drawn instead of the rows'.

    Returns:
        False when matplotlib (extra "plot") is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    measured = list(evaluations) or rows
    others = [n for n in _columns(measured) if n.startswith("val_") and n != "val_loss"]
    figure = Figure(figsize=(10 if others else 6, 4), layout="constrained")
    panels = [("loss", [("loss", rows), ("val_loss", measured)])]
    if others:
        panels.append(("metrics", [(name, measured) for name in others]))
    for i, (label, curves) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), i, xlabel="epoch", ylabel=label)
        for name, source in curves:
            points = [(row["epoch"], row[name]) for row in source if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=name)
        if axes.lines:
            axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    write_atomically(path, stream.getvalue())
    return True
