"""The CTC loss and its gradient, against the sum over all alignments, one by one."""

from __future__ import annotations

import itertools

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample, i64


def lists(sample: Sample, at: int = 0):
    """For each sample of the batch: its log-probabilities and its target."""
    x, targets, steps, lengths = sample.inputs[at:]
    first = np.concatenate([[0], np.cumsum(lengths)])
    for n in range(x.shape[1]):
        row = targets[n] if targets.ndim == 2 else targets[first[n] :]
        yield x[: steps[n], n].astype(np.float64), list(row[: lengths[n]])


def collapsed(path, blank: int) -> list[int]:
    """An alignment without repetitions and blanks."""
    return [c for c, _ in itertools.groupby(path) if c != blank]


def alignments(x: np.ndarray, target: list[int], blank: int):
    """(path, logarithm of its probability) of all alignments of a target."""
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        if collapsed(path, blank) == target:
            yield path, sum(x[t, c] for t, c in enumerate(path))


def ctc_reference(sample: Sample) -> list[np.ndarray]:
    blank = sample.attributes.get("blank", 0)
    losses = [
        -np.logaddexp.reduce([-np.inf, *(p for _, p in alignments(x, y, blank))])
        for x, y in lists(sample)
    ]
    return [np.array(losses, sample.inputs[0].dtype)]


def ctc_grad_reference(sample: Sample) -> list[np.ndarray]:
    blank = sample.attributes.get("blank", 0)
    dx = np.zeros(sample.inputs[1].shape)
    for n, (x, y) in enumerate(lists(sample, 1)):
        found = list(alignments(x, y, blank))
        total = np.logaddexp.reduce([p for _, p in found])
        for path, p in found:
            for t, c in enumerate(path):
                dx[t, n, c] -= sample.inputs[0][n].astype(np.float64) * np.exp(p - total)
    return [dx.astype(sample.inputs[1].dtype)]


def log_probs(d, *shape: int) -> np.ndarray:
    x = d(*shape).astype(np.float64)
    return (x - np.logaddexp.reduce(x, -1, keepdims=True)).astype(d.dtype)


def ctc_samples(d):
    yield S(log_probs(d, 5, 2, 3), i64(1, 2, 1, 1).reshape(2, 2), i64(5, 4), i64(2, 2))
    yield S(log_probs(d, 4, 3, 3), i64(1, 1, 2), i64(4, 2, 1), i64(1, 2, 0))  # One after the other.
    yield S(log_probs(d, 5, 1, 3), i64(0, 1, 7).reshape(1, 3), i64(5), i64(2), blank=2)  # Padding.
    yield S(log_probs(d, 3, 2, 2), np.zeros((2, 0), np.int64), i64(3, 2), i64(0, 0))
    yield S(log_probs(d, 1, 1, 4), i64(3).reshape(1, 1), i64(1), i64(1), blank=1)


def ctc_special(d):
    yield S(
        log_probs(d, 3, 2, 3), i64(1, 1, 2, 1).reshape(2, 2), i64(2, 3), i64(2, 2)
    )  # Too short.
    x = d.scalar([[[-1e4, 0.0, -2e4]], [[0.0, -1e4, -1e4]]])
    yield S(x, i64(1, 2).reshape(1, 2), i64(2), i64(2))
    yield S(log_probs(d, 2, 2, 3), i64(1, 1).reshape(2, 1), i64(0, 0), i64(0, 1))  # No steps.


def ctc_big(d, *more):
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 20, 33)
    labels = rng.integers(1, 40, (33, 20))
    return [S(*more, log_probs(d, 60, 33, 40), labels, rng.integers(40, 61, 33), lengths)]


def ctc_grad_samples(d):
    for s in ctc_samples(d):
        yield S(d(s.inputs[0].shape[1]), *s.inputs, **s.attributes)


ROWS = [
    OpInfo("CTCLoss", ctc_samples, "toolkit.nn", grad=(0,), reference=ctc_reference, tolerance=4,
           special=ctc_special, big=ctc_big),
    OpInfo("CTCLossGrad", ctc_grad_samples, "toolkit.grad", typed_by=1, grad=(0, 1), tolerance=4,
           reference=ctc_grad_reference, big=lambda d: ctc_big(d, d(33))),
]  # fmt: skip
