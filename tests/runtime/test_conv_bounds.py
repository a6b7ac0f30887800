"""NUMERICS.md's bounds of float32 convolutions, on hard inputs as well as on normal ones.

Errors are relative to the largest sum of |x| |w|, which no cancellation makes small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import toolkit as tk
from tests.runtime.test_conv_algorithms import three
from toolkit import nn

BOUND = {"plain": 1.3e-5, "winograd2": 5e-6, "winograd4": 3e-5, "winograd6": 1e-3}
# The points of F(m x m), without infinity; simd/winograd.cc.
POINTS = {"winograd2": (0.0, 1.0, -1.0), "winograd4": (0.0, 0.75, -0.75, 1.5, -1.5)}
POINTS["winograd6"] = (0.0, 0.5625, -0.5625, 1.0, -1.0, 1.75, -1.75)
CHANNELS = (1, 3, 16, 128, 512)


def transforms(points: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A^T, G, B^T) of F(m, 3) by Toom and Cook: y = A^T ((G w) (B^T x))."""
    n = len(points) + 1

    def powers(k: int) -> np.ndarray:
        return np.array([*(np.power(p, range(k)) for p in points), np.eye(k)[-1]])

    return powers(n - 2).T, powers(3), np.linalg.inv(powers(n)).T


def kinds(rng: np.random.Generator, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Equal numbers, far from zero, alternating, with outliers, of many sizes, of one sign."""
    normal = rng.standard_normal(shape)
    place = np.indices(shape)
    yield normal
    yield np.full(shape, 0.1)
    yield 1000 + normal
    yield np.where((place[-1] + place[-2]) % 2 == 0, 1.0, -1.0) * rng.uniform(0.5, 1, shape)
    yield normal * np.where(rng.random(shape) < 0.01, 1e4, 1.0)
    yield normal * 10.0 ** rng.uniform(-6, 2, shape)
    yield np.abs(normal)


def against_sums(algorithm: str, x, w, dy, pads: int) -> float:
    """The largest error of the result and both gradients, by the sums of magnitudes."""
    values = [v.astype(np.float32) for v in (x, w, np.zeros(len(w)), dy)]
    attributes = {"pads": [pads] * 4}
    exact = [v.astype(np.float64) for v in values]
    want = three(*exact, attributes, "plain")
    sums = three(*map(np.abs, exact), attributes, "plain")
    got = three(*values, attributes, algorithm)
    return max(
        float(np.abs(g - y).max() / s.max()) for g, y, s in zip(got, want, sums, strict=True)
    )


@pytest.mark.parametrize("algorithm", BOUND)
@pytest.mark.parametrize("channels", CHANNELS)
def test_hard_inputs(rng, channels, algorithm):
    shape, out = (1, channels, 9, 8), 4
    for x in kinds(rng, shape):
        for w in kinds(rng, (out, channels, 3, 3)):
            dy = rng.standard_normal((1, out, 9, 8))
            assert against_sums(algorithm, x, w, dy, 1) < BOUND[algorithm]


def signs(
    rng: np.random.Generator, algorithm: str, channels: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A tile and a filter with the signs of one row of each transform, and a gradient."""
    if algorithm not in POINTS:
        return
    _, g, b = transforms(POINTS[algorithm])
    n = len(b)
    for i, j in np.ndindex(n, n):
        for ends in ((0.5, 1.0), (0.7, 0.7)):
            sizes = rng.uniform(*ends, (1, channels, n, n))
            x = np.where(np.outer(b[i], b[j]) >= 0, sizes, -sizes)
            sizes = rng.uniform(*ends, (4, channels, 3, 3))
            w = np.where(np.outer(g[i], g[j]) >= 0, sizes, -sizes)
            yield x, w, rng.standard_normal((1, 4, n - 2, n - 2))


@pytest.mark.parametrize("algorithm", POINTS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_signs_that_a_transform_adds_up(rng, channels, algorithm):
    """All terms of a transform add up."""
    for x, w, dy in signs(rng, algorithm, channels):
        assert against_sums(algorithm, x, w, dy, 0) < BOUND[algorithm]


@pytest.mark.parametrize(
    ("algorithm", "most"), [("winograd2", 7.2), ("winograd4", 83.6), ("winograd6", 648.3)]
)
def test_the_growth_of_rounding(algorithm, most):
    """NUMERICS.md's worst case: sums of magnitudes through the transforms over the direct sum."""
    a, g, b = (np.abs(m) for m in transforms(POINTS[algorithm]))
    growth = (a @ (g.sum(1) * b.sum(1)) / 3).max() ** 2
    assert most - 0.1 < growth < most


class Block(nn.Module):
    """A residual block with statistics of the batch; its activation has no kink."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)
        )
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        y = nn.functional.softplus(self.bn1(self.conv1(x)))
        return nn.functional.softplus(self.bn2(self.conv2(y)) + x)


def test_gradients_through_batch_norm(rng):
    """Three blocks deep Winograd costs some ulp, no more: with ReLU, numbers near 0 would flip."""
    tk.manual_seed(0)
    blocks = [Block(32) for _ in range(3)]
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), *blocks)
    x = rng.standard_normal((4, 3, 16, 16))

    def gradients(x: np.ndarray) -> list[np.ndarray]:
        model.zero_grad()
        model(tk.tensor(x)).square().sum(1).sqrt().mean().backward()
        return [p.grad.numpy().copy() for p in model.parameters()]

    got = gradients(x.astype(np.float32))
    model.double()
    want = gradients(x)
    largest = max(np.abs(w).max() for w in want)
    for a, b in zip(got, want, strict=True):
        assert np.abs(a - b).max() < 2e-5 * max(np.abs(b).max(), largest / 100)
