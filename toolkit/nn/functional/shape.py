"""Padding, and the order of channels."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit._tensor.autocast import widened
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, ShapeError
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
    if mode in ("reflect", "replicate") and STATE.autocast is not None:
        input = widened(input)
    n = len(pad) // 2
    if mode != "constant":
        _check_edges(input, [int(w) for w in pad], mode)
    untouched = [0] * (input.dim() - n)
    before = untouched + [int(pad[2 * i]) for i in reversed(range(n))]
    after = untouched + [int(pad[2 * i + 1]) for i in reversed(range(n))]
    operands: tuple[object, ...] = (input, before + after)
    if value:
        operands += (value,)
    return apply(handle("Pad", mode=_MODES[mode]), *as_operands("Pad", operands))


def _check_edges(input: Tensor, pad: list[int], mode: str) -> None:
    """PyTorch's limits of the modes that read what they pad with."""
    n, rank = len(pad) // 2, input.dim()
    if rank not in (n + 1, n + 2) or n > 3:
        raise ShapeError(
            f"pad: Padding size {len(pad)} is not supported for {rank}D input tensor. Mode "
            f"{mode!r} pads the last 1 to 3 dimensions, behind a channel and maybe a batch."
        )
    for i in range(n):
        size = input.shape[rank - 1 - i]
        if not isinstance(size, int):
            continue
        widest = max(pad[2 * i : 2 * i + 2])
        most = {"reflect": size - 1, "circular": size}.get(mode, widest)
        if size == 0 or widest > most:
            raise ShapeError(
                f"pad: Padding size should be less than the corresponding input dimension, at most "
                f"{most} by mode {mode!r}, but got: padding {pad} of {list(input.shape)}."
            )


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of (N, C, ...): the first of each of `groups` groups, then the second, ..."""
    if input.dim() < 3:
        raise ShapeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    channels = input.shape[1]
    if groups <= 0 or (isinstance(channels, int) and channels % groups):
        raise InvalidArgumentError(
            "channel_shuffle: a number of groups above 0 that divides the channels is required, "
            f"got {groups} for {channels}."
        )
    apart = input.unflatten(1, (groups, channels // groups))
    return apart.transpose(1, 2).flatten(1, 2)


native_channel_shuffle = channel_shuffle
