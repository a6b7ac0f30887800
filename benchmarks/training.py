"""A training step: ours compiled by `TrainStep`, torch eager, and torch.compile when asked for.

    python benchmarks/training.py [--threads 2] [--seconds 3] [--only TEXT] [--compile] [--busy]

A step is forward, loss, backward and the optimizer's update, on one batch, from the same weights.
torch's optimizers are the fused ones. `ready` is the time until the first step is done, which for
the compiled sides holds the compilation; torch.compile takes minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare
from benchmarks.zoo import fill, sequence, small, vision
from toolkit.train import TrainStep

Step = Callable[[], float]
TOLERANCE = 1e-3  # Of the loss of the first three steps.


@dataclass(frozen=True)
class Job:
    """A network with a batch, a loss and an optimizer. `random`: it has Dropout."""

    make: Callable[[Any], Any]
    batch: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
    optimizer: str
    options: dict[str, Any] = field(default_factory=lambda: {"lr": 1e-3})
    random: bool = False

    def model(self, lib: Any) -> Any:
        """The network in training mode."""
        model = self.make(lib)
        fill(lib, model, 0)
        return model.train()

    def update(self, lib: Any, model: Any, **options: Any) -> Any:
        """The optimizer of the model's parameters."""
        made = getattr(lib.optim, self.optimizer)
        return made(model.parameters(), **self.options, **options)

    def ours(self) -> Step:
        """A step of toolkit."""
        model = self.model(tk)
        step = TrainStep(model, partial(loss, tk), self.update(tk, model))
        x, y = self.batch(np.random.default_rng(0))
        return lambda: float(step(x, y)[0])

    def torch(self, compiled: bool = False) -> Step:
        """A step of torch."""
        model = self.model(torch)
        optimizer = self.update(torch, model, fused=True)
        x, y = (torch.from_numpy(a) for a in self.batch(np.random.default_rng(0)))

        def forward(x: Any, y: Any) -> Any:
            return loss(torch, model(x), y)

        if compiled:
            forward = torch.compile(forward)

        def step() -> float:
            optimizer.zero_grad()
            value = forward(x, y)
            value.backward()
            optimizer.step()
            return float(value.detach())

        return step


def loss(lib: Any, scores: Any, target: Any) -> Any:
    """Cross-entropy over the last dimension."""
    if scores.ndim > 2:
        scores, target = scores.flatten(0, 1), target.flatten()
    return lib.nn.functional.cross_entropy(scores, target)


def images(batch: int, *shape: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Noise and one of ten classes."""
    return lambda rng: (
        rng.standard_normal((batch, *shape), np.float32),
        rng.integers(0, 10, batch),
    )


def tokens(batch: int, length: int, vocabulary: int) -> Callable[..., Any]:
    """Tokens and those that follow."""

    def make(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        text = rng.integers(0, vocabulary, (batch, length + 1))
        return text[:, :-1].copy(), text[:, 1:].copy()

    return make


_MOMENTUM = {"lr": 0.01, "momentum": 0.9}
JOBS: dict[str, Job] = {
    "resnet18 cifar, batch 32, SGD": Job(
        partial(vision.resnet18, classes=10, small=True), images(32, 3, 32, 32), "SGD", _MOMENTUM
    ),
    "mnist convnet, batch 64, Adam": Job(
        vision.mnist_convnet, images(64, 1, 28, 28), "Adam", random=True
    ),
    "mlp, batch 64, SGD": Job(small.mlp, images(64, 784), "SGD", {"lr": 0.01}),
    "char gpt, batch 8, T 128, AdamW": Job(sequence.char_gpt, tokens(8, 128, 96), "AdamW"),
    "lstm language model, batch 16, T 64, Adam": Job(
        sequence.lstm_language_model, tokens(16, 64, 1000), "Adam"
    ),
}


def check(name: str, job: Job, losses: dict[str, list[float]]) -> None:
    """The first losses of all sides agree, where nothing is drawn."""
    ours = losses["ours"]
    for side, values in losses.items():
        if not job.random and not np.allclose(values, ours, rtol=TOLERANCE):
            raise SystemExit(f"{name}: the losses {values} of {side} differ from ours, {ours}")


def row(name: str, job: Job, options: argparse.Namespace, clock: Callable[[], float]) -> str:
    """One line of the table."""
    sides: dict[str, Step] = {}
    ready: dict[str, float] = {}
    losses: dict[str, list[float]] = {}
    makers = {"ours": job.ours, "eager": job.torch}
    if options.compile:
        makers["compile"] = partial(job.torch, compiled=True)
    for side, make in makers.items():
        start = time.perf_counter()
        step = make()
        first = step()
        ready[side] = time.perf_counter() - start
        losses[side] = [first, step(), step()]
        sides[side] = step
    check(name, job, losses)
    medians = compare(name, sides, options.seconds, clock=clock).medians
    ratio = min(medians[s] for s in sides if s != "ours") / medians["ours"]
    cells = [f"{medians[s] * 1e3:.3f}" for s in sides] + [f"{ratio:.2f}"]
    return f"| {name} | {' | '.join(cells + [f'{s:.2f}' for s in ready.values()])} |"


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: minutes")
    parser.add_argument("--busy", action="store_true", help="one thread: the processor's clock")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_flush_denormal(True)  # As our kernels do; workers of torch inherit it.
    names = ["ours", "torch eager", *(["torch.compile"] if options.compile else [])]
    columns = ["training step", *(f"{n} ms" for n in names), "ratio to the faster"]
    columns += [f"{n} ready s" for n in names]
    for threads in options.threads:
        clock = time.process_time if options.busy and threads == 1 else time.perf_counter
        tk.set_num_threads(threads)
        torch.set_num_threads(threads)
        print(f"\n{threads} threads, torch {torch.__version__}\n")
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for name, job in JOBS.items():
            if options.only in name:
                print(row(name, job, options, clock), flush=True)


if __name__ == "__main__":
    main()
