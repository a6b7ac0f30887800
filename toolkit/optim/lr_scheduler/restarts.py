"""A cosine that begins again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from toolkit.errors import InvalidArgumentError
from toolkit.optim.lr_scheduler.closed import ClosedForm

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder
    from toolkit.optim.optimizer import Optimizer

_NEAR = 1e-9  # A logarithm that should be whole may be a little less.


class CosineAnnealingWarmRestarts(ClosedForm):
    """`eta_min + (initial_lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2` (Loshchilov, 2017).

    T_cur counts from the last restart; T_i, the epochs to the next one, is `T_0` at first and
    `T_mult` times as long each time.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise InvalidArgumentError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise InvalidArgumentError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise InvalidArgumentError(
                f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}"
            )
        self.T_0 = self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `T_cur`."""
        wave = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * wave for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Goes on to the next epoch, or to `epoch`, which may be a fraction."""
        self._step_count += 1
        if epoch is not None:
            if epoch < 0:
                raise InvalidArgumentError(f"Expected non-negative epoch, but got {epoch}")
            self._go_to(epoch)
        elif self.last_epoch < 0:
            self._go_to(0)
        else:
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
            self._set(self.get_lr())

    def _go_to(self, epoch: float) -> None:
        self.T_i, self.T_cur = self.T_0, epoch
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        elif epoch >= self.T_0:
            n = self._restarts(epoch)
            self.T_i = self.T_0 * self.T_mult**n
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _restarts(self, epoch: float) -> int:
        grown = epoch / self.T_0 * (self.T_mult - 1) + 1
        return int(math.log(grown) / math.log(self.T_mult) + _NEAR)

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """The number of restarts is floor(log(1 + (T_mult - 1) t / T_0) / log T_mult)."""
        first, grow = float(self.T_0), float(self.T_mult)
        if self.T_mult == 1:
            part = b.Div(t, first)
            part = b.Sub(part, b.Floor(b.Add(part, _NEAR)))
        else:
            grown = b.Log(b.Add(b.Mul(t, (grow - 1.0) / first), 1.0))
            n = b.Floor(b.Add(b.Mul(grown, 1.0 / math.log(grow)), _NEAR))
            scale = b.Pow(b.const(grow, t.dtype), n)
            start = b.Mul(b.Sub(scale, 1.0), first / (grow - 1.0))
            part = b.Div(b.Sub(t, start), b.Mul(scale, first))
        wave = b.Add(b.Cos(b.Mul(part, math.pi)), 1.0)
        half = (self.base_lrs[group] - self.eta_min) / 2
        rate: ir.Value = b.Add(b.Mul(wave, half), self.eta_min)
        return rate
