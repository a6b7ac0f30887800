"""Momenta that go against the rate, in schedules with `cycle_momentum`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.optim.lr_scheduler.base import LRScheduler, per_group

if TYPE_CHECKING:
    from toolkit.optim.optimizer import Optimizer


def set_momentum(group: dict[str, Any], momentum: float, beta1: bool) -> None:
    """Sets a group's momentum, which is the first of Adam's betas."""
    if beta1:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def begin_momenta(
    scheduler: LRScheduler,
    optimizer: Optimizer,
    base: float | list[float],
    highest: float | list[float],
    last_epoch: int,
) -> tuple[list[float], list[float]]:
    """The lowest and the highest momenta of the groups, which begin with the highest.

    Raises:
        InvalidArgumentError: the optimizer has neither momentum nor betas.
    """
    name, beta1 = type(scheduler).__name__, "betas" in optimizer.defaults
    if "momentum" not in optimizer.defaults and not beta1:
        raise InvalidArgumentError(
            f"{name}: an optimizer with momentum or betas is required by cycle_momentum, got "
            f"{type(optimizer).__name__}."
        )
    lows = per_group(f"{name}: base_momentum", base, optimizer)
    highs = per_group(f"{name}: max_momentum", highest, optimizer)
    if last_epoch == -1:
        for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
            set_momentum(group, high, beta1)
            group["max_momentum"] = high
            group["base_momentum"] = low
    return lows, highs
