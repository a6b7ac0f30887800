"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.optim.optimizer import Group, Optimizer, check_adam
from toolkit.tensor import Tensor


class AdamLike(Optimizer):
    """What Adam and its relatives share: the check of options, both moments, the attributes."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        **options: Any,
    ) -> None:
        check_adam(lr, betas, eps, weight_decay)
        shared = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, shared | options)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """First and second moments."""
        return ("exp_avg", "exp_avg_sq")

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "beta1": float(group["betas"][0]),
            "beta2": float(group["betas"][1]),
            "epsilon": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
        }


class Adam(AdamLike):
    """Adam (Kingma and Ba, 2015), with `torch.optim.Adam`'s formulas.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    p = p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps). Weight decay is added to
    the gradient; with `amsgrad` the largest v so far takes v's place (Reddi et al., 2018).

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Adam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if decoupled_weight_decay and self.op_type == "Adam":
            raise InvalidArgumentError(
                "Adam: decoupled_weight_decay=False is required, got True. Use AdamW."
            )
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def state_names(self, group: Group) -> tuple[str, ...]:
        """First and second moments, and with `amsgrad` the largest second moment."""
        names = super().state_names(group)
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {**super().attributes(group), "amsgrad": int(group["amsgrad"])}

    def arrange(self, param: Any, grad: Any, state: Mapping[str, Any], lr: Any, step: Any) -> Any:
        """(p, g, m, v, lr, step, vmax?)."""
        inputs = [param, grad, state["exp_avg"], state["exp_avg_sq"], lr, step]
        largest = state.get("max_exp_avg_sq")
        return inputs if largest is None else [*inputs, largest]


class AdamW(Adam):
    """Adam with decoupled weight decay: p = p (1 - lr weight_decay) first (Loshchilov, 2019)."""

    op_type = "AdamW"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
