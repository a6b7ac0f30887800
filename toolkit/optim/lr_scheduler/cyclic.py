"""Rates that go up and down."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.optim.lr_scheduler.base import LRScheduler, State, per_group, set_rate
from toolkit.optim.lr_scheduler.momentum import begin_momenta, set_momentum

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder
    from toolkit.optim.optimizer import Optimizer

_MODES = ("triangular", "triangular2", "exp_range")


class CyclicLR(LRScheduler):
    """From `base_lr` up to `max_lr` and down again (Smith, 2017).

    Args:
        optimizer: whose rates are changed.
        base_lr: the lowest rate, or one for each group.
        max_lr: the highest one.
        step_size_up: steps up.
        step_size_down: steps down; as many as up if None.
        mode: "triangular"; "triangular2" halves the height each cycle; "exp_range" multiplies it by
            `gamma` each step.
        gamma: of "exp_range".
        scale_fn: the height's factor as a function of one's own, in `mode`'s place.
        scale_mode: what `scale_fn` takes, the "cycle" or the "iterations".
        cycle_momentum: momentum (or beta1) goes the other way.
        base_momentum: the lowest one, or one for each group.
        max_momentum: the highest one.
        last_epoch: the index of the last step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if mode not in _MODES and scale_fn is None:
            raise InvalidArgumentError("mode is invalid and scale_fn is None")
        base_lrs = per_group("CyclicLR: base_lr", base_lr, optimizer)
        self.max_lrs = per_group("CyclicLR: max_lr", max_lr, optimizer)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up) + float(down)
        self.step_ratio = float(step_size_up) / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom, self._custom_scale = scale_fn, scale_fn is not None
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_rate(group, lr)
        if cycle_momentum:
            self.base_momentums, self.max_momentums = begin_momenta(
                self, optimizer, base_momentum, max_momentum, last_epoch
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height's factor in a cycle, or at a step."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return float(self.gamma**x)
        return 1 / (2.0 ** (x - 1)) if self.mode == "triangular2" else 1.0

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`; sets the momenta as well."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        up = x <= self.step_ratio
        height = x / self.step_ratio if up else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ends = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, ends, strict=True):
                set_momentum(group, high - (high - low) * height, self.use_beta1)
        pairs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * height for low, high in pairs]

    @property
    def is_closed_form(self) -> bool:
        """Not where it changes momenta too, or calls a function."""
        return not self.cycle_momentum and self._scale_fn_custom is None

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """base_lr + (max_lr - base_lr) times the height at t."""
        turns = b.Div(t, self.total_size)
        cycle = b.Floor(turns)  # From 0.
        x, ratio = b.Sub(turns, cycle), self.step_ratio
        up, down = b.Div(x, ratio), b.Div(b.Sub(x, 1.0), ratio - 1.0)
        height = b.Where(b.LessOrEqual(x, ratio), up, down) if ratio < 1 else up
        if self.mode == "triangular2":
            height = b.Mul(height, b.Pow(b.const(0.5, t.dtype), cycle))
        elif self.mode == "exp_range":
            height = b.Mul(height, b.Pow(b.const(self.gamma, t.dtype), t))
        low, high = self.base_lrs[group], self.max_lrs[group]
        rate: ir.Value = b.Add(b.Mul(height, high - low), low)
        return rate

    def state_dict(self) -> State:
        """As the base's; of a callable object its attributes, of a function nothing."""
        state = super().state_dict()
        custom = state.pop("_scale_fn_custom")
        plain = custom is None or isinstance(custom, type(lambda: None))
        state["_scale_fn_custom"] = None if plain else dict(custom.__dict__)
        return state

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`; a function of one's own stays."""
        custom: Any = self.__dict__.get("_scale_fn_custom")
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None and custom is not None:
            custom.__dict__.update(state_dict["_scale_fn_custom"])
        self._scale_fn_custom = custom
