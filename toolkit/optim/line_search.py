"""A line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6).

Trial steps are those of minFunc, which torch follows too: cubic interpolation with safeguards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolkit.optim.optimizer import Array

DECREASE, CURVATURE, LEAST_CHANGE = 1e-4, 0.9, 1e-9


@dataclass
class Point:
    """A step along the direction, with the loss, the gradient and the slope there."""

    t: float
    loss: float
    grad: Array
    slope: float


def strong_wolfe(
    at: Callable[[float], tuple[float, Array]],
    t: float,
    direction: Array,
    loss: float,
    grad: Array,
    slope: float,
    most: int,
) -> tuple[float, Array, float, int]:
    """A step that lowers the loss enough and flattens the slope.

    Args:
        at: gives loss and gradient after a step.
        t: the first step to try.
        direction: a descent direction.
        loss: at the start.
        grad: at the start.
        slope: at the start, along the direction.
        most: trials after the first.

    Returns:
        Loss and gradient at the step, the step, and how often `at` was called.
    """
    search = _Search(at, direction, Point(0.0, loss, grad, slope))
    bracket = search.bracket(t, most)
    low = bracket[0] if len(bracket) == 1 else search.zoom(bracket, most)
    return low.loss, low.grad, low.t, search.calls


class _Search:
    def __init__(
        self, at: Callable[[float], tuple[float, Array]], direction: Array, start: Point
    ) -> None:
        self.at, self.direction, self.start = at, direction, start
        self.calls = self.trials = 0

    def point(self, t: float) -> Point:
        loss, grad = self.at(t)
        self.calls += 1
        return Point(t, loss, grad.copy(), float(grad @ self.direction))

    def too_high(self, point: Point) -> bool:
        start = self.start
        return point.loss > start.loss + DECREASE * point.t * start.slope

    def flat(self, point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * self.start.slope

    def bracket(self, t: float, most: int) -> list[Point]:
        """Larger and larger steps: one that is good, or two with a good one between them."""
        before, now = self.start, self.point(t)
        while self.trials < most:
            if self.too_high(now) or (self.trials > 1 and now.loss >= before.loss):
                return [before, now]
            if self.flat(now):
                return [now]
            if now.slope >= 0:
                return [before, now]
            bounds = now.t + 0.01 * (now.t - before.t), now.t * 10
            before, now = now, self.point(cubic(before, now, bounds))
            self.trials += 1
        return [self.start, now]

    def zoom(self, bracket: list[Point], most: int) -> Point:
        """Narrows the bracket; the lower of its points."""
        low, high = sorted(bracket, key=lambda point: point.loss)
        longest = float(np.abs(self.direction).max())
        stuck = False
        while self.trials < most:
            left, right = min(low.t, high.t), max(low.t, high.t)
            if (right - left) * longest < LEAST_CHANGE:
                break
            t = cubic(low, high)
            margin = 0.1 * (right - left)
            near = min(right - t, t - left) < margin
            if near and (stuck or t >= right or t <= left):
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = near
            new = self.point(t)
            self.trials += 1
            if self.too_high(new) or new.loss >= low.loss:
                low, high = (low, new) if low.loss <= new.loss else (new, low)
                continue
            if self.flat(new):
                return new
            if new.slope * (high.t - low.t) >= 0:
                high = low
            low = new
        return low


def cubic(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum of the cubic through two points with their slopes, within bounds."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    left, right = (a, b) if a.t <= b.t else (b, a)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    part = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2)
    return min(max(right.t - (right.t - left.t) * part, low), high)
