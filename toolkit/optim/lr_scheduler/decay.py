"""Schedules that multiply the current rate, or follow a function of the epoch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.optim.lr_scheduler.base import LRScheduler, State, per_group
from toolkit.optim.lr_scheduler.closed import ClosedForm

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder
    from toolkit.optim.optimizer import Optimizer


class ByFunction(LRScheduler):
    """The base of schedules that call `lr_lambda`, a function or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        name = f"{type(self).__name__}: lr_lambda"
        self.lr_lambdas = per_group(name, lr_lambda, optimizer)
        for f in self.lr_lambdas:
            if not callable(f):
                raise TypeError(f"lr_lambda should be a function, but got {type(f).__name__}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> State:
        """As the base's, but functions are left out and callable objects give their attributes."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "lr_lambdas")}
        state["lr_lambdas"] = [
            dict(f.__dict__) if hasattr(f, "__dict__") and not _is_function(f) else None
            for f in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state; functions stay this object's own."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for f, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                f.__dict__.update(attributes)


class LambdaLR(ByFunction):
    """`initial_lr * lr_lambda(epoch)`."""

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * factor(self.last_epoch) for base, factor in pairs]


class MultiplicativeLR(ByFunction):
    """Multiplies by `lr_lambda(epoch)` every epoch."""

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        if self._is_initial:
            return self._rates()
        pairs = zip(self._rates(), self.lr_lambdas, strict=True)
        return [lr * factor(self.last_epoch) for lr, factor in pairs]


def _is_function(f: Any) -> bool:
    return isinstance(f, type(lambda: None))


class StepLR(ClosedForm):
    """Multiplies by `gamma` every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._rates()
        return [lr * self.gamma for lr in self._rates()]

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """initial_lr gamma^floor(t / step_size)."""
        drops = b.Floor(b.Div(t, float(self.step_size)))
        return self._scaled(b, b.Pow(b.const(self.gamma, t.dtype), drops), group)


class MultiStepLR(ClosedForm):
    """Multiplies by `gamma` at each of the `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [lr * factor for lr in self._rates()]

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`, also after a passage through JSON."""
        super().load_state_dict(state_dict)
        self.milestones = Counter({int(k): n for k, n in self.milestones.items()})

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """initial_lr gamma^(milestones up to t)."""
        factor = b.const(1.0, t.dtype)
        passed = 0
        for epoch, count in sorted(self.milestones.items()):
            passed += count
            after = b.const(self.gamma**passed, t.dtype)
            factor = b.Where(b.GreaterOrEqual(t, float(epoch)), after, factor)
        return self._scaled(b, factor, group)


class ExponentialLR(ClosedForm):
    """Multiplies by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        return [lr * self.gamma for lr in self._rates()] if self.last_epoch else self._rates()

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """initial_lr gamma^t."""
        return self._scaled(b, b.Pow(b.const(self.gamma, t.dtype), t), group)


class ConstantLR(ClosedForm):
    """`factor` times the rate for the first `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise InvalidArgumentError(f"ConstantLR: factor in [0, 1] is required, got {factor}.")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self._rates()]
        if self.last_epoch == self.total_iters:
            return [lr * (1.0 / self.factor) for lr in self._rates()]
        return self._rates()

    @property
    def is_closed_form(self) -> bool:
        """Not with a factor of 0, from which no product comes back."""
        return self.factor > 0

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """initial_lr (factor if t < total_iters else 1); `total_iters` of 0 never ends."""
        factor = b.const(self.factor, t.dtype)
        if self.total_iters:
            before = b.Less(t, float(self.total_iters))
            factor = b.Where(before, factor, b.const(1.0, t.dtype))
        return self._scaled(b, factor, group)


class LinearLR(ClosedForm):
    """A factor that goes linearly from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise InvalidArgumentError(
                "LinearLR: start_factor in (0, 1] and end_factor in [0, 1] are required, "
                f"got {start_factor} and {end_factor}."
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._rates()]
        if self.last_epoch > self.total_iters:
            return self._rates()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [lr * (1.0 + rise / before) for lr in self._rates()]

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """initial_lr (start_factor + (end_factor - start_factor) min(t / total_iters, 1))."""
        if self.total_iters <= 0:
            return self._scaled(b, b.const(self.start_factor, t.dtype), group)
        part = b.Min(b.Div(t, float(self.total_iters)), b.const(1.0, t.dtype))
        rise = b.Mul(part, self.end_factor - self.start_factor)
        return self._scaled(b, b.Add(rise, self.start_factor), group)


class CosineAnnealingLR(ClosedForm):
    """`eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2` (Loshchilov, 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        if self.last_epoch == 0:
            return self._rates()
        t, low = self.last_epoch, self.eta_min
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # The factor below would divide by zero.
            step = (1 - math.cos(math.pi / self.T_max)) / 2
            pairs = zip(self._rates(), self.base_lrs, strict=True)
            return [lr + (base - low) * step for lr, base in pairs]
        now, before = (1 + math.cos(math.pi * k / self.T_max) for k in (t, t - 1))
        return [now / before * (lr - low) + low for lr in self._rates()]

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """eta_min + (initial_lr - eta_min) (1 + cos(pi t / T_max)) / 2."""
        wave = b.Add(b.Cos(b.Mul(t, math.pi / self.T_max)), 1.0)
        half = (self.base_lrs[group] - self.eta_min) / 2
        rate: ir.Value = b.Add(b.Mul(wave, half), self.eta_min)
        return rate


class PolynomialLR(ClosedForm):
    """`initial_lr (1 - epoch / total_iters)^power`, 0 from `total_iters` on."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        if self.last_epoch == 0 or self.last_epoch > self.total_iters:
            return self._rates()
        left, before = (self.total_iters - t for t in (self.last_epoch, self.last_epoch - 1))
        return [lr * (left / before) ** self.power for lr in self._rates()]

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """initial_lr (1 - min(t / total_iters, 1))^power."""
        if self.total_iters <= 0:
            return self._scaled(b, b.const(1.0, t.dtype), group)
        part = b.Min(b.Div(t, float(self.total_iters)), b.const(1.0, t.dtype))
        return self._scaled(b, b.Pow(b.Sub(1.0, part), b.const(self.power, t.dtype)), group)
