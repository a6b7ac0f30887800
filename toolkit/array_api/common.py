"""What the functions of the namespace share: operands in a common type, axes."""

from __future__ import annotations

from typing import Any

from toolkit import dtypes
from toolkit._tensor import promote
from toolkit._tensor.base import TensorBase
from toolkit._tensor.consts import core_array
from toolkit._tensor.factories import code_of, full
from toolkit._tensor.promote import cast, promote_codes
from toolkit.device import device as as_device
from toolkit.errors import DTypeError

SIGNED = (dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64)
UNSIGNED = (dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64)
REAL = (dtypes.float32, dtypes.float64)

__all__ = ["REAL", "SIGNED", "UNSIGNED", "array", "axes_of", "both", "check_device", "code_of",
           "core_array", "sum_dtype"]  # fmt: skip


def array(name: str, x: Any) -> Any:
    """`x`, which must be a Tensor.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(x, TensorBase):
        raise TypeError(f"{name}: an array is required, got {type(x).__name__}.")
    return x


def check_device(device: Any) -> None:
    """Accepts None and what names this machine's memory."""
    if device is not None:
        as_device(device)


def _number(name: str, value: Any, beside: Any) -> Any:
    """A Python number as a 0-dimensional array of the element type beside it."""
    dtype = beside.dtype
    allowed = 3 if dtype.is_floating_point else 1 if dtype is dtypes.bool else 2
    if not isinstance(value, (bool, int, float)[:allowed]):
        raise TypeError(
            f"{name}: an array, or a number that {dtype.name} can hold, is required, got {value!r}."
        )
    return full((), value, dtype=dtype)


def both(name: str, x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two operands in their common element type; one of them may be a Python number.

    Raises:
        TypeError: neither is an array, or a number does not fit the other's type.
        DTypeError: types that do not promote to each other.
    """
    if not isinstance(x1, TensorBase):
        x1 = _number(name, x1, array(name, x2))
    elif not isinstance(x2, TensorBase):
        x2 = _number(name, x2, x1)
    code = promote_codes(x1._value.dtype, x2._value.dtype)
    return cast(x1, code), cast(x2, code)


def axes_of(x: Any, axis: Any) -> tuple[int, ...]:
    """The axes as a tuple; None: all of them."""
    if axis is None:
        return tuple(range(x.dim()))
    return tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)


def sum_dtype(x: Any, dtype: Any) -> Any:
    """The type of sums and products: integers widen to 64 bits and keep their sign.

    Raises:
        DTypeError: bools, which the standard does not sum.
    """
    if dtype is not None:
        return dtype
    if x.dtype is dtypes.bool:
        raise DTypeError("sum: a numeric element type is required, got bool.")
    if x.dtype.is_floating_point:
        return x.dtype
    return dtypes.uint64 if x.dtype in UNSIGNED else dtypes.int64


def default_float() -> dtypes.DType:
    """The element type of Python floats."""
    return dtypes.BY_ONNX[promote.default_code]
