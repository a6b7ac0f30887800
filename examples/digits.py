"""The main job end to end on real data: train, save one .onnx, run it anywhere, train it further.

Scikit-learn's bundled handwritten digits: 1,797 images of 8x8 pixels. Three seeds, each trained
from scratch; the median accuracy on a held-out fifth is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import toolkit as tk
from toolkit import models, nn, optim
from toolkit.data import DataLoader, load
from toolkit.runtime import InferenceSession
from toolkit.train import Trainer, TrainStep


def train(seed: int, epochs: int, folder: Path, progress: bool) -> tuple[float, Path]:
    """Trains one model; gives its accuracy on the held-out fifth and its file."""
    tk.manual_seed(seed)
    data = load("digits")
    model = models.create("digits_cnn")
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(data.train, batch_size=64, shuffle=True, generator=seed)
    trainer = Trainer(
        TrainStep(model, nn.CrossEntropyLoss(), optimizer),
        scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader)),
        schedule_every="batch",
        metrics=["accuracy"],
        run_dir=folder / f"seed{seed}",
        progress=progress,
    )
    history = trainer.fit(loader, DataLoader(data.test, batch_size=360), epochs)
    return history.last["val_accuracy"], folder / f"seed{seed}" / "last.onnx"


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def run_everywhere(path: Path) -> None:
    """Runs the file by our runtime and by onnxruntime, and compares."""
    images, labels = (np.asarray(t) for t in load("digits").test[:])
    ours = InferenceSession(path)
    name = ours.get_inputs()[0].name
    (here,) = ours.run(None, {name: images})
    print(f"toolkit     accuracy {accuracy(here, labels):.4f}")
    try:
        import onnxruntime
    except ImportError:
        print("onnxruntime is not installed: pip install 'toolkit[parity]' to compare.")
        return
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (there,) = session.run(None, {name: images})
    print(f"onnxruntime accuracy {accuracy(there, labels):.4f}")
    print(f"largest difference   {np.abs(here - there).max():.2e}")


def train_further(path: Path, progress: bool) -> None:
    """One epoch more from the file alone: weights, optimizer state and algorithm are in it."""
    data = load("digits")
    step = tk.load_training(path)
    trainer = Trainer(step, metrics=["accuracy"], progress=progress)
    for group in step.param_groups:
        group["lr"] = 1e-4
    before = trainer.evaluate(DataLoader(data.test, batch_size=360))
    history = trainer.fit(
        DataLoader(data.train, batch_size=64, shuffle=True, generator=99),
        DataLoader(data.test, batch_size=360),
    )
    print(
        f"one more epoch from the file: accuracy {before['accuracy']:.4f} -> "
        f"{history.last['val_accuracy']:.4f}, loss {history.last['loss']:.4f}"
    )


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--no-progress", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    results = [
        train(seed, options.epochs, options.out, not options.no_progress)
        for seed in range(options.seeds)
    ]
    for seed, (score, _) in enumerate(results):
        print(f"seed {seed}: accuracy {score:.4f} on the held-out fifth")
    print(f"median of {len(results)} seeds: {statistics.median(s for s, _ in results):.4f}")
    path = results[0][1]
    print(f"saved {path} ({path.stat().st_size / 1024:.0f} KiB)")
    run_everywhere(path)
    train_further(path, not options.no_progress)
    print(f"{time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
