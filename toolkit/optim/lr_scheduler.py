"""Learning-rate schedules: each changes `lr` in an optimizer's param_groups once a `step()`.

The formulas are those of `torch.optim.lr_scheduler`, in the recursive form that lets schedules be
chained: a new rate is computed from the current one.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.optim.optimizer import Optimizer

State = dict[str, Any]


class LRScheduler:
    """The base of schedules: define `get_lr()`, the new rate of each param group.

    Args:
        optimizer: whose rates are changed.
        last_epoch: the index of the last step; -1 starts afresh.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise InvalidArgumentError(
                    f"{type(self).__name__}: 'initial_lr' is required in param_groups[{i}] to go "
                    f"on from last_epoch {last_epoch}."
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self._start()

    def _start(self) -> None:
        self._step_count = 0
        self.step()

    def get_lr(self) -> list[float]:
        """The rates at `self.last_epoch`, one for each param group."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates that the latest step set."""
        return self._last_lr

    def step(self) -> None:
        """Goes on to the next epoch (or batch) and sets its rates."""
        self._step_count += 1
        self._go_to(self.last_epoch + 1)

    def _go_to(self, epoch: int) -> None:
        self.last_epoch = epoch
        self._set(self.get_lr())

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> State:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`."""
        self.__dict__.update(state_dict)


def _per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each param group, of a value or a list of them."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise InvalidArgumentError(f"{name}: {groups} values are required, got {len(value)}.")
    return list(value)


class LambdaLR(LRScheduler):
    """`initial_lr * lr_lambda(epoch)`; `lr_lambda` is a function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _per_group("LambdaLR: lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * factor(self.last_epoch) for base, factor in pairs]

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


def _is_function(f: Any) -> bool:
    return isinstance(f, type(lambda: None))


class StepLR(LRScheduler):
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


class MultiStepLR(LRScheduler):
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


class ExponentialLR(LRScheduler):
    """Multiplies by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`."""
        return [lr * self.gamma for lr in self._rates()] if self.last_epoch else self._rates()


class ConstantLR(LRScheduler):
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


class LinearLR(LRScheduler):
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


class CosineAnnealingLR(LRScheduler):
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


class OneCycleLR(LRScheduler):
    """One rise to `max_lr` and a long fall (Smith and Topin, 2018); call `step()` each batch.

    Args:
        optimizer: whose rates (and momenta) are changed.
        max_lr: the peak, or one for each group.
        total_steps: batches in the cycle; or give `epochs` and `steps_per_epoch`.
        epochs: epochs in the cycle.
        steps_per_epoch: batches in an epoch.
        pct_start: the part of the cycle that rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: let momentum (or beta1) run opposite to the rate.
        base_momentum: the lowest momentum.
        max_momentum: the highest momentum.
        div_factor: `max_lr / div_factor` is the first rate.
        final_div_factor: the first rate divided by it is the last rate.
        three_phase: fall to the first rate as fast as the rise, then go on to the last.
        last_epoch: the index of the last batch; -1 starts afresh.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise InvalidArgumentError(
                    "OneCycleLR: total_steps, or epochs and steps_per_epoch, are required."
                )
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise InvalidArgumentError(
                f"OneCycleLR: total_steps > 0 is required, got {total_steps}."
            )
        if not 0 <= pct_start <= 1:
            raise InvalidArgumentError(
                f"OneCycleLR: pct_start in [0, 1] is required, got {pct_start}."
            )
        if anneal_strategy not in ("cos", "linear"):
            raise InvalidArgumentError(
                f"OneCycleLR: anneal_strategy cos or linear is required, got {anneal_strategy!r}."
            )
        self.total_steps = total_steps
        self._schedule_phases = self._phases(pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        if last_epoch == -1:
            for group, peak in zip(
                optimizer.param_groups,
                _per_group("OneCycleLR: max_lr", max_lr, optimizer),
                strict=True,
            ):
                group["initial_lr"] = peak / div_factor
                group["max_lr"] = peak
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            if "momentum" not in optimizer.defaults and not self.use_beta1:
                raise InvalidArgumentError(
                    "OneCycleLR: an optimizer with momentum or betas is required by "
                    f"cycle_momentum, got {type(optimizer).__name__}."
                )
            lows = _per_group("OneCycleLR: base_momentum", base_momentum, optimizer)
            highs = _per_group("OneCycleLR: max_momentum", max_momentum, optimizer)
            if last_epoch == -1:
                for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
                    self._set_momentum(group, high)
                    group["max_momentum"] = high
                    group["base_momentum"] = low
        super().__init__(optimizer, last_epoch)

    def _phases(self, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
        """Each phase's last step, and between which entries of a group it goes."""

        def phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
            return {
                "end_step": end,
                "start_lr": lr[0],
                "end_lr": lr[1],
                "start_momentum": momentum[0],
                "end_momentum": momentum[1],
            }

        low, high = "base_momentum", "max_momentum"
        rise = float(pct_start * self.total_steps) - 1
        phases = [phase(rise, ("initial_lr", "max_lr"), (high, low))]
        if three_phase:
            fall = float(2 * pct_start * self.total_steps) - 2
            phases.append(phase(fall, ("max_lr", "initial_lr"), (low, high)))
            phases.append(phase(self.total_steps - 1, ("initial_lr", "min_lr"), (high, high)))
        else:
            phases.append(phase(self.total_steps - 1, ("max_lr", "min_lr"), (low, high)))
        return phases

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def _anneal(self, start: float, end: float, fraction: float) -> float:
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1)
        return (end - start) * fraction + start

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`; sets the momenta as well."""
        step = self.last_epoch
        if step > self.total_steps:
            raise InvalidArgumentError(
                f"OneCycleLR: at most {self.total_steps} steps are required, got {step}."
            )
        start = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        fraction = (step - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], fraction))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._anneal(*ends, fraction))
        return rates


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
            group["lr"] = group["initial_lr"]

    def step(self) -> None:
        """Steps the scheduler whose turn it is."""
        self.last_epoch += 1
        i = bisect.bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._reset_rates()
            scheduler._go_to(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> State:
        """The state, with those of the schedulers inside."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        state["_schedulers"] = [s.state_dict() for s in self._schedulers]
        return state

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _undo_first_step(scheduler: LRScheduler) -> None:
    """Takes back the step that each schedule made when it was constructed."""
    if isinstance(scheduler, SequentialLR):
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
        self.min_lrs = _per_group("ReduceLROnPlateau: min_lr", min_lr, optimizer)
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
            lr = max(group["lr"] * self.factor, low)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr
