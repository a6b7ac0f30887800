"""`out=` of functions: the result is written into tensors that the caller gives."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.base import BOOL, FLOATS, TensorBase
from toolkit._tensor.inplace import assign
from toolkit._tensor.promote import cast
from toolkit._tensor.state import STATE
from toolkit.errors import DTypeError, InvalidArgumentError


def can_cast_codes(source: int, target: int) -> bool:
    """Whether results of one element type may be written into another: no lower category."""
    rank = [3 if c in (14, 15) else 2 if c in FLOATS else 0 if c == BOOL else 1
            for c in (source, target)]  # fmt: skip
    return rank[0] <= rank[1]


def write_out(result: Any, out: Any, name: str) -> Any:
    """Writes a result, or each of several, into `out` and gives it back.

    Raises:
        DTypeError: a result's category is higher, as float is above int.
        InvalidArgumentError: gradients would have to pass.
    """
    if isinstance(result, (tuple, list)):
        for r, o in zip(result, out, strict=True):
            write_out(r, o, name)
        return out
    if not isinstance(out, TensorBase):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    target: Any = out
    if STATE.grad and (target.requires_grad or result.requires_grad):
        raise InvalidArgumentError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if not can_cast_codes(result._value.dtype, target._value.dtype):
        raise DTypeError(
            f"result type {result.dtype.name} can't be cast to the desired output type "
            f"{target.dtype.name}"
        )
    if target.shape != result.shape:
        target.resize_(*result.shape)
    assign(target, cast(result, target._value.dtype))
    return target
