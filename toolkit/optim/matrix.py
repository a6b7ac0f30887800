"""Adafactor and Muon, whose steps see a parameter as a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.optim.optimizer import Array, Group, Optimizer
from toolkit.tensor import Tensor


class Adafactor(Optimizer):
    """The second moment as a product of a row and a column, as `torch.optim.Adafactor`.

    Of the last two dimensions; a vector keeps its second moment. Steps are as large as the
    parameter's root mean square asks for, and at most `d` times the rate (Shazeer and Stern, 2018).

    Raises:
        InvalidArgumentError: an option out of range.
    """

    op_type = "Adafactor"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        for name, fits, value in (
            ("Learning rate should be >= 0", lr >= 0.0, lr),
            ("beta2_decay should be <= 0", beta2_decay <= 0.0, beta2_decay),
            ("epsilon1 should be >= 0", eps[0] is None or eps[0] >= 0.0, eps[0]),
            ("epsilon2 should be >= 0", eps[1] >= 0.0, eps[1]),
            ("Clipping threshold d should be >= 1", d >= 1.0, d),
            ("weight_decay should be >= 0", weight_decay >= 0.0, weight_decay),
        ):
            if not fits:
                raise InvalidArgumentError(f"{name} but is: {value}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The factors of a matrix's second moment, or that of a vector."""
        return ("row_var", "col_var", "variance")

    def names_for(self, group: Group, param: Tensor) -> tuple[str, ...]:
        """Either the factors or the moment."""
        return ("row_var", "col_var") if param.ndim > 1 else ("variance",)

    def first_state(self, name: str, param: Tensor, group: Group) -> Array:
        """Zeros; the rows' factor has one column, the columns' one row."""
        shape = list(param.shape)
        if name != "variance":
            shape[-1 if name == "row_var" else -2] = 1
        return np.zeros(shape, param.dtype.numpy)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes; without epsilon1 it is the type's precision."""
        found = {name: float(group[name]) for name in ("beta2_decay", "d", "weight_decay")}
        found["epsilon2"] = float(group["eps"][1])
        if group["eps"][0] is not None:
            found["epsilon1"] = float(group["eps"][0])
        return found


class Muon(Optimizer):
    """Momentum made orthogonal by Newton-Schulz steps (Jordan, 2024), as `torch.optim.Muon`.

    For matrices of hidden layers; give the others to AdamW. The steps are rounded to bfloat16.

    Raises:
        InvalidArgumentError: an option out of range, or a parameter that is no matrix.
    """

    op_type = "Muon"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        for name, value in (
            ("Learning rate", lr),
            ("momentum", momentum),
            ("weight decay", weight_decay),
        ):
            if not value >= 0.0:
                raise InvalidArgumentError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise InvalidArgumentError(
                f"Adjust learning rate function {adjust_lr_fn} is not supported"
            )
        if len(ns_coefficients) != 3:
            raise InvalidArgumentError("Coefficients must be a tuple of exactly 3 values")
        if not 0 <= ns_steps < 100:
            raise InvalidArgumentError(
                "Number of steps must be less than 100 for computational efficiency"
            )
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Adds matrices with options of their own."""
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if p.ndim != 2:
                self.param_groups.pop()
                raise InvalidArgumentError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{p.shape}"
                )

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The average of gradients."""
        return ("momentum_buffer",)

    def attributes(self, group: Group) -> dict[str, Any]:
        """The operator's attributes."""
        return {
            "momentum": float(group["momentum"]),
            "nesterov": int(group["nesterov"]),
            "weight_decay": float(group["weight_decay"]),
            "epsilon": float(group["eps"]),
            "coefficients": [float(k) for k in group["ns_coefficients"]],
            "steps": int(group["ns_steps"]),
            "adjust": group["adjust_lr_fn"] or "original",
        }

    def attributes_for(self, group: Group, shape: Sequence[int]) -> dict[str, Any]:
        """Of a matrix with more rows than columns the transpose is made orthogonal."""
        return {**self.attributes(group), "tall": int(shape[0] > shape[1])}

    def _exported(self, state: dict[str, Any]) -> dict[str, Any]:
        """Torch does not count Muon's steps, and no formula asks for them."""
        return {key: value for key, value in state.items() if key != "step"}
