"""Metrics over a data set: each is fed batches and read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError

Array = np.ndarray[Any, Any]


class Mean:
    """The mean of a per-sample quantity over everything fed."""

    def __init__(self, name: str, fn: Callable[[Array, Array], Array], higher: bool) -> None:
        self.name = name
        self.higher_is_better = higher
        self._fn = fn
        self.reset()

    def reset(self) -> None:
        """Forgets what was fed."""
        self._sum, self._count = 0.0, 0

    def update(self, output: Array, target: Array) -> None:
        """Feeds a batch: the model's output and the target."""
        values = self._fn(output, target)
        self._sum += float(values.sum(dtype=np.float64))
        self._count += values.size

    def value(self) -> float:
        """The mean; nan when nothing was fed."""
        return self._sum / self._count if self._count else float("nan")


def _accuracy(output: Array, target: Array) -> Array:
    """Classes along axis 1 of (N, C, ...), against integer targets (N, ...)."""
    if target.dtype.kind == "f":
        return np.asarray((output > 0) == (target > 0.5))
    return np.asarray(output.argmax(axis=1) == target)


def _token_accuracy(output: Array, target: Array) -> Array:
    """Classes along the last axis of (N, L, C), against integer targets (N, L)."""
    return np.asarray(output.argmax(axis=-1) == target)


def _error(output: Array, target: Array) -> Array:
    return np.asarray(np.abs(output - target))


_METRICS: dict[str, tuple[Callable[[Array, Array], Array], bool]] = {
    "accuracy": (_accuracy, True),
    "token_accuracy": (_token_accuracy, True),
    "mae": (_error, False),
}


def create(name: str) -> Mean:
    """A metric by name.

    Raises:
        InvalidArgumentError: there is none of that name.
    """
    if name not in _METRICS:
        raise InvalidArgumentError(f"metric: one of {sorted(_METRICS)} is required, got '{name}'.")
    fn, higher = _METRICS[name]
    return Mean(name, fn, higher)
