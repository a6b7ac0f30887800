"""Any data, any model: pictures in folders, a callback of one's own, and a run that is resumed.

Writes pictures of two kinds of noise, trains a small network on them with a moving average of its
weights, evaluates every few steps, stops the run in the middle and goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import toolkit as tk
from toolkit import nn, optim
from toolkit.data import DataLoader, load
from toolkit.runtime import InferenceSession
from toolkit.train import Callback, Trainer, TrainStep, class_weights


def write_pictures(folder: Path, count: int) -> None:
    """Smooth and rough noise, in a folder each, at sizes that differ."""
    rng = np.random.default_rng(0)
    for i in range(count):
        kind = ("smooth", "rough", "rough")[i % 3]
        side = 24 + i % 9
        coarse = rng.integers(0, 256, (side // 4, side // 4, 3)).astype(np.uint8)
        fine = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        image = Image.fromarray(fine if kind == "rough" else coarse).resize((side, side + 3))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        image.save(folder / kind / f"{i}.png")


class StopAt(Callback):
    """Ends the run after some batches, as Ctrl-C does."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
        """Looks at the position of the run."""
        if trainer.position.batches == self.batches:
            trainer.stop(f"{self.batches} batches are enough for now")


def make(folder: Path, classes: int, labels: Any, callbacks: list[Callback]) -> Trainer:
    """A trainer as it was when the run began."""
    tk.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(16, classes),
    )  # fmt: skip
    weights = tk.as_tensor(class_weights(labels, classes))
    step = TrainStep(
        net,
        nn.CrossEntropyLoss(weight=weights),
        optim.AdamW(net.parameters(), lr=5e-3),
        ema_decay=0.9,
    )
    return Trainer(
        step,
        metrics=["f1", "accuracy"],
        run_dir=folder,
        eval_every="10 steps",
        callbacks=callbacks,
        progress=False,
    )


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/any_data"))
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    write_pictures(options.out / "pictures", 240)
    data = load(f"images:{options.out / 'pictures'}?resize=22&crop=20&augment=crop,flip,vflip")
    train = DataLoader(data.train, batch_size=16, shuffle=True, generator=0)
    val = DataLoader(data.test, batch_size=48)
    classes, folder = data.meta.num_classes, options.out / "run"
    first = make(folder, classes, data.labels, [StopAt(25)])
    print(f"stopped: {first.fit(train, val, options.epochs).stopped}")
    second = make(folder, classes, data.labels, [])
    print(f"resumed from {second.resume()}")
    history = second.fit(train, val, options.epochs)
    for row in history.evaluations:
        print(f"batch {row['batch']:3.0f}  val_loss {row['val_loss']:.4f}  f1 {row['val_f1']:.4f}")
    x, y = next(iter(val))
    session = InferenceSession(folder / "best.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    print(f"best.onnx: accuracy {(logits.argmax(1) == y.numpy()).mean():.4f} with the average")


if __name__ == "__main__":
    main()
