"""What one small eager operation costs, beside numpy and torch eager.

    python benchmarks/overhead.py

Adds (2, 3) float32 tensors, with and without gradients recorded; a thousand operations a turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare

COUNT = 1000


def repeat(operation: Callable[[], object]) -> Callable[[], None]:
    """A thousand calls."""

    def run() -> None:
        for _ in range(COUNT):
            operation()

    return run


def main() -> None:
    """Prints microseconds an operation."""
    a = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    x, p = tk.tensor(a), torch.tensor(a)
    gx, gp = tk.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    cases = {
        "x + y": (lambda: x + x, lambda: a + a, lambda: p + p),
        "x * 2.0": (lambda: x * 2.0, lambda: a * 2.0, lambda: p * 2.0),
        "x.sum()": (lambda: x.sum(), lambda: a.sum(), lambda: p.sum()),
        "x @ x.T": (lambda: x @ x.T, lambda: a @ a.T, lambda: p @ p.T),
        "x + y, recorded": (lambda: gx + gx, lambda: a + a, lambda: gp + gp),
    }
    print("| operation | ours us | numpy us | torch us | ours - numpy us |\n|" + "---|" * 5)
    for name, (ours, numpy, peer) in cases.items():
        sides = {"ours": repeat(ours), "numpy": repeat(numpy), "torch": repeat(peer)}
        medians = compare(name, sides, seconds=2).medians
        us = {side: seconds * 1e6 / COUNT for side, seconds in medians.items()}
        print(
            f"| {name} | {us['ours']:.2f} | {us['numpy']:.2f} | {us['torch']:.2f} "
            f"| {us['ours'] - us['numpy']:.2f} |"
        )


if __name__ == "__main__":
    main()
