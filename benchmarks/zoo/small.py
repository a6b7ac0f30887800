"""Small networks, where what surrounds the kernels counts. `lib` is `torch` or `toolkit`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def mlp(lib: Any) -> Any:
    """784-512-512-10 with ReLU."""
    nn = lib.nn
    parts = [part for a, b in pairwise((784, 512, 512)) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(512, 10))


def chain(lib: Any) -> Any:
    """The elementwise chain relu(tanh(x * 1.5 + 0.25) - x): five operators."""

    class Chain(lib.nn.Module):
        def forward(self, x: Any) -> Any:
            return lib.relu(lib.tanh(x * 1.5 + 0.25) - x)

    return Chain()


def thousand_nodes(lib: Any) -> Any:
    """200 blocks x + relu(x W + b) * s: 1,000 nodes that do little each."""

    class Block(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = lib.nn.Parameter(lib.zeros(32, 32))
            self.bias = lib.nn.Parameter(lib.zeros(32))
            self.scale = lib.nn.Parameter(lib.zeros(32))

        def forward(self, x: Any) -> Any:
            return x + lib.relu(lib.matmul(x, self.weight) + self.bias) * self.scale

    return lib.nn.Sequential(*(Block() for _ in range(200)))
