"""NAdam, RAdam and Adamax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from toolkit.optim.adam import AdamLike
from toolkit.optim.optimizer import Array, Group, check_range
from toolkit.tensor import Tensor


class NAdam(AdamLike):
    """Adam with Nesterov's momentum (Dozat, 2016), as `torch.optim.NAdam`.

    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) takes beta1's place; see the operator's body in
    `toolkit.graph.functions.optim_pointwise`.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "NAdam"
    scalars = ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("momentum_decay value", momentum_decay, 0.0)
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
        )

    def state_names(self, group: Group) -> tuple[str, ...]:
        """Both moments, and the product of the momenta so far."""
        return (*super().state_names(group), "mu_product")

    def first_state(self, name: str, param: Tensor, group: Group) -> Array:
        """Zeros; the empty product."""
        if name == "mu_product":
            return np.ones((), np.float32)
        return super().first_state(name, param, group)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            **super().attributes(group),
            "momentum_decay": float(group["momentum_decay"]),
            "decoupled_weight_decay": int(group["decoupled_weight_decay"]),
        }


class RAdam(AdamLike):
    """Adam whose early steps are rectified (Liu et al., 2020), as `torch.optim.RAdam`.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "RAdam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
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
            decoupled_weight_decay=decoupled_weight_decay,
            differentiable=differentiable,
        )

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        decoupled = int(group["decoupled_weight_decay"])
        return {**super().attributes(group), "decoupled_weight_decay": decoupled}


class Adamax(AdamLike):
    """Adam with the largest gradient so far in place of the second moment, as `torch.optim.Adamax`.

    u = max(beta2 u, |g| + eps); p = p - lr / (1 - beta1^t) m / u (Kingma and Ba, 2015).

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Adamax"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            capturable=capturable,
        )

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The first moment and the largest gradient."""
        return ("exp_avg", "exp_inf")
