"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.optim.optimizer import Group, Optimizer, check_range
from toolkit.tensor import Tensor, from_numpy


class SGD(Optimizer):
    """Gradient descent with momentum, dampening, Nesterov's momentum and weight decay.

    g = g + weight_decay p; buf = momentum buf + (1 - dampening) g (buf = g at first);
    p = p - lr (g + momentum buf) with `nesterov`, else p - lr buf (`torch.optim.SGD`).

    Raises:
        InvalidArgumentError: an option out of range, or Nesterov without plain momentum.
    """

    op_type = "SGD"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        check_range("momentum value", momentum, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise InvalidArgumentError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """A momentum buffer, if there is momentum."""
        return ("momentum_buffer",) if group["momentum"] else ()

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "momentum": float(group["momentum"]),
            "dampening": float(group["dampening"]),
            "weight_decay": float(group["weight_decay"]),
            "nesterov": int(group["nesterov"]),
        }

    def arrange(self, param: Any, grad: Any, state: Mapping[str, Any], lr: Any, step: Any) -> Any:
        """(p, g, buf?, lr, step)."""
        return [param, grad, state.get("momentum_buffer"), lr, step]

    def _exported(self, state: dict[str, Any]) -> dict[str, Any]:
        """Torch does not count SGD's steps; only the first one differs from the others."""
        return {key: value for key, value in state.items() if key != "step"}

    def _imported(self, state: dict[str, Any]) -> dict[str, Any]:
        if state.get("momentum_buffer") is None:
            return {}
        return {"step": from_numpy(np.ones((), np.float32)), **state}
