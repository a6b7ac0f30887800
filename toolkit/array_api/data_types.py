"""Element types: their limits, kinds and promotion."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

from toolkit import dtypes
from toolkit._tensor import settings
from toolkit._tensor.base import TensorBase
from toolkit._tensor.promote import cast, promote_codes, result_code
from toolkit.array_api.common import REAL, SIGNED, UNSIGNED, array, check_device
from toolkit.errors import InvalidArgumentError

KINDS = {
    "bool": (dtypes.bool,), "signed integer": SIGNED, "unsigned integer": UNSIGNED,
    "integral": (*SIGNED, *UNSIGNED), "real floating": REAL, "complex floating": (),
    "numeric": (*SIGNED, *UNSIGNED, *REAL),
}  # fmt: skip


class FloatLimits(NamedTuple):
    """What `finfo` gives."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Any


class IntegerLimits(NamedTuple):
    """What `iinfo` gives."""

    bits: int
    max: int
    min: int
    dtype: Any


def astype(x: Any, dtype: Any, /, *, copy: builtins.bool = True, device: Any = None) -> Any:
    """`x` in another element type; itself only with `copy=False`."""
    check_device(device)
    out = cast(array("astype", x), dtype.onnx)
    return out.clone() if copy and out is x else out


def _dtype(x: Any) -> dtypes.DType:
    return x.dtype if isinstance(x, TensorBase) else x


def can_cast(from_: Any, to: Any, /) -> builtins.bool:
    """Whether `from_` promotes to `to`."""
    source, target = _dtype(from_), _dtype(to)
    return promote_codes(source.onnx, target.onnx) == target.onnx


def finfo(type: Any, /) -> FloatLimits:
    """Limits of a floating element type, or of an array's.

    Raises:
        DTypeError: not a float.
    """
    dtype = _dtype(type)
    found = settings.finfo(dtype)
    return FloatLimits(found.bits, found.eps, found.max, found.min, found.smallest_normal, dtype)


def iinfo(type: Any, /) -> IntegerLimits:
    """Limits of an integer element type, or of an array's.

    Raises:
        DTypeError: not an integer.
    """
    dtype = _dtype(type)
    found = settings.iinfo(dtype)
    return IntegerLimits(found.bits, found.max, found.min, dtype)


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Whether an element type is of a kind: a name such as "integral", a type, or a tuple of them.

    Raises:
        InvalidArgumentError: an unknown kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, dtypes.DType):
        return dtype is kind
    if kind not in KINDS:
        raise InvalidArgumentError(
            f"isdtype: a kind among {list(KINDS)} is required, got {kind!r}."
        )
    return dtype in KINDS[kind]


def result_type(*arrays_and_dtypes: Any) -> dtypes.DType:
    """The common element type; Python numbers take part by their kind only.

    Raises:
        InvalidArgumentError: nothing that has an element type.
    """
    numbers = [x for x in arrays_and_dtypes if isinstance(x, (builtins.bool, int, float))]
    known = [_dtype(x).onnx for x in arrays_and_dtypes if not isinstance(x, (int, float))]
    if not known:
        raise InvalidArgumentError(
            "result_type: an array or an element type is required, got none."
        )
    code = known[0]
    for other in known[1:]:
        code = promote_codes(code, other)
    if not numbers:
        return dtypes.BY_ONNX[code]
    beside = cast_example(code)
    return dtypes.BY_ONNX[result_code(beside, *numbers)]


def cast_example(code: int) -> Any:
    """An array of an element type, for promotion beside numbers."""
    from toolkit._tensor.factories import empty

    return empty((0,), dtype=dtypes.BY_ONNX[code])
