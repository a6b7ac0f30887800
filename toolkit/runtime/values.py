"""Exchange of values between Python and the native core, without a copy where layouts agree.

A tensor is a numpy array, one of strings an array of dtype object; a sequence is a list, a map a
dict, an optional without a value None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit.errors import DTypeError
from toolkit.runtime import _core

# Types that the core hands over as their bits.
_AS_BITS = {t.onnx: t.numpy for t in (dtypes.bfloat16, *dtypes.NARROW)}


def to_native(value: Any) -> _core.Tensor:
    """Wraps an array; shares its memory when it is C-contiguous.

    Raises:
        DTypeError: the array's element type is none of toolkit's.
    """
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        return _strings(array)
    kind = dtypes.from_numpy(array.dtype)
    if not array.flags.c_contiguous:
        array = array.copy(order="C")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if kind.onnx in _AS_BITS:
        array = array.view(np.uint16 if kind.itemsize == 2 else np.uint8)
    return _core.Tensor.from_array(array, kind.onnx)


def _strings(array: np.ndarray[Any, Any]) -> _core.Tensor:
    items = [x.item() if isinstance(x, np.generic) else x for x in array.ravel()]
    return _core.Tensor.from_strings(items, array.shape)


def to_numpy(tensor: _core.Tensor) -> np.ndarray[Any, Any]:
    """A numpy array over the tensor's memory; of strings, a copy."""
    if tensor.dtype == dtypes.string.onnx:
        array = np.empty(tensor.size, dtype=object)
        array[:] = tensor.strings()
        return array.reshape(tensor.shape)
    array = tensor.numpy()
    bits = _AS_BITS.get(tensor.dtype)
    return array if bits is None else array.view(bits)


def value_to_native(value: Any) -> _core.Tensor:
    """As `to_native`, and lists as sequences, dicts as maps, None as an optional without a value.

    Raises:
        DTypeError: A value is none of these, or an item's type is none of toolkit's.
    """
    if value is None:
        return _core.Tensor.none()
    if isinstance(value, Mapping):
        keys = to_native(np.array(list(value), dtype=object if _named(value) else np.int64))
        return _core.Tensor.map(keys, to_native(np.array(list(value.values()))))
    if isinstance(value, (list, tuple)):
        return _core.Tensor.sequence([value_to_native(v) for v in value])
    return to_native(value)


def maps_to_native(value: Any, kind: Any, name: str) -> _core.Tensor:
    """A dict, or a list of dicts, as maps of the key and element types of an `onnx.TypeProto`.

    Raises:
        DTypeError: The value is no map, or holds what its type does not.
    """
    if kind.WhichOneof("value") == "sequence_type" and isinstance(value, (list, tuple)):
        inner = kind.sequence_type.elem_type
        return _core.Tensor.sequence([maps_to_native(v, inner, name) for v in value])
    if kind.WhichOneof("value") != "map_type" or not isinstance(value, Mapping):
        raise DTypeError(f"run: a dict is required for the map '{name}', got {type(value)}.")
    types = (kind.map_type.key_type, kind.map_type.value_type.tensor_type.elem_type)
    parts = [
        to_native(_elements(list(items), dtypes.BY_ONNX[t], name))
        for items, t in zip((value, value.values()), types, strict=True)
    ]
    return _core.Tensor.map(*parts)


def _elements(items: list[Any], kind: dtypes.DType, name: str) -> np.ndarray[Any, Any]:
    text = kind is dtypes.string
    try:
        if all(isinstance(x, (str, bytes)) == text for x in items):
            return np.array(items, object if text else kind.numpy)
    except (TypeError, ValueError, OverflowError):
        pass
    raise DTypeError(f"run: the map '{name}' must hold {kind.name}, got other items.")


def _named(value: Mapping[Any, Any]) -> bool:
    kinds = {isinstance(key, str) for key in value}
    if len(kinds) > 1:
        raise DTypeError("map: keys of one type, str or int, are required, got both.")
    return kinds == {True}


def value_from_native(value: _core.Tensor) -> Any:
    """The inverse of `value_to_native`."""
    kind = value.dtype
    if kind == _core.NONE:
        return None
    if kind == _core.SEQUENCE:
        return [value_from_native(item) for item in value.items()]
    if kind == _core.MAP:
        keys, values = (to_numpy(t).tolist() for t in value.items())
        return dict(zip(keys, values, strict=True))
    return to_numpy(value)
