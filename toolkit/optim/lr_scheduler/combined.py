"""Schedules over schedules, and one that follows a metric."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.optim.lr_scheduler.base import LRScheduler, State, per_group, set_rate
from toolkit.optim.lr_scheduler.decay import MultiplicativeLR

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder
    from toolkit.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """One schedule after the other: `schedulers[i + 1]` takes over at `milestones[i]`."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise InvalidArgumentError(
                "SequentialLR: one milestone fewer than schedulers is required, "
                f"got {len(schedulers)} schedulers and {len(milestones)} milestones."
            )
        if any(s.optimizer is not optimizer for s in schedulers):
            raise InvalidArgumentError(
                "SequentialLR: schedulers of its own optimizer are required."
            )
        self.optimizer = optimizer
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        _undo_first_step(self)
        self._reset_rates()
        first = schedulers[bisect.bisect_right(milestones, 0)]
        first._start()
        self._last_lr = first.get_last_lr()

    def _reset_rates(self) -> None:
        for group in self.optimizer.param_groups:
            set_rate(group, group["initial_lr"])

    def step(self) -> None:
        """Steps the scheduler whose turn it is."""
        self.last_epoch += 1
        i = bisect.bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            if not isinstance(scheduler, MultiplicativeLR):  # It goes on from the rate there is.
                self._reset_rates()
            scheduler._go_to(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    @property
    def is_closed_form(self) -> bool:
        """Whether all schedules inside are; one of this kind there begins an epoch later."""
        parts = self._schedulers
        return all(s.is_closed_form and not isinstance(s, SequentialLR) for s in parts)

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """The rate of the schedule whose turn it is, at the epoch counted from its milestone."""
        rate = self._schedulers[0].emit(b, t, group)
        for milestone, scheduler in zip(self._milestones, self._schedulers[1:], strict=True):
            # Before its turn its rate is not taken, and t must not be negative.
            own = b.Max(b.Sub(t, float(milestone)), b.const(0.0, t.dtype))
            turn = b.GreaterOrEqual(t, float(milestone))
            rate = b.Where(turn, scheduler.emit(b, own, group), rate)
        return rate

    def state_dict(self) -> State:
        """The state, with those of the schedulers inside."""
        return _nested_state(self)

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`."""
        _load_nested(self, state_dict)


class ChainedScheduler(LRScheduler):
    """All of the schedules at each step, one after the other."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if not schedulers:
            raise InvalidArgumentError(
                "ChainedScheduler expects at least one scheduler to be chained, but got no "
                "scheduler."
            )
        optimizer = optimizer or schedulers[0].optimizer
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise InvalidArgumentError(
                    "ChainedScheduler does not support `ReduceLROnPlateau`, whose step takes a "
                    f"metric, but got one at index {i} in the given schedulers sequence."
                )
            if scheduler.optimizer is not optimizer:
                raise InvalidArgumentError(
                    "ChainedScheduler expects all schedulers to belong to the same optimizer, but "
                    f"got scheduler {type(scheduler).__name__} at index {i} of another one."
                )
        self.optimizer = optimizer
        self._schedulers = list(schedulers)
        self._last_lr = self._rates()

    def _start(self) -> None:
        for scheduler in self._schedulers:
            scheduler._start()
        self._last_lr = self._rates()

    def step(self) -> None:
        """Steps every scheduler."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._rates()

    def _go_to(self, epoch: int) -> None:
        for scheduler in self._schedulers:
            scheduler._go_to(epoch)

    def state_dict(self) -> State:
        """The state, with those of the schedulers inside."""
        return _nested_state(self)

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`."""
        _load_nested(self, state_dict)


def _nested_state(scheduler: SequentialLR | ChainedScheduler) -> State:
    kept = ("optimizer", "_schedulers")
    state = {k: v for k, v in scheduler.__dict__.items() if k not in kept}
    state["_schedulers"] = [s.state_dict() for s in scheduler._schedulers]
    return state


def _load_nested(scheduler: SequentialLR | ChainedScheduler, state_dict: State) -> None:
    scheduler.__dict__.update({k: v for k, v in state_dict.items() if k != "_schedulers"})
    for inner, state in zip(scheduler._schedulers, state_dict["_schedulers"], strict=True):
        inner.load_state_dict(state)


def _undo_first_step(scheduler: LRScheduler) -> None:
    """Takes back the step that each schedule made when it was constructed."""
    if isinstance(scheduler, (SequentialLR, ChainedScheduler)):
        for inner in scheduler._schedulers:
            _undo_first_step(inner)
    else:
        scheduler.last_epoch -= 1


class ReduceLROnPlateau(LRScheduler):
    """Multiplies by `factor` when a metric has not improved for more than `patience` epochs.

    Args:
        optimizer: whose rates are changed.
        mode: "min" if a lower metric is better, "max" if a higher one is.
        factor: less than 1.
        patience: bad epochs that are borne.
        threshold: the least change that counts as better.
        threshold_mode: "rel" (a part of the best) or "abs".
        cooldown: epochs after a reduction in which bad ones are not counted.
        min_lr: the lowest rate, or one for each group.
        eps: a smaller change of the rate is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1:
            raise InvalidArgumentError(f"ReduceLROnPlateau: factor < 1 is required, got {factor}.")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise InvalidArgumentError(
                "ReduceLROnPlateau: mode min or max and threshold_mode rel or abs are required, "
                f"got {mode!r} and {threshold_mode!r}."
            )
        self.optimizer = optimizer
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = per_group("ReduceLROnPlateau: min_lr", min_lr, optimizer)
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.cooldown_counter = cooldown, 0
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self._rates()

    def is_better(self, a: float, best: float) -> bool:
        """Whether `a` improves on `best` by more than the threshold."""
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * a > sign * best * (1 + sign * self.threshold)
        return sign * a > sign * best + self.threshold

    def step(self, metrics: Any = None) -> None:
        """Takes the epoch's metric (a number or a tensor of one) and reduces the rates if due."""
        if metrics is None:
            raise InvalidArgumentError(
                "ReduceLROnPlateau: step(metric) is required, got no metric."
            )
        current = float(metrics)
        self.last_epoch += 1
        if self.is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._rates()

    def _reduce(self) -> None:
        for group, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            before = float(group["lr"])
            lr = max(before * self.factor, low)
            if before - lr > self.eps:
                set_rate(group, lr)
