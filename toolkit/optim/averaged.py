"""Rprop and ASGD."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.optim.optimizer import Array, Group, Optimizer, check_range
from toolkit.tensor import Tensor


class Rprop(Optimizer):
    """Steps by the gradient's sign alone (Riedmiller and Braun, 1993), as `torch.optim.Rprop`.

    Each element's step grows by `etas[1]` while the sign stays and shrinks by `etas[0]` when it
    turns, within `step_sizes`; `lr` is the first step. For whole batches.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Rprop"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise InvalidArgumentError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The gradient before, and the steps."""
        return ("prev", "step_size")

    def first_state(self, name: str, param: Tensor, group: Group) -> Array:
        """Zeros; steps of the learning rate."""
        first = float(group["lr"]) if name == "step_size" else 0.0
        return np.full(tuple(param.shape), first, param.dtype.numpy)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "eta_minus": float(group["etas"][0]),
            "eta_plus": float(group["etas"][1]),
            "step_size_min": float(group["step_sizes"][0]),
            "step_size_max": float(group["step_sizes"][1]),
        }


class ASGD(Optimizer):
    """Averaged gradient descent (Polyak and Juditsky, 1992), as `torch.optim.ASGD`.

    p = p (1 - lambd eta) - eta g, with eta = lr / (1 + lambd lr t)^alpha; the state `ax` is the
    average of p from step `t0` on.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "ASGD"
    scalars = ("eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_range("learning rate", lr, 0.0)
        check_range("weight_decay value", weight_decay, 0.0)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The averaged parameter, the next step's size and the next share of the average."""
        return ("ax", "eta", "mu")

    def first_state(self, name: str, param: Tensor, group: Group) -> Array:
        """Zeros; the learning rate, and 1."""
        if name in self.scalars:
            return np.array(float(group["lr"]) if name == "eta" else 1.0, np.float32)
        return super().first_state(name, param, group)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {name: float(group[name]) for name in ("lambd", "alpha", "t0", "weight_decay")}
