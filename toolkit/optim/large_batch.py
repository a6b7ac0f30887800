"""Lion and LAMB, which torch has not: the published algorithms with torch's conventions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolkit.optim.adam import AdamLike
from toolkit.optim.optimizer import Group, Optimizer, check_adam
from toolkit.tensor import Tensor


class Lion(Optimizer):
    """The sign of an average of gradients (Chen et al., 2023: EvoLved Sign Momentum).

    p = p (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Lion"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_adam(lr, betas, 0.0, weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The average of gradients."""
        return ("exp_avg",)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "beta1": float(group["betas"][0]),
            "beta2": float(group["betas"][1]),
            "weight_decay": float(group["weight_decay"]),
        }


class LAMB(AdamLike):
    """Adam's step, as long as the parameter itself, for large batches (You et al., 2020).

    u = m' / (sqrt(v') + eps) + weight_decay p with the corrected moments m', v';
    p = p - lr |p| / |u| u, where the ratio is 1 if a norm is 0.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "LAMB"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
        )
