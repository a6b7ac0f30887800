"""PyTorch's typed constructors: `FloatTensor(2, 3)`, `LongTensor([1, 2])`."""

from __future__ import annotations

from typing import Any

from toolkit import dtypes
from toolkit._tensor.base import TensorBase
from toolkit.errors import InvalidArgumentError

_NAMES = {
    "FloatTensor": dtypes.float32, "DoubleTensor": dtypes.float64, "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16, "LongTensor": dtypes.int64, "IntTensor": dtypes.int32,
    "ShortTensor": dtypes.int16, "CharTensor": dtypes.int8, "ByteTensor": dtypes.uint8,
    "BoolTensor": dtypes.bool,
}  # fmt: skip


def type_name(dtype: dtypes.DType) -> str:
    """The typed class of an element type, as `Tensor.type()` names it."""
    for name, found in _NAMES.items():
        if found is dtype:
            return f"toolkit.{name}"
    name = dtype.name.replace("uint", "UInt") if dtype.name.startswith("uint") else dtype.name
    return f"toolkit.{name}Tensor"


def named_type(kind: Any) -> dtypes.DType:
    """The element type of a typed class or its name; an element type itself.

    Raises:
        InvalidArgumentError: a name of no type.
    """
    if isinstance(kind, dtypes.DType):
        return kind
    name = getattr(kind, "__name__", str(kind)).removeprefix("toolkit.").removeprefix("torch.")
    if name not in _NAMES:
        raise InvalidArgumentError(
            f"invalid type: one of {', '.join(_NAMES)} is required, got {kind!r}."
        )
    return _NAMES[name]


class _Typed(type):
    """Of the typed classes: tensors of the element type are their instances."""

    dtype: dtypes.DType

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TensorBase) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, device: Any = None) -> Any:
        """Uninitialised of a shape, or a copy of data."""
        from toolkit._tensor.factories import empty, tensor

        if len(args) == 1 and not isinstance(args[0], int):
            size = isinstance(args[0], tuple) and type(args[0]) is not tuple
            return empty(args[0], dtype=cls.dtype) if size else tensor(args[0], dtype=cls.dtype)
        return empty(*args, dtype=cls.dtype) if args else empty(0, dtype=cls.dtype)


def _typed(name: str, dtype: dtypes.DType) -> Any:
    made = _Typed(name, (), {"__doc__": f"Tensors of {dtype.name}.", "dtype": dtype})
    made.__module__ = "toolkit"
    return made


FUNCTIONS: dict[str, Any] = {name: _typed(name, dtype) for name, dtype in _NAMES.items()}
