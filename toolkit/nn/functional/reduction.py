"""What all losses share: the choice of a reduction, and how a target may be shaped."""

from __future__ import annotations

import warnings
from typing import Any

from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.source_lines import user_line
from toolkit.tensor import Tensor

REDUCTIONS = ("none", "mean", "sum")


def chosen(where: str, size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction asked for, by its name or by the two old arguments.

    Raises:
        InvalidArgumentError: there is none of that name.
    """
    if size_average is not None or reduce is not None:
        return legacy(size_average, reduce)
    if reduction not in REDUCTIONS:
        raise InvalidArgumentError(
            f"{where}: one of {list(REDUCTIONS)} is required, {reduction} is not a valid value for "
            "reduction."
        )
    return reduction


def legacy(size_average: bool | None, reduce: bool | None) -> str:
    """What PyTorch's old arguments say by now: a flag that is left out is true."""
    found = "none" if reduce is False else "sum" if size_average is False else "mean"
    warn(
        f"size_average and reduce args will be deprecated, please use reduction='{found}' instead."
    )
    return found


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning at the user's own line."""
    file, line = user_line() or ("toolkit", 0)
    warnings.warn_explicit(message, category, file, line)


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """Mean, sum, or the losses themselves."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def may_equal(a: Any, b: Any) -> bool:
    """Whether two shapes can be the same: dynamic dimensions may have any size."""
    return len(a) == len(b) and all(
        m == n or not (isinstance(m, int) and isinstance(n, int)) for m, n in zip(a, b, strict=True)
    )


def same_shape(where: str, input: Tensor, target: Tensor) -> None:
    """Refuses shapes that would broadcast: that is nearly always a mistake in a loss."""
    if not may_equal(input.shape, target.shape):
        raise ShapeError(
            f"{where}: a target of the input's size is required, got target {list(target.shape)} "
            f"for input {list(input.shape)}."
        )


def warn_broadcast(where: str, input: Tensor, target: Tensor) -> None:
    """Says that a target of another size is broadcast, as PyTorch does."""
    if not may_equal(input.shape, target.shape):
        warn(
            f"{where}: Using a target size ({list(target.shape)}) that is different to the input "
            f"size ({list(input.shape)}). This will likely lead to incorrect results due to "
            "broadcasting. Please ensure they have the same size."
        )


def can_look() -> bool:
    """Whether values may be looked at: nothing is being traced."""
    return STATE.trace is None
