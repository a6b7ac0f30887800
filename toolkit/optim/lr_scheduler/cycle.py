"""`OneCycleLR`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.optim.lr_scheduler.base import LRScheduler, per_group
from toolkit.optim.lr_scheduler.momentum import begin_momenta, set_momentum

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder
    from toolkit.optim.optimizer import Optimizer


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
                per_group("OneCycleLR: max_lr", max_lr, optimizer),
                strict=True,
            ):
                group["initial_lr"] = peak / div_factor
                group["max_lr"] = peak
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            begin_momenta(self, optimizer, base_momentum, max_momentum, last_epoch)
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
                set_momentum(group, self._anneal(*ends, fraction), self.use_beta1)
        return rates

    @property
    def is_closed_form(self) -> bool:
        """Not where it changes momenta too."""
        return not self.cycle_momentum

    def emit(self, b: Builder, t: ir.Value, group: int) -> ir.Value:
        """Each phase runs from its first rate to its last one, by a cosine or a line."""
        ends = self.optimizer.param_groups[group]
        first = 0.0
        rate: ir.Value | None = None
        for phase in self._schedule_phases:
            start, end, last = ends[phase["start_lr"]], ends[phase["end_lr"]], phase["end_step"]
            part = b.Div(b.Sub(t, first), last - first)
            if self._anneal_func_type == "cos":
                wave = b.Add(b.Cos(b.Mul(part, math.pi)), 1.0)
                value = b.Add(b.Mul(wave, (start - end) / 2.0), end)
            else:
                value = b.Add(b.Mul(part, end - start), start)
            rate = value if rate is None else b.Where(b.Greater(t, first), value, rate)
            first = last
        assert rate is not None
        return rate
