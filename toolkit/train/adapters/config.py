"""`LoraConfig`: what the adapters of a model have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolkit.errors import InvalidArgumentError


@dataclass(frozen=True)
class LoraConfig:
    """Options of low-rank adapters, under the names of `toolkit.train.lora`.

    Args:
        r: rank of the update B A.
        alpha: the update is multiplied by alpha / r; None: r, so by 1.
        dropout: probability of dropping an element of an adapter's input in training.
        rslora: multiply by alpha / sqrt(r) instead (Kalajdzievski 2023).
        dora: train magnitude and direction of the weight apart (Liu et al. 2024).

    Raises:
        InvalidArgumentError: an option out of range.
    """

    r: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.r, int) or self.r < 1:
            raise InvalidArgumentError(f"lora: a rank r of 1 or more is required, got {self.r}.")
        if not 0.0 <= self.dropout < 1.0:
            raise InvalidArgumentError(
                f"lora: a dropout from 0 to below 1 is required, got {self.dropout}."
            )

    @property
    def scaling(self) -> float:
        """What B A is multiplied by."""
        alpha = float(self.r if self.alpha is None else self.alpha)
        return alpha / (math.sqrt(self.r) if self.rslora else self.r)
