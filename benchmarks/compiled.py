"""Calls and training passes of small networks: compiled, uncompiled, and both of torch.

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


def call(m: Any, model: Any, x: Any) -> Callable[[], None]:
    """A call without gradients."""

    def run() -> None:
        with m.no_grad():
            model(x)

    return run


def forward(m: Any, model: Any, x: Any) -> Callable[[], None]:
    """A call that is recorded."""
    return lambda: model(x)


def step(m: Any, model: Any, x: Any) -> Callable[[], None]:
    """One forward and backward pass."""

    def run() -> None:
        model.zero_grad()
        (model(x) ** 2).sum().backward()

    return run


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp, batch 8": (mlp, (8, 32)),
    "mlp, batch 1": (mlp, (1, 32)),
    "conv": (conv, (4, 3, 16, 16)),
}


def main() -> None:
    """Prints the median microseconds of each side, and the speed-ups."""
    tk.set_num_threads(1)
    torch.set_num_threads(1)
    print(
        "| network | what | compiled us | eager us | torch eager us | torch.compile us | "
        "to eager | to torch eager | to torch.compile |"
    )
    print("|" + "---|" * 9)
    for name, (build, shape) in NETWORKS.items():
        net, theirs = build(tk.nn), build(torch.nn)
        compiled = tk.compile(net, fullgraph=True)
        inductor = torch.compile(theirs, fullgraph=True)
        x, y = tk.randn(*shape), torch.randn(*shape)
        for what in (call, forward, step):
            sides = [what(tk, compiled, x), what(tk, net, x)]
            sides += [what(torch, theirs, y), what(torch, inductor, y)]
            ours, *others = medians(sides)
            print(
                f"| {name} | {what.__name__} | {ours:.1f} | "
                + "".join(f"{t:.1f} | " for t in others)
                + "".join(f"{t / ours:.2f} | " for t in others).rstrip(),
                flush=True,
            )


def medians(sides: list[Callable[[], None]]) -> list[float]:
    """Microseconds of each, in turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(60):
        for side, taken in zip(sides, times, strict=True):
            side()
            start = time.perf_counter()
            for _ in range(20):
                side()
            taken.append((time.perf_counter() - start) / 20 * 1e6)
    return [median(t[5:]) for t in times]


if __name__ == "__main__":
    main()
