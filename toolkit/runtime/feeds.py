"""Whether what is fed to a session, and what it gives, is what the graph declares."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolkit import dtypes
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError, ToolkitWarning
from toolkit.graph import map_types
from toolkit.runtime import _core
from toolkit.runtime.api.describe import described, map_string, type_text
from toolkit.runtime.api.values import OrtValue
from toolkit.runtime.values import maps_to_native, to_native, value_to_native


def fed(value: Any, declared: ir.Value | None) -> _core.Tensor:
    """A value of an input feed in the runtime's form; a list becomes an array for a tensor.

    Raises:
        DTypeError: It is nothing that the runtime holds.
        InvalidArgumentError: It is a list that is no array.
    """
    if isinstance(value, OrtValue):
        return value._tensor
    kind = map_types.of(declared) if declared is not None else None
    if declared is not None and kind is not None:
        return maps_to_native(value, kind, declared.name or "")
    if declared is not None and isinstance(value, (list, tuple, int, float, str)):
        dtype = declared.type.dtype if isinstance(declared.type, ir.TensorType) else None
        if dtype is not None and int(dtype) in dtypes.BY_ONNX:
            return to_native(_array(value, dtypes.BY_ONNX[int(dtype)].numpy, declared.name))
    return value_to_native(value)


def _array(value: Any, dtype: Any, name: str | None) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(
            f"run: an array of {dtype} is required for '{name}', got a list: {error}."
        ) from None


def require(names: Iterable[str], feed: Mapping[str, Any]) -> None:
    """Refuses a feed that lacks an input."""
    for name in names:
        if name not in feed:
            raise InvalidArgumentError(
                f"run: input '{name}' is required, got {sorted(feed)}. Add it to the input feed."
            )


def check(declared: ir.Value, tensor: _core.Tensor) -> None:
    """Refuses a fed value that the graph's declaration does not allow."""
    kind = map_types.of(declared)
    if kind is not None:
        if not _fits_map(kind, tensor):
            raise DTypeError(f"run: input '{declared.name}' must be {map_string(kind)}, got other.")
        return
    if not _fits(declared.type, tensor):
        need, got = type_text(declared.type), type_text(described(tensor))
        raise DTypeError(f"run: input '{declared.name}' must be {need}, got {got}.")
    if declared.shape is None or not isinstance(declared.type, ir.TensorType):
        return
    need_dims = list(declared.shape)
    fits = len(need_dims) == tensor.ndim and all(
        not isinstance(n, int) or n == d for n, d in zip(need_dims, tensor.shape, strict=True)
    )
    if not fits:
        text = ", ".join(str(n) if isinstance(n, int) else n.value or "?" for n in need_dims)
        raise ShapeError(
            f"run: input '{declared.name}' must have shape ({text}), got {tensor.shape}."
        )


def warn_of_shapes(declared: Sequence[ir.Value], results: Sequence[_core.Tensor]) -> None:
    """A declared output shape is a claim of the file: a wrong one is not refused."""
    for value, tensor in zip(declared, results, strict=True):
        if value.shape is None or not isinstance(value.type, ir.TensorType):
            continue
        dims, shape = list(value.shape), tensor.shape
        if len(dims) != len(shape) or any(
            isinstance(d, int) and d != n for d, n in zip(dims, shape, strict=True)
        ):
            text = ", ".join(str(d) if isinstance(d, int) else d.value or "?" for d in dims)
            warnings.warn(
                f"run: output '{value.name}' must have the declared shape ({text}), got {shape}.",
                ToolkitWarning,
                stacklevel=6,
            )


def _fits_map(kind: onnx.TypeProto, value: _core.Tensor) -> bool:
    if kind.WhichOneof("value") == "sequence_type":
        inner = kind.sequence_type.elem_type
        return value.dtype == _core.SEQUENCE and all(_fits_map(inner, v) for v in value.items())
    if value.dtype != _core.MAP:
        return False
    keys, values = value.items()
    element = kind.map_type.value_type.tensor_type.elem_type
    return bool(keys.dtype == kind.map_type.key_type and values.dtype == element)


def _fits(declared: ir.TypeProtocol | None, value: _core.Tensor) -> bool:
    if isinstance(declared, ir.OptionalType):
        return value.dtype == _core.NONE or _fits(declared.elem_type, value)
    if isinstance(declared, ir.SequenceType):
        return value.dtype == _core.SEQUENCE and all(
            _fits(declared.elem_type, item) for item in value.items()
        )
    return declared is None or int(declared.dtype) in (0, value.dtype)
