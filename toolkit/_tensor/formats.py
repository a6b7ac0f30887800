"""`layout` and `memory_format`: where PyTorch lets a program choose how elements lie in memory.

Values are dense and row-major here. `channels_last` is a row-major tensor of (N, H, W, C) seen as
(N, C, H, W), so strides and `is_contiguous` are PyTorch's; in a trace, where no memory is, nothing
happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit._tensor.shapes import _symbolic
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError


class layout:
    """How a tensor keeps its elements: always `strided`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"toolkit.{self._name}"


class memory_format:
    """The order of dimensions in memory: `contiguous_format`, `channels_last` and the like."""

    def __init__(self, name: str, order: tuple[int, ...] = ()) -> None:
        self._name = name
        self.order = order  # Dimensions from the outermost to the innermost; (): as they come.

    def __repr__(self) -> str:
        return f"toolkit.{self._name}"

    def __reduce__(self) -> Any:
        return self._name


strided = layout("strided")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last", (0, 2, 3, 1))
channels_last_3d = memory_format("channels_last_3d", (0, 2, 3, 4, 1))


def checked(format: Any) -> memory_format:
    """A memory format; None is `preserve_format`.

    Raises:
        TypeError: it is something else.
    """
    if format is None:
        return preserve_format
    if not isinstance(format, memory_format):
        raise TypeError(
            f"argument 'memory_format' must be toolkit.memory_format, not {type(format).__name__}"
        )
    return format


def laid_out(x: Any, format: Any) -> Any:
    """The tensor in a memory format: itself where it is so, else a copy.

    Raises:
        InvalidArgumentError: it has another rank than the format is for.
    """
    order = checked(format).order
    if not order:
        return x.contiguous() if format is contiguous_format else x
    _require_rank(x, order)
    if STATE.trace is not None or in_format(x, format):
        return x
    return x.permute(*order).contiguous().permute(*(order.index(d) for d in range(len(order))))


def laid_out_as_made(x: Any, format: Any) -> Any:
    """A fresh tensor, for factories and `clone`, which keep row-major order otherwise."""
    return laid_out(x, format) if checked(format).order else x


def in_format(x: Any, format: Any) -> bool:
    """Whether the elements lie in this order."""
    order = checked(format).order
    if not order or x.dim() != len(order) or any(map(_symbolic, x.shape)):
        return False
    strides, expected = x.stride(), 1
    for d in reversed(order):
        if x.shape[d] != 1:
            if strides[d] != expected:
                return False
            expected *= x.shape[d]
    return True


def _require_rank(x: Any, order: tuple[int, ...]) -> None:
    if x.dim() != len(order):
        raise InvalidArgumentError(
            f"required rank {len(order)} tensor to use channels_last format, got rank {x.dim()}"
        )


def settle(made: Any, options: Mapping[str, Any]) -> Any:
    """What a factory made, after PyTorch's options of layout and memory.

    Raises:
        TypeError: another option.
        InvalidArgumentError: a layout that is not strided.
    """
    for name, value in options.items():
        if name == "layout":
            if value is not None and value is not strided:
                raise InvalidArgumentError(f"layout: strided is required, got {value!r}.")
        elif name == "memory_format":
            made = laid_out_as_made(made, value)
        elif name == "out":
            from toolkit._tensor.outputs import write_out

            made = made if value is None else write_out(made, value, "factory")
        elif name != "pin_memory":
            raise TypeError(f"an unexpected keyword argument {name!r} was given")
    return made


FUNCTIONS: dict[str, Any] = {
    "layout": layout, "memory_format": memory_format, "strided": strided,
    "contiguous_format": contiguous_format, "preserve_format": preserve_format,
    "channels_last": channels_last, "channels_last_3d": channels_last_3d,
}  # fmt: skip
