"""Adagrad, Adadelta and RMSprop: rates of their own for each element."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.optim.optimizer import Array, Group, Optimizer, check_range
from toolkit.tensor import Tensor


class Adagrad(Optimizer):
    """Rates shrink with the sum of squares (Duchi et al., 2011), as `torch.optim.Adagrad`.

    sum = sum + g^2; p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(sum) + eps).

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Adagrad"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        check_range("lr_decay value", lr_decay, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        check_range("initial_accumulator_value value", initial_accumulator_value, 0.0)
        check_range("epsilon value", eps, 0.0)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:  # Torch's has its state from the beginning.
            self._begin(group, group["params"])

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The sum of squares."""
        return ("sum",)

    def first_state(self, name: str, param: Tensor, group: Group) -> Array:
        """The value that the sum begins with: torch reads no group's own."""
        first = self.defaults["initial_accumulator_value"]
        return np.full(tuple(param.shape), first, param.dtype.numpy)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "lr_decay": float(group["lr_decay"]),
            "epsilon": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
        }


class Adadelta(Optimizer):
    """Steps as large as those before (Zeiler, 2012), as `torch.optim.Adadelta`.

    v = rho v + (1 - rho) g^2; e = g sqrt(u + eps) / sqrt(v + eps);
    u = rho u + (1 - rho) e^2; p = p - lr e.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Adadelta"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        if not 0.0 <= rho <= 1.0:
            raise InvalidArgumentError(f"Invalid rho value: {rho}")
        check_range("epsilon value", eps, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The averages of squared gradients and of squared steps."""
        return ("square_avg", "acc_delta")

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "rho": float(group["rho"]),
            "epsilon": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
        }


class RMSprop(Optimizer):
    """The gradient over the root of its average square (Hinton, 2012), as `torch.optim.RMSprop`.

    v = alpha v + (1 - alpha) g^2, if `centered` less the square of the average gradient;
    e = g / (sqrt(v) + eps), with momentum buf = momentum buf + e in its place; p = p - lr e.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "RMSprop"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        check_range("epsilon value", eps, 0.0)
        check_range("momentum value", momentum, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        check_range("alpha value", alpha, 0.0)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The average square, a momentum buffer if there is momentum, the average if centered."""
        names = ("square_avg",)
        names += ("momentum_buffer",) if group["momentum"] > 0 else ()  # type: ignore[assignment]
        return (*names, "grad_avg") if group["centered"] else names

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "alpha": float(group["alpha"]),
            "epsilon": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "momentum": float(group["momentum"]),
            "centered": int(group["centered"]),
        }
