"""The base of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder
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
                group.setdefault("initial_lr", float(group["lr"]))
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
        self._is_initial = True
        self.step()
        self._is_initial = False

    @property
    def is_closed_form(self) -> bool:
        """Whether `emit` can write the rates as functions of the epoch."""
        return False

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """Appends the rate of a param group at epoch `t` to a graph; both are float64 scalars.

        What `get_lr` gives in steps, in closed form: from `initial_lr`, with no other schedule.
        """
        raise NotImplementedError

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
            set_rate(group, lr)
        self._last_lr = self._rates()

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> State:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: State) -> None:
        """Takes the state of `state_dict()`."""
        self.__dict__.update(state_dict)


def set_rate(group: dict[str, Any], lr: float) -> None:
    """Sets a group's learning rate; a tensor is written into."""
    if hasattr(group["lr"], "fill_"):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each param group, of a value or a list of them."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise InvalidArgumentError(f"{name}: {groups} values are required, got {len(value)}.")
    return list(value)
