"""Metrics over a data set: each is fed batches and read once.

Classes stand along axis 1 of an output (N, C, ...) against integer targets (N, ...); float targets
are labels of their own (N, ...), each present where its logit is above 0. Targets of `IGNORED` (as
in nn.CrossEntropyLoss) count nowhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from toolkit.errors import InvalidArgumentError, ShapeError

Array = np.ndarray[Any, Any]
IGNORED = -100


class Metric(Protocol):
    """What a `Trainer` evaluates."""

    name: str
    higher_is_better: bool

    def reset(self) -> None:
        """Forgets what was fed."""

    def update(self, output: Array, target: Array) -> None:
        """Feeds a batch: the model's output and the target."""

    def value(self) -> float:
        """The figure over everything fed; nan when nothing was."""


class Mean:
    """The mean of a per-sample quantity, or a function of that mean."""

    def __init__(
        self,
        name: str,
        fn: Callable[[Array, Array], Array],
        higher: bool,
        finish: Callable[[float], float] = float,
    ) -> None:
        self.name = name
        self.higher_is_better = higher
        self._fn = fn
        self._finish = finish
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
        return self._finish(self._sum / self._count) if self._count else math.nan


def _classes_last(output: Array, target: Array) -> tuple[Array, Array]:
    """Logits (n, C) and labels (n,) of what is not ignored."""
    if output.ndim != target.ndim + 1:
        raise ShapeError(
            "metric: an output with one dimension (classes, axis 1) more than the target is "
            f"required, got {output.shape} and {target.shape}."
        )
    logits = np.moveaxis(output, 1, -1).reshape(-1, output.shape[1])
    labels = target.reshape(-1)
    kept = labels != IGNORED
    return logits[kept], labels[kept]


def _accuracy(output: Array, target: Array) -> Array:
    if target.dtype.kind == "f":
        return np.asarray((output > 0) == (target > 0.5))
    logits, labels = _classes_last(output, target)
    return np.asarray(logits.argmax(axis=1) == labels)


def _token_accuracy(output: Array, target: Array) -> Array:
    """Classes along the last axis of (N, L, C), against integer targets (N, L)."""
    return _accuracy(np.moveaxis(output, -1, 1), target)


def _top(k: int) -> Callable[[Array, Array], Array]:
    """Whether the target is among the k largest; of equal logits the first classes count."""

    def found(output: Array, target: Array) -> Array:
        logits, labels = _classes_last(output, target)
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        earlier = np.arange(logits.shape[1]) < labels[:, None]
        return np.asarray(((logits > own) | ((logits == own) & earlier)).sum(axis=1) < k)

    return found


def _absolute(output: Array, target: Array) -> Array:
    return np.asarray(np.abs(output - target))


def _square(output: Array, target: Array) -> Array:
    return np.asarray(np.square(output.astype(np.float64) - target))


class R2:
    """The coefficient of determination, 1 - residual / total sum of squares; mean over columns."""

    name = "r2"
    higher_is_better = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what was fed."""
        self._outputs: list[Array] = []
        self._targets: list[Array] = []

    def update(self, output: Array, target: Array) -> None:
        """Feeds a batch: the model's output and the target."""
        self._outputs.append(output.reshape(len(output), -1).astype(np.float64))
        self._targets.append(target.reshape(len(target), -1).astype(np.float64))

    def value(self) -> float:
        """The figure; nan when nothing was fed."""
        if not self._targets:
            return math.nan
        y, f = np.concatenate(self._targets), np.concatenate(self._outputs)
        total = np.square(y - y.mean(axis=0)).sum(axis=0)
        rest = np.square(y - f).sum(axis=0)
        # As scikit-learn has it: a constant target is 1 where it is met, else 0.
        safe = np.where(total == 0, 1.0, total)
        return float(np.where(total == 0, np.where(rest == 0, 1.0, 0.0), 1 - rest / safe).mean())


class Confusion:
    """Counts (true class, predicted class), and what follows from them.

    Args:
        name: "precision", "recall" or "f1", and how classes are averaged: "_macro" (each class
            counts the same; when nothing is said), "_micro", "_weighted" (by its samples), or
            "_binary" (of class 1). For float targets each column is a class.
    """

    higher_is_better = True

    def __init__(self, name: str) -> None:
        self.name = name
        kind, _, average = name.partition("_")
        self._kind, self._average = kind, average or "macro"
        self.reset()

    def reset(self) -> None:
        """Forgets what was fed."""
        self._counts = np.zeros((3, 0), np.int64)  # Per class: true positives, predicted, actual.
        self.matrix = np.zeros((0, 0), np.int64)

    def update(self, output: Array, target: Array) -> None:
        """Feeds a batch: the model's output and the target."""
        if target.dtype.kind == "f":
            if self._average == "binary":  # One label a sample, whatever its shape.
                output, target = output.reshape(-1, 1), target.reshape(-1, 1)
            guess = (output > 0).reshape(len(output), -1)
            truth = (target > 0.5).reshape(len(target), -1)
            found = np.stack([(guess & truth).sum(0), guess.sum(0), truth.sum(0)])
            self._counts = _padded(self._counts, found.shape[1]) + found
            return
        logits, labels = _classes_last(output, target)
        classes = logits.shape[1]
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise InvalidArgumentError(
                f"{self.name}: labels in [0, {classes}) are required, got "
                f"{labels.min()} to {labels.max()}."
            )
        pairs = labels.astype(np.int64) * classes + logits.argmax(axis=1)
        matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        self.matrix = matrix if not self.matrix.size else self.matrix + matrix
        found = np.stack([matrix.diagonal(), matrix.sum(0), matrix.sum(1)])
        self._counts = _padded(self._counts, classes) + found

    def value(self) -> float:
        """The figure; a class with nothing to divide by counts 0; nan when nothing was fed."""
        counts = self._counts
        if not counts.any():
            return math.nan
        if self._average == "binary":
            counts = counts[:, -1:] if counts.shape[1] < 2 else counts[:, 1:2]
        elif self._average == "micro":
            counts = counts.sum(axis=1, keepdims=True)
        elif self.matrix.size:  # Classes that occur nowhere say nothing.
            counts = counts[:, (counts[1] + counts[2]) > 0]
        hits, predicted, actual = counts.astype(np.float64)
        precision, recall = _ratio(hits, predicted), _ratio(hits, actual)
        figure = {
            "precision": precision,
            "recall": recall,
            "f1": _ratio(2 * hits, predicted + actual),
        }[self._kind]
        if self._average == "weighted":
            return float(_ratio(np.asarray((figure * actual).sum()), np.asarray(actual.sum())))
        return float(figure.mean())


def _padded(counts: Array, classes: int) -> Array:
    return np.pad(counts, ((0, 0), (0, classes - counts.shape[1])))


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros_like(a, np.float64), where=b != 0)


_MEANS: dict[str, tuple[Callable[[Array, Array], Array], bool]] = {
    "accuracy": (_accuracy, True),
    "token_accuracy": (_token_accuracy, True),
    "mae": (_absolute, False),
    "mse": (_square, False),
}
_CONFUSION = re.compile(r"(precision|recall|f1)(_(macro|micro|weighted|binary))?")
_TOP = re.compile(r"top([1-9]\d*)(_accuracy)?")
NAMES = (
    "accuracy, token_accuracy, top<k>, precision, recall, f1 (each also with _micro, _weighted, "
    "_binary), mae, mse, rmse, r2"
)


def create(name: str) -> Metric:
    """A metric by name.

    Raises:
        InvalidArgumentError: there is none of that name.
    """
    if name in _MEANS:
        return Mean(name, *_MEANS[name])
    if name == "rmse":
        return Mean(name, _square, False, math.sqrt)
    if name == "r2":
        return R2()
    if top := _TOP.fullmatch(name):
        return Mean(name, _top(int(top[1])), True)
    if _CONFUSION.fullmatch(name):
        return Confusion(name)
    raise InvalidArgumentError(f"metric: one of {NAMES} is required, got '{name}'.")


def higher_is_better(name: str) -> bool:
    """Whether more of a figure is better; losses and what is no metric: less."""
    try:
        return create(name).higher_is_better
    except InvalidArgumentError:
        return False


def class_weights(labels: Array, classes: int) -> Array:
    """Weights (classes,) that balance a loss: samples / (classes * samples of the class).

    A class without a sample gets 0.

    Raises:
        InvalidArgumentError: a label outside [0, classes).
    """
    kept = np.asarray(labels).reshape(-1)
    kept = kept[kept != IGNORED]
    if kept.size == 0 or not 0 <= kept.min() <= kept.max() < classes:
        raise InvalidArgumentError(
            f"class_weights: labels in [0, {classes}) are required, got "
            f"{f'{kept.min()} to {kept.max()}' if kept.size else 'none'}."
        )
    counts = np.bincount(kept.astype(np.int64), minlength=classes)
    return (_ratio(np.full(classes, kept.size / classes), counts)).astype(np.float32)
