"""Constants that operations need: Python scalars as 0-dim tensors, axes and shapes as vectors.

They are cached, so that a loop allocates none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit.runtime import _core

_LIMIT = 8192
# Types of ml_dtypes, which the buffer protocol has not: their arrays travel as bits.
_BY_BITS = {t.numpy: t.onnx for t in (dtypes.bfloat16, *dtypes.NARROW)}
_scalars: dict[Any, Const] = {}
_vectors: dict[Any, Const] = {}


class Const:
    """A value that behaves as an operand without gradient.

    `key` makes it part of a gradient program's structure (axes, shapes); None makes it an input of
    that program (scalars, offsets that change from step to step).
    """

    __slots__ = ("_value", "key")
    _node = None
    _out = 0
    _base = None

    def __init__(self, value: Any, key: Any = None) -> None:
        self._value = value
        self.key = key


def scalar(value: Any, code: int) -> Const:
    """A 0-dim constant of the ONNX element type `code`."""
    cache_key: Any = (code, value)
    if not value and type(value) is float:
        cache_key = (code, value, math.copysign(1.0, value))
    const = _scalars.get(cache_key)
    if const is None:
        const = Const(core_array(np.asarray(value).astype(dtypes.BY_ONNX[code].numpy), code))
        if len(_scalars) >= _LIMIT:
            _scalars.clear()
        if value == value:  # A NaN would never be found again.
            _scalars[cache_key] = const
    return const


def vector(values: tuple[int, ...], keyed: bool = True) -> Const:
    """An int64 vector; `keyed`: part of the structure of gradient programs."""
    const = _vectors.get((values, keyed))
    if const is None:
        array = np.array(values, np.int64).reshape(len(values))
        const = Const(core_array(array), ("i64", values) if keyed else None)
        if len(_vectors) >= _LIMIT:
            _vectors.clear()
        _vectors[values, keyed] = const
    return const


def index(value: int) -> Const:
    """An int64 scalar that is part of the structure (an axis, a count)."""
    const = _vectors.get(value)
    if const is None:
        const = _vectors[value] = Const(core_array(np.array(value, np.int64)), ("i64", value))
    return const


def core_array(array: np.ndarray[Any, Any], code: int = 0) -> _core.Tensor:
    """A core tensor that shares the memory of a C-contiguous array."""
    known = _BY_BITS.get(array.dtype)
    if known is not None:
        bits = np.uint16 if array.dtype.itemsize == 2 else np.uint8
        return _core.Tensor.from_array(array.view(bits), known)
    return _core.Tensor.from_array(array, code)
