"""Forward and backward of small networks: compiled, uncompiled, and torch's eager mode.

    python benchmarks/compiled.py

A multilayer perceptron and a convolution net on small batches, one thread, the sides in turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk


def mlp(nn: Any) -> Any:
    """Three layers."""
    return nn.Sequential(
        nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def conv(nn: Any) -> Any:
    """Two convolutions with BatchNorm, and a layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 64, 10),
    )  # fmt: skip


def step(model: Any, x: Any) -> Callable[[], None]:
    """One forward and backward pass."""

    def run() -> None:
        model.zero_grad()
        (model(x) ** 2).sum().backward()

    return run


def main() -> None:
    """Prints the median microseconds of each side, and the speed-ups."""
    tk.set_num_threads(1)
    torch.set_num_threads(1)
    print(f"{'':8}{'compiled':>10}{'eager':>10}{'torch':>10}{'speed-up':>10}{'to torch':>10}")
    for name, build, shape in (("mlp", mlp, (8, 32)), ("conv", conv, (4, 3, 16, 16))):
        net = build(tk.nn)
        x = tk.randn(*shape)
        sides = [
            step(tk.compile(net, fullgraph=True), x), step(net, x),
            step(build(torch.nn), torch.randn(*shape)),
        ]  # fmt: skip
        times: list[list[float]] = [[], [], []]
        for _ in range(60):
            for side, taken in zip(sides, times, strict=True):
                side()
                start = time.perf_counter()
                for _ in range(10):
                    side()
                taken.append((time.perf_counter() - start) / 10 * 1e6)
        ours, eager, theirs = (median(t[5:]) for t in times)
        print(
            f"{name:8}{ours:10.0f}{eager:10.0f}{theirs:10.0f}{eager / ours:10.2f}"
            f"{theirs / ours:10.2f}"
        )


if __name__ == "__main__":
    main()
