"""Bodies of the CTC loss and its gradient: the forward and the backward variables as Scans.

A target l1 l2 ... is read as the states blank l1 blank l2 ... blank. Letters: T steps, N batch,
C classes, S the longest target, L = 2 S + 1 states. Graves et al., 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.scan import scan

V = Any  # An ir.Value under `arithmetic`.

_NEVER = -1e30  # The logarithm of 0: an infinity would make NaN of differences.
_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass
class _States:
    """What all steps read.

    Attributes:
        labels: (N, L), the class of each state; blank past the target's end.
        skip: (N, L), whether a state is reached from two states before it too.
        last: (N, 1), the last state.
        some: (N, 1), whether the target has any label.
        input_lengths: (N,).
    """

    labels: V
    skip: V
    last: V
    some: V
    input_lengths: V


def _states(b: Builder, targets: V, input_lengths: V, target_lengths: V, blank: int) -> _States:
    count = b.shape(target_lengths)
    lengths = b.Unsqueeze(target_lengths, [1])
    one_row = len(targets.shape) == 1
    longest = b.ReduceMax(target_lengths, keepdims=0) if one_row else b.Squeeze(b.dim(targets, 1))
    at = b.Unsqueeze(b.Range(b.const(0), longest, b.const(1)), [0])
    if one_row:  # Targets one after the other.
        first = b.Unsqueeze(b.CumSum(target_lengths, b.const(0), exclusive=1), [1])
        end = b.dim(targets, 0) - 1
        targets = b.Gather(targets, b.Max(b.Min(first + at, end), 0), axis=0)
    own = b.Where(b.Less(at, lengths), targets, blank)
    pairs = b.Concat(b.Unsqueeze(own * 0 + blank, [2]), b.Unsqueeze(own, [2]), axis=2)
    shape = b.Concat(count, b.Unsqueeze(longest * 2, [0]), axis=0)
    column = b.Concat(count, b.ints([1]), axis=0)
    labels = b.Concat(
        b.Reshape(pairs, shape, allowzero=1), b.full(column, blank, targets.dtype), axis=1
    )
    before = _shifted(b, labels, 2, -1)
    skip = b.Not(b.Equal(labels, before))
    return _States(labels, skip, lengths * 2, b.Greater(lengths, 0), input_lengths)


def _shifted(b: Builder, x: V, k: int, value: float) -> V:
    """Columns moved right by k, left if it is negative."""
    column = b.full(b.Concat(b.dim(x, 0), b.ints([abs(k)]), axis=0), value, x.dtype)
    if k > 0:
        return b.Slice(b.Concat(column, x, axis=1), [0], [-k], [1])
    return b.Slice(b.Concat(x, column, axis=1), [-k], [2**62], [1])


def _log_add(b: Builder, *terms: V) -> V:
    high = b.Max(*terms)
    total = b.Exp(terms[0] - high)
    for term in terms[1:]:
        total = total + b.Exp(term - high)
    return b.Log(total) + high


def _inside(b: Builder, step: V, s: _States) -> V:
    """(N, 1), whether a step lies inside each input."""
    return b.Unsqueeze(b.Less(step, s.input_lengths), [1])


def _forward(b: Builder, log_probs: V, s: _States) -> tuple[V, V, V]:
    """Logarithm of the forward variables after the last step and after each, and the loss.

    The state before all steps is "at -1, which leads to 0 and 1": 0 of probability 1.
    """
    never = b.cast(b.Expand(b.const(_NEVER, log_probs.dtype), b.shape(s.labels)), log_probs.dtype)
    start = b.Where(_at(b, s, 0), 0.0, never)

    def step(i: Builder, states: Sequence[V], elements: Sequence[V]) -> Any:
        (alpha,), (row, t) = states, elements
        two = i.Where(s.skip, _shifted(i, alpha, 2, _NEVER), _NEVER)
        found = _log_add(i, alpha, _shifted(i, alpha, 1, _NEVER), two)
        found = found + i.GatherElements(row, s.labels, axis=1)
        found = i.Where(_inside(i, t, s), i.Max(found, _NEVER), alpha)
        return [found], [found]

    alpha, each = scan(b, [start], [log_probs, _steps(b, log_probs)], 1, False, step)
    end = b.GatherElements(alpha, s.last, axis=1)
    label = b.GatherElements(alpha, b.Max(s.last - 1, 0), axis=1)
    loss = -_log_add(b, end, b.Where(s.some, label, _NEVER))
    return alpha, each, b.Squeeze(loss, [1])


def _at(b: Builder, s: _States, state: int | V) -> V:
    """(N, L), whether a column is that state."""
    columns = b.Range(b.const(0), b.Squeeze(b.dim(s.labels, 1)), b.const(1))
    return b.And(b.Equal(b.Unsqueeze(columns, [0]), state), b.Equal(s.labels, s.labels))


def _steps(b: Builder, log_probs: V) -> V:
    return b.Range(b.const(0), b.Squeeze(b.dim(log_probs, 0)), b.const(1))


def _wide(b: Builder, x: V) -> V:
    return b.cast(x, ir.DataType.FLOAT) if x.dtype in _HALF else x


@composite("toolkit.nn", "CTCLoss", "log_probs targets input_lengths target_lengths", "loss")
def ctc_loss(
    b: Builder, a: Attributes, log_probs: V, targets: V, input_lengths: V, target_lengths: V
) -> V:
    """-log of the sum over all alignments: alpha_t(s) is p_t(s) times the sum of alpha_{t-1} at s,

    s - 1 and, between two different labels, s - 2. The loss is -log(alpha(L - 1) + alpha(L - 2)).
    """
    s = _states(b, targets, input_lengths, target_lengths, a.get("blank", 0))
    _, _, loss = _forward(b, _wide(b, log_probs), s)
    loss = b.Where(b.Greater(loss, -0.5 * _NEVER), float("inf"), loss)
    return b.cast(loss, log_probs.dtype)


@composite(
    "toolkit.grad",
    "CTCLossGrad",
    "dloss log_probs targets input_lengths target_lengths",
    "dlog_probs",
)
def ctc_loss_grad(
    b: Builder, a: Attributes, dloss: V, log_probs: V, targets: V, input_lengths: V,
    target_lengths: V,
) -> V:  # fmt: skip
    """-dloss P(step t is in a state of class c), by alpha and beta from the last step.

    beta_t(s) is the sum of p_{t+1} beta_{t+1} at s, s + 1 and, between two different labels, s + 2.
    """
    s = _states(b, targets, input_lengths, target_lengths, a.get("blank", 0))
    x, factor = _wide(b, log_probs), b.Unsqueeze(_wide(b, dloss), [1])
    _, alphas, loss = _forward(b, x, s)
    lost = b.Unsqueeze(loss, [1])
    lost = b.Where(b.Greater(lost, -0.5 * _NEVER), float("nan"), lost)  # No alignment: no gradient.
    ends = b.Or(_at(b, s, s.last), b.And(_at(b, s, s.last - 1), s.some))
    start = b.Where(ends, 0.0, b.cast(b.const(_NEVER, x.dtype), x.dtype))
    ahead = b.Greater(_shifted(b, b.cast(s.skip, x.dtype), -2, 0.0), 0.5)

    def step(i: Builder, states: Sequence[V], elements: Sequence[V]) -> Any:
        (beta,), (row, alpha, t) = states, elements
        inside = _inside(i, t, s)
        share = i.Exp(alpha + beta + lost)
        share = i.Where(i.And(inside, i.Not(i.Equal(factor, 0.0))), -factor * share, 0.0)
        made = i.ScatterElements(row * 0.0, s.labels, share, axis=1, reduction="add")
        now = beta + i.GatherElements(row, s.labels, axis=1)
        two = i.Where(ahead, _shifted(i, now, -2, _NEVER), _NEVER)
        before = i.Max(_log_add(i, now, _shifted(i, now, -1, _NEVER), two), _NEVER)
        return [i.Where(inside, before, beta)], [made]

    _, dx = scan(b, [start], [x, alphas, _steps(b, x)], 1, True, step)
    dx.shape = log_probs.shape
    return b.cast(dx, log_probs.dtype)
