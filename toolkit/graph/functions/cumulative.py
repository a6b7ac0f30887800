"""Bodies of the running maximum, minimum and logarithm of the sum of exponentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.scan import scan

V = Any  # An ir.Value under `arithmetic`.


def _front(b: Builder, a: Attributes, x: V, neutral: Any) -> tuple[V, V]:
    """x with its axis first and a row of the neutral element after it, and the shape of a row.

    Some runtimes refuse a Scan of no steps.
    """
    rank = len(x.shape)
    axis = a.get("axis", -1) % rank
    order = [axis, *(i for i in range(rank) if i != axis)]
    moved = b.Transpose(x, perm=order) if axis else x
    inner = b.Slice(b.Shape(moved), [1], [rank], [0])
    row = b.Expand(b.const(neutral, x.dtype), b.Concat([1], inner, axis=0))
    return b.Concat(moved, row, axis=0), inner


def _back(b: Builder, a: Attributes, y: V) -> V:
    """The reverse: without the last row, the axis at its place."""
    rank = len(y.shape)
    axis = a.get("axis", -1) % rank
    y = b.Slice(y, [0], [-1], [0])
    return b.Transpose(y, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank)]) if axis else y


def _lowest(x: V, largest: bool) -> Any:
    """The neutral element of the maximum (or of the minimum)."""
    if x.dtype.is_floating_point():
        return float("-inf") if largest else float("inf")
    info = np.iinfo(x.dtype.numpy())
    return int(info.min if largest else info.max)


def _extreme(b: Builder, a: Attributes, x: V, largest: bool) -> tuple[V, V]:
    """A Scan: the state is the extreme so far and its place; later ones win ties, NaN stays."""
    neutral = _lowest(x, largest)
    moved, inner = _front(b, a, x, neutral)
    first = b.Expand(b.const(neutral, x.dtype), inner)
    place = b.Expand(b.const(0), inner)
    floating = x.dtype.is_floating_point()

    def step(b: Builder, states: Sequence[V], elements: Sequence[V]) -> Any:
        (best, at, k), (v,) = states, elements
        beats = b.GreaterOrEqual(v, best) if largest else b.LessOrEqual(v, best)
        if floating:
            beats = b.Or(beats, b.IsNaN(v))
        best, at = b.Where(beats, v, best), b.Where(beats, k, at)
        return (best, at, k + b.const(1)), (b.Identity(best), b.Identity(at))

    results = scan(b, [first, place, b.const(0)], [moved], 2, False, step)
    values, places = results[3:]
    return _back(b, a, values), _back(b, a, places)


@composite("toolkit.nn", "CumMax", "x", "y indices")
def cum_max(b: Builder, a: Attributes, x: V) -> tuple[V, V]:
    """The largest element up to each place along axis, and where it is (the last of equals)."""
    return _extreme(b, a, x, True)


@composite("toolkit.nn", "CumMin", "x", "y indices")
def cum_min(b: Builder, a: Attributes, x: V) -> tuple[V, V]:
    """The smallest element up to each place along axis, and where it is (the last of equals)."""
    return _extreme(b, a, x, False)


@composite("toolkit.nn", "CumLogSumExp", "x", "y")
def cum_log_sum_exp(b: Builder, a: Attributes, x: V) -> V:
    """log(e^x_0 + ... + e^x_i) along axis (from the other end with reverse), a Scan."""
    moved, inner = _front(b, a, x, float("-inf"))
    start = b.Expand(b.const(float("-inf"), x.dtype), inner)

    def step(b: Builder, states: Sequence[V], elements: Sequence[V]) -> Any:
        (y,), (v,) = states, elements
        top = b.Max(y, v)
        low = b.Min(y, v)
        # Where both are infinite their difference is no number.
        rest = b.Where(b.Equal(low, top), b.const(0.0, x.dtype), low - top)
        y = top + b.Log(b.const(1.0, x.dtype) + b.Exp(rest))
        return (y,), (b.Identity(y),)

    _, values = scan(b, [start], [moved], 1, bool(a.get("reverse", 0)), step)
    return _back(b, a, values)
