"""Rewrites of pools, normalizations and what runs step after step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from toolkit.graph.build import Builder
from toolkit.graph.functions.conv import head_pads, reach_of, spread, window_of
from toolkit.graph.functions.normalization import channelwise
from toolkit.graph.functions.recurrent_unrolled import unrolled
from toolkit.graph.targets.registry import Call, rewrite
from toolkit.graph.targets.web.volume import max_pool

V = Any  # An ir.Value under `arithmetic`.


class _Windows:
    """The windows of a MaxPool, tap by tap: each tap is a strided Slice of the padded input."""

    def __init__(self, b: Builder, a: dict[str, Any], x: V, outputs: V) -> None:
        self.b = b
        self.kernel = [int(k) for k in a["kernel_shape"]]
        self.window = window_of(a, len(self.kernel))
        self.inputs = b.Shape(x, start=2)
        self.reach = reach_of(b, self.window, outputs, b.ints(self.kernel))
        self.head = head_pads(b, self.window, self.inputs, self.reach)
        self.length = (outputs - 1) * b.ints(self.window.strides) + 1
        self.axes = list(range(2, 2 + self.window.space))

    def taps(self, x: V, fill: V) -> Iterator[V]:
        """Slices of x in the shape of the output, in the order of the window's elements."""
        b = self.b
        tail = self.reach - self.inputs - self.head
        padded = b.Pad(x, b.Concat(self.head, tail, axis=0), fill, self.axes)
        strides = b.ints(self.window.strides)
        for tap in itertools.product(*map(range, self.kernel)):
            start = b.ints([t * d for t, d in zip(tap, self.window.dilations, strict=True)])
            yield b.Slice(padded, start, start + self.length, self.axes, strides)


def _lowest(b: Builder, x: V) -> V:
    return b.const(np.finfo(x.dtype.numpy()).min, x.dtype)


@rewrite("ortweb", "toolkit.grad.MaxPoolGrad")
def max_pool_grad(c: Call, x: V, dy: V) -> V:
    """Dy goes to the first element of its window that equals the maximum.

    What each tap receives is one channel of a ConvTranspose with one 1 a channel, which adds it in
    its place.
    """
    b = c.b
    a = {name: v for name, v in c.attributes.items() if name != "storage_order"}
    outputs = b.Shape(dy, start=2)
    windows = _Windows(b, a, x, outputs)
    y, nothing = b.MaxPool(x, **a), b.const(0, x.dtype)
    left, shares = dy, []
    for taken in windows.taps(x, _lowest(b, x)):
        hit = b.Equal(taken, y)
        shares.append(b.Unsqueeze(b.Where(hit, left, nothing), [2]))
        left = b.Where(hit, nothing, left)
    count = len(shares)
    joined = b.Reshape(b.Concat(*shares, axis=2), b.Concat([-1, count], outputs, axis=0))
    ones = b.const(np.eye(count).reshape(count, 1, *windows.kernel), x.dtype)
    w = windows
    dx = spread(b, w.window, joined, ones, 1, w.head, w.inputs, w.reach)
    return b.Reshape(dx, b.Shape(x))


@rewrite("ortweb", "MaxPool")
def max_pool_places(c: Call, x: V) -> Any:
    """Indices: the place in x of each window's first maximum."""
    if not c.used(1):
        return max_pool(c, x)
    b, a = c.b, c.attributes
    if a.pop("storage_order", 0):
        raise c.refuse("storage_order=0 is required")
    y = b.MaxPool(x, **a)
    windows = _Windows(b, a, x, b.Shape(y, start=2))
    size = b.Size(x)
    numbers = b.Reshape(b.Range(b.const(0), size, b.const(1)), b.Shape(x))
    found = None
    pairs = zip(windows.taps(x, _lowest(b, x)), windows.taps(numbers, b.const(0)), strict=True)
    for taken, number in reversed(list(pairs)):
        found = number if found is None else b.Where(b.Equal(taken, y), number, found)
    return y, found


@rewrite("ortweb", "BatchNormalization")
def batch_normalization(c: Call, x: V, scale: V, bias: V, mean: V, var: V) -> Any:
    """In training mode: standardized by the batch's statistics, which move the running ones."""
    if not c.attr("training_mode", 0):
        return None
    b = c.b
    rank, momentum = c.rank(x), c.attr("momentum", 0.9)
    axes = [0, *range(2, rank)]
    now = b.ReduceMean(x, axes)
    centered = x - now
    spread_now = b.ReduceMean(centered * centered, axes)
    r = b.Reciprocal(b.Sqrt(spread_now + c.attr("epsilon", 1e-5)))
    y = centered * (r * channelwise(b, scale, rank)) + channelwise(b, bias, rank)
    new_mean = mean * momentum + b.Reshape(now, [-1]) * (1.0 - momentum)
    new_var = var * momentum + b.Reshape(spread_now, [-1]) * (1.0 - momentum)
    return y, new_mean, new_var


@rewrite("ortweb", "RNN", "GRU", "LSTM")
def recurrent(c: Call, *inputs: V) -> Any:
    """Written out step after step; the number of steps must be known."""
    operands = [*inputs, *[None] * (8 - len(inputs))]
    dims = inputs[0].shape
    steps = None if dims is None else dims[1 if c.attr("layout", 0) else 0]
    if not isinstance(steps, int) or steps < 1:
        raise c.refuse(f"a known number of steps above 0 is required, got {steps}")
    return unrolled(c.b, c.node.op_type, c.attributes, operands, steps)
