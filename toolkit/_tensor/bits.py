"""Shifts of bits: ONNX's BitShift, which takes unsigned integers, around signed ones."""

from __future__ import annotations

from typing import Any

from toolkit import dtypes
from toolkit._tensor.base import INTS, TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.factories import full
from toolkit._tensor.promote import cast, operand, result_code
from toolkit.errors import DTypeError
from toolkit.ops.dispatch import apply1, apply2, handle

LEFT, RIGHT = handle("BitShift", direction="LEFT"), handle("BitShift", direction="RIGHT")
NOT = handle("BitwiseNot")
_UNSIGNED = {3: 2, 5: 4, 6: 12, 7: 13}  # By the signed type of the same size.


def _operands(name: str, a: Any, b: Any) -> tuple[int, Any, Any]:
    code = result_code(a, b)
    if code not in INTS:
        kinds = [getattr(x, "dtype", type(x)) for x in (a, b)]
        raise DTypeError(f"{name}: integers are required, got {kinds[0]} and {kinds[1]}.")
    first = a if isinstance(a, TensorBase) else full((), a, dtype=dtypes.BY_ONNX[code])
    return code, cast(first, code), operand(b, code)


def left_shift(a: Any, b: Any) -> Any:
    """Bits moved to the left; those past the end are lost."""
    code, a, b = _operands("bitwise_left_shift", a, b)
    bits = _UNSIGNED.get(code, code)
    return cast(apply2(LEFT, cast(a, bits), cast(b, bits)), code)


def right_shift(a: Any, b: Any) -> Any:
    """Bits moved to the right; the sign is kept: of a negative x it is ~(~x >> b)."""
    code, a, b = _operands("bitwise_right_shift", a, b)
    if code not in _UNSIGNED:
        return apply2(RIGHT, a, b)
    bits = _UNSIGNED[code]
    negative = a < 0
    plain = where(negative, apply1(NOT, a), a)
    moved = cast(apply2(RIGHT, cast(plain, bits), cast(b, bits)), code)
    return where(negative, apply1(NOT, moved), moved)


__all__ = ["left_shift", "right_shift"]
