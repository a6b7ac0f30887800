"""What a training step does between the gradients and the optimizer, as nodes of its graph.

In this order, as in torch: gradients of the scaled loss are added up over micro-batches, divided by
the scale, clipped by value, clipped by norm; then every new value is chosen or not, and the average
of the weights takes the new ones up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.train.options import AVERAGE, AVERAGED, UpdateOptions

V = Any  # An ir.Value.
NewState = Callable[[str, Any], ir.Value]

OPTIM = "toolkit.optim"
COUNT = "accumulation.count"
SCALE, TRACKER = "grad_scaler.scale", "grad_scaler.growth_tracker"
_INT32, _FLOAT = ir.DataType.INT32, ir.DataType.FLOAT


class Updates:
    """Writes the nodes; `new_state` makes an initializer that lives on between steps."""

    def __init__(self, b: Builder, options: UpdateOptions, new_state: NewState) -> None:
        options.check()
        self.b = b
        self.options = options
        self.new_state = new_state
        self.found: dict[ir.Value, ir.Value] = {}  # State -> its next value.
        self._last: V = None  # Whether this micro-batch is the last of its group.
        self._infinite: V = None  # Whether a gradient is infinite or NaN.
        self._done: V = None  # Whether the optimizer's step counts: the last, and all finite.
        self._scale: V = None
        if options.grad_scaler is not None:
            self._scale = new_state(SCALE, np.float32(options.grad_scaler.init_scale))
        self._averaged: V = None if options.ema_decay is None else new_state(AVERAGED, np.int64(0))

    def seed(self, loss: ir.Value) -> ir.Value:
        """The cotangent of the loss: the scale over the number of micro-batches."""
        assert loss.dtype is not None
        share = 1.0 / self.options.accumulate
        if self._scale is None:
            return self.b.const(np.asarray(share, loss.dtype.numpy()))
        scaled = self.b.Mul(self._scale, share) if share != 1.0 else self._scale
        return self.b.cast(scaled, loss.dtype)

    def prepared(self, grads: Sequence[V], names: Sequence[str]) -> list[V]:
        """What the optimizer takes, of the gradients of one micro-batch."""
        o, b = self.options, self.b
        grads = self._accumulated(grads, names) if o.accumulate > 1 else list(grads)
        self._done = self._last
        if o.grad_scaler is not None:
            grads = self._unscaled(grads)
            finite = b.Not(self._infinite)
            self._done = finite if self._last is None else b.And(self._last, finite)
        if o.clip_grad_value is not None:
            value = {"clip_value": float(o.clip_grad_value)}
            grads = [b.call(OPTIM, "ClipGradValue", [g], value) for g in grads]
        if o.clip_grad_norm is not None:
            grads = self._clipped(grads, float(o.clip_grad_norm), float(o.clip_norm_type))
        return grads

    def _accumulated(self, grads: Sequence[V], names: Sequence[str]) -> list[V]:
        b = self.b
        count = self.new_state(COUNT, np.int64(0))
        self._last = b.Equal(count, self.options.accumulate - 1)
        self.found[count] = b.Where(self._last, 0, b.Add(count, 1))
        totals = []
        for g, name in zip(grads, names, strict=True):
            array = np.zeros([int(d) for d in g.shape], g.dtype.numpy())
            buffer = self.new_state(f"accumulation.{name}", array)
            total = b.Add(buffer, g)
            self.found[buffer] = b.Where(self._last, b.const(0, g.dtype), total)
            totals.append(total)
        return totals

    def _unscaled(self, grads: Sequence[V]) -> list[V]:
        """Over the scale, in float32 at least; notes whether all of them are finite."""
        b = self.b
        inverse = b.Reciprocal(self._scale)
        unscaled, wrong = [], []
        for g in grads:
            wide = g.dtype if g.dtype == ir.DataType.DOUBLE else _FLOAT
            wrong.append(b.call(OPTIM, "NonFinite", [g]))
            unscaled.append(b.cast(b.Mul(b.cast(g, wide), b.cast(inverse, wide)), g.dtype))
        self._infinite = b.Greater(_sum(b, wrong), 0.0)
        return unscaled

    def _clipped(self, grads: Sequence[V], largest: float, order: float) -> list[V]:
        """torch.nn.utils.clip_grad_norm_: g min(1, largest / (norm + 1e-6))."""
        b = self.b
        how = {"norm_type": order}
        parts = [b.call(OPTIM, "GradNormPower", [g], how) for g in grads]
        wide = max((p.dtype for p in parts), key=lambda d: d == ir.DataType.DOUBLE)
        parts = [b.cast(p, wide) for p in parts]
        if math.isinf(order):
            norm = parts[0] if len(parts) == 1 else b.Max(*parts)
        elif order == 2.0:
            norm = b.Sqrt(_sum(b, parts))
        else:
            norm = b.Pow(_sum(b, parts), b.const(1.0 / order, wide))
        return [b.call(OPTIM, "ClipGradNorm", [g, norm], {"max_norm": largest}) for g in grads]

    def chosen(self, new: V, old: V) -> V:
        """The new value where the step is done, else the old one."""
        if self._done is None:
            return new
        return self.b.Where(self._done, new, old)

    def average(self, name: str, weight: np.ndarray[Any, Any], new: V) -> None:
        """A parameter's moving average, as torch.optim.swa_utils' get_ema_avg_fn has it.

        After the first step the weights themselves, then a + (1 - decay) (w - a).
        """
        if self.options.ema_decay is None:
            return
        b = self.b
        old = self.new_state(f"{AVERAGE}{name}", weight)
        moved = b.Add(old, b.Mul(b.Sub(new, old), 1.0 - self.options.ema_decay))
        first = b.Equal(self._averaged, 0)
        self.found[old] = self.chosen(b.Where(first, new, moved), old)

    def finish(self) -> dict[ir.Value, ir.Value]:
        """The next values of the states that were made here."""
        scaler, b = self.options.grad_scaler, self.b
        if self._averaged is not None:
            self.found[self._averaged] = self.chosen(b.Add(self._averaged, 1), self._averaged)
        if scaler is None:
            return self.found
        tracker = self.new_state(TRACKER, np.int32(0))
        one_more = b.Add(tracker, 1)
        grown = b.Mul(self._scale, scaler.growth_factor)
        full = b.Equal(one_more, scaler.growth_interval)
        # A scale that would overflow stays.
        grows = b.And(full, b.LessOrEqual(grown, float(np.finfo(np.float32).max)))
        scale = b.Where(grows, grown, self._scale)
        less = b.Mul(self._scale, scaler.backoff_factor)
        scale = b.Where(self._infinite, less, scale)
        count = b.Where(b.Or(full, self._infinite), b.const(0, _INT32), one_more)
        if self._last is not None:
            scale = b.Where(self._last, scale, self._scale)
            count = b.Where(self._last, count, tracker)
        self.found[self._scale], self.found[tracker] = scale, count
        return self.found


def _sum(b: Builder, parts: Sequence[V]) -> V:
    return parts[0] if len(parts) == 1 else b.Sum(*parts)


def averages(states: Iterable[V]) -> dict[V, V]:
    """The average of each parameter that has one."""
    by_name = {value.name or "": value for value in states}
    if AVERAGED not in by_name:  # Another program's state may have such a name.
        return {}
    found = {name.removeprefix(AVERAGE): value for name, value in by_name.items()
             if name.startswith(AVERAGE) and name != AVERAGED}  # fmt: skip
    return {by_name[name]: value for name, value in found.items() if name in by_name}
