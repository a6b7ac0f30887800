"""The CSV log and the loss curve of a run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from toolkit.graph.atomic import write_atomically


class CsvLog:
    """One line an epoch. The header is the first row's names."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewrite(self, rows: list[dict[str, float]]) -> None:
        """Makes the file hold exactly `rows`: a resumed run drops what came after them."""
        if not rows:
            self._path.unlink(missing_ok=True)
            return
        stream = io.StringIO()
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self._path, stream.getvalue().encode())

    def append(self, row: dict[str, float]) -> None:
        """Adds a line."""
        fresh = not self._path.exists()
        with self._path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, row.keys())
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def plot_history(rows: list[dict[str, float]], path: Path) -> bool:
    """Draws the losses over epochs as a PNG.

    Returns:
        False when matplotlib (extra "plot") is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss")
    epochs = [row["epoch"] for row in rows]
    for name in ("loss", "val_loss"):
        if rows and name in rows[0]:
            axes.plot(epochs, [row[name] for row in rows], marker="o", label=name)
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    write_atomically(path, stream.getvalue())
    return True
