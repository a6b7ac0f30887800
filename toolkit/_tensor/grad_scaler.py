"""`GradScaler`: scaled losses, so that gradients in float16 do not vanish (Micikevicius 2018)."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError


class GradScaler:
    """Scales losses, unscales gradients, and skips steps whose gradients are not finite.

    The scale grows by `growth_factor` after `growth_interval` steps that were finite, and shrinks
    by `backoff_factor` after one that was not.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled and device != "cpu":
            warnings.warn(
                f"GradScaler is enabled, but {device.upper()} is not available. Disabling. Hint: "
                "GradScaler('cpu').",
                stacklevel=2,
            )
            enabled = False
        if enabled and not (growth_factor > 1.0 and backoff_factor < 1.0):
            raise InvalidArgumentError(
                "GradScaler: growth_factor above 1 and backoff_factor below 1 are required, got "
                f"{growth_factor} and {backoff_factor}."
            )
        self._enabled = enabled
        self._scale = self._init_scale = float(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._optimizers: weakref.WeakKeyDictionary[Any, _Step] = weakref.WeakKeyDictionary()

    def scale(self, outputs: Any) -> Any:
        """A tensor, or each of a tree of lists and tuples, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, TensorBase):
            return outputs * self._scale  # type: ignore[operator]
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(x) for x in outputs)
        raise ValueError(
            f"scale: a tensor or a sequence of them is required, got {type(outputs).__name__}."
        )

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimizer's parameters by the scale, once before a step."""
        if not self._enabled:
            return
        step = self._optimizers.setdefault(optimizer, _Step())
        if step.stage == "unscaled":
            raise InvalidArgumentError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if step.stage == "stepped":
            raise InvalidArgumentError("unscale_() is being called after step().")
        step.finite = self._unscale(optimizer)
        step.stage = "unscaled"

    def _unscale(self, optimizer: Any) -> bool:
        finite, found = True, False
        recording, STATE.grad = STATE.grad, False
        try:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    if p.grad.dtype.name == "float16":
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    found = True
                    p.grad.mul_(1.0 / self._scale)
                    finite = finite and bool(np.isfinite(p.grad.float().numpy()).all())
        finally:
            STATE.grad = recording
        if not found:
            raise InvalidArgumentError(
                "No inf checks were recorded for this optimizer: gradients are required, got none."
            )
        return finite

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)` if the gradients are finite, else None."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise InvalidArgumentError(
                "Closure use is not currently supported if GradScaler is enabled."
            )
        step = self._optimizers.setdefault(optimizer, _Step())
        if step.stage == "stepped":
            raise InvalidArgumentError("step() has already been called since the last update().")
        if step.stage == "ready":
            self.unscale_(optimizer)
        step.stage = "stepped"
        return optimizer.step(*args, **kwargs) if step.finite else None

    def update(self, new_scale: Any = None) -> None:
        """Adapts the scale to what the steps since the last update have met, or sets it."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            met = [s for s in self._optimizers.values() if s.stage != "ready"]
            if not met:
                raise InvalidArgumentError(
                    "No inf checks were recorded prior to update: step() is required first."
                )
            if not all(s.finite for s in met):
                self._scale *= self._backoff_factor
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    self._scale *= self._growth_factor
                    self._growth_tracker = 0
        self._optimizers.clear()

    def get_scale(self) -> float:
        """The scale; 1 if disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """What the scale grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale shrinks by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """What the scale shrinks by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """Finite steps until the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Finite steps until the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and the count of finite steps; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor, "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` gave.

        Raises:
            InvalidArgumentError: it comes from one that was disabled.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise InvalidArgumentError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._init_scale = self._scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]


class _Step:
    """Where one optimizer is between two updates."""

    stage = "ready"
    finite = True
