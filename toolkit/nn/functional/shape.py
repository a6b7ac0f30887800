"""Padding and flattening."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply, as_operands, handle
from toolkit.tensor import Tensor

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Pads dimensions, the last one first.

    Args:
        input: any shape.
        pad: (before, after) of the last dimension, then of the one before it, ...; negative crops.
        mode: "constant", "reflect", "replicate" or "circular".
        value: of the new elements in mode "constant"; 0 if None.
    """
    if len(pad) % 2 or len(pad) > 2 * input.dim():
        raise InvalidArgumentError(
            f"pad: an even number of at most {2 * input.dim()} widths is required, got {list(pad)}."
        )
    if mode not in _MODES:
        raise InvalidArgumentError(f"pad: one of {list(_MODES)} is required, got mode {mode!r}.")
    if mode != "constant" and value is not None:
        raise InvalidArgumentError(f"pad: no value is taken by mode {mode!r}, got {value}.")
    n = len(pad) // 2
    untouched = [0] * (input.dim() - n)
    before = untouched + [int(pad[2 * i]) for i in reversed(range(n))]
    after = untouched + [int(pad[2 * i + 1]) for i in reversed(range(n))]
    operands: tuple[object, ...] = (input, before + after)
    if value:
        operands += (value,)
    return apply(handle("Pad", mode=_MODES[mode]), *as_operands("Pad", operands))
