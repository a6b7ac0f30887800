"""Type promotion as in PyTorch.

Categories are bool < integer < float; 0-dim tensors and Python numbers count by category only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.base import BOOL, FLOATS, INT64, INTS, TensorBase
from toolkit._tensor.consts import scalar
from toolkit._tensor.symint import SymInt
from toolkit.errors import DTypeError
from toolkit.ops.dispatch import Handle, apply1, apply2, quick

_COMPLEX = (14, 15)
default_code = dtypes.float32.onnx


def set_default(code: int) -> None:
    """The element type of Python floats."""
    global default_code
    default_code = code


def _category(code: int) -> int:
    return 3 if code in _COMPLEX else 2 if code in FLOATS else 0 if code == BOOL else 1


@lru_cache(maxsize=1024)
def promote_codes(a: int, b: int) -> int:
    """The smallest type that PyTorch promotes both to."""
    if a == b:
        return a
    ca, cb = _category(a), _category(b)
    if ca != cb and 3 not in (ca, cb):
        return a if ca > cb else b
    if ca == 2 and {a, b} == {10, 16}:
        return 1  # float16 with bfloat16.
    wide = np.promote_types(dtypes.BY_ONNX[a].numpy, dtypes.BY_ONNX[b].numpy)
    return dtypes.from_numpy(wide).onnx


def scalar_code(value: Any) -> int:
    """The type that a Python number would have as a tensor."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, (int, np.integer)) or type(value) is SymInt:
        return INT64
    return default_code


@lru_cache(maxsize=4096)
def _result(a: int, a_weak: bool, b: int, b_weak: bool) -> int:
    if a_weak == b_weak:
        return promote_codes(a, b)
    strong, weak = (b, a) if a_weak else (a, b)
    return strong if _category(weak) <= _category(strong) else promote_codes(a, b)


def result_code(*operands: Any) -> int:
    """The common element type of tensors and Python numbers."""
    dimensioned = zero_dim = number = 0
    for x in operands:
        if isinstance(x, TensorBase):
            code = x._value.dtype
            if x.dim():
                dimensioned = promote_codes(dimensioned, code) if dimensioned else code
            else:
                zero_dim = promote_codes(zero_dim, code) if zero_dim else code
        else:
            code = scalar_code(x)
            number = promote_codes(number, code) if number else code
    result = dimensioned
    for weak in (zero_dim, number):
        if weak:
            result = _result(result, False, weak, True) if result else weak
    return int(result)


def cast(x: Any, code: int) -> Any:
    """`x` in an element type; itself when it already is."""
    if x._value.dtype == code:
        return x
    return apply1(quick("Cast", "to", int(code)), x)


def operand(x: Any, code: int) -> Any:
    """A tensor cast to a type, or a Python number as a constant of that type."""
    if isinstance(x, TensorBase):
        return cast(x, code)
    if isinstance(x, (bool, int, float, np.generic)):
        return scalar(x.item() if isinstance(x, np.generic) else x, code)
    if type(x) is SymInt:
        return cast(x.tensor(), code)
    raise DTypeError(f"operand: a tensor or a number is required, got {type(x).__name__}.")


def is_number(x: Any) -> bool:
    """Whether it can stand beside a tensor as a Python scalar."""
    return isinstance(x, (bool, int, float, np.generic)) or type(x) is SymInt


def binary(h: Handle, a: Any, b: Any, at_least: int = 0) -> Any:
    """Promotes two operands (one of them a tensor) to a common type and runs `h`.

    `at_least` is a type that bools (INT64) or integers (the default float) are promoted to.
    """
    if isinstance(a, TensorBase) and isinstance(b, TensorBase):
        code = a._value.dtype
        if code == b._value.dtype and not at_least:
            return apply2(h, a, b)
        code = result_code(a, b)
    elif isinstance(a, TensorBase):
        code = a._value.dtype
        kind = type(b)
        if code in FLOATS:
            if kind is float or kind is int:
                return apply2(h, a, scalar(b, code))
        elif kind is int and code in INTS and not at_least:
            return apply2(h, a, scalar(b, code))
        code = result_code(a, b)
    else:
        code = b._value.dtype
        if (type(a) is float or type(a) is int) and code in FLOATS:
            return apply2(h, scalar(a, code), b)
        code = result_code(a, b)
    if at_least and _category(code) < _category(at_least):
        code = at_least
    return apply2(h, operand(a, code), operand(b, code))


def floating(x: Any) -> Any:
    """`x`, with integers and bools cast to the default float."""
    return x if x._value.dtype in FLOATS else cast(x, default_code)
