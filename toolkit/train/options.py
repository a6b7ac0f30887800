"""Options of a `TrainStep` beside the optimizer's."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import InvalidArgumentError

AVERAGE = "ema."  # Before the name of the parameter.
AVERAGED = f"{AVERAGE}count"  # Steps that are in the averages.
CARRIED = ("accumulation.", "grad_scaler.", AVERAGE)  # States that outlive a change of options.
PRECISIONS = (None, "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class GradScaler:
    """Dynamic loss scaling by the rules of torch.amp, so that no gradient vanishes in float16.

    A `TrainStep` takes the gradients of the loss times the scale and divides them by it before
    clipping and the optimizer. If any element is infinite or NaN, the optimizer's step is skipped
    and the scale is multiplied by `backoff_factor`; after `growth_interval` steps in a row without,
    by `growth_factor`. Scale and counter are the states `grad_scaler.scale` and
    `grad_scaler.growth_tracker`.

    Args:
        init_scale: the scale at first.
        growth_factor: above 1.
        backoff_factor: below 1.
        growth_interval: steps between growths.

    Raises:
        InvalidArgumentError: an option out of range.
    """

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        for name, fits, need in (
            ("init_scale", self.init_scale > 0.0, "a number above 0"),
            ("growth_factor", self.growth_factor > 1.0, "a number above 1"),
            ("backoff_factor", 0.0 < self.backoff_factor < 1.0, "a number between 0 and 1"),
            ("growth_interval", self.growth_interval >= 1, "a number of steps"),
        ):
            if not fits:
                raise InvalidArgumentError(
                    f"GradScaler: {need} is required as {name}, got {getattr(self, name)}."
                )


@dataclass(frozen=True)
class UpdateOptions:
    """Options of a step beside the optimizer's; see `TrainStep`."""

    clip_grad_norm: float | None = None
    clip_norm_type: float = 2.0
    clip_grad_value: float | None = None
    accumulate: int = 1
    grad_scaler: GradScaler | None = None
    ema_decay: float | None = None
    precision: str | None = None

    def check(self) -> None:
        """Refuses options out of range.

        Raises:
            InvalidArgumentError: one is.
        """
        for name, fits, need in (
            ("accumulate", self.accumulate >= 1, "1 or more"),
            ("clip_norm_type", self.clip_norm_type > 0, "a norm's order above 0"),
            ("clip_grad_norm", (self.clip_grad_norm or 0.0) >= 0, "0 or more"),
            ("clip_grad_value", (self.clip_grad_value or 0.0) >= 0, "0 or more"),
            ("ema_decay", 0.0 <= (self.ema_decay or 0.0) <= 1.0, "a number from 0 to 1"),
        ):
            if not fits:
                raise InvalidArgumentError(
                    f"TrainStep: {need} is required as {name}, got {getattr(self, name)}."
                )
        if self.precision not in PRECISIONS:
            raise InvalidArgumentError(
                f"TrainStep: one of {list(PRECISIONS[1:])} is required as precision, "
                f"got '{self.precision}'."
            )
