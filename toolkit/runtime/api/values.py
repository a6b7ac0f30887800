"""`OrtValue`: a value that stays in the runtime's form between runs."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.runtime import _core
from toolkit.runtime.api.describe import described, type_string
from toolkit.runtime.api.devices import require_cpu
from toolkit.runtime.api.refused import refuse
from toolkit.runtime.values import to_native, value_from_native


class OrtValue:
    """A tensor, a sequence, a map, or an optional without a value, in the runtime's memory."""

    def __init__(self, tensor: _core.Tensor | OrtValue, *_: Any) -> None:
        self._tensor: _core.Tensor = tensor._tensor if isinstance(tensor, OrtValue) else tensor

    @staticmethod
    def ortvalue_from_numpy(
        array: Any, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """Wraps a numpy array without copying it.

        Raises:
            InvalidArgumentError: a device other than the CPU is asked for.
        """
        require_cpu(device_type, "ortvalue_from_numpy")
        return OrtValue(to_native(array))

    @staticmethod
    def ortvalue_from_numpy_with_onnx_type(data: Any, /, onnx_element_type: int) -> OrtValue:
        """Wraps an array whose items are the bits of an ONNX type, as uint16 those of bfloat16.

        Raises:
            DTypeError: the items are not as large as the type's.
        """
        kind = dtypes.BY_ONNX[onnx_element_type]
        array = np.ascontiguousarray(data)
        if array.dtype.itemsize != np.dtype(kind.numpy).itemsize:
            raise DTypeError(
                f"ortvalue_from_numpy_with_onnx_type: items of the size of {kind.name} are "
                f"required, got {array.dtype}."
            )
        return OrtValue(to_native(array.view(kind.numpy)))

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int],
        element_type: Any = np.float32,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
        memory_info: Any = None,
    ) -> OrtValue:
        """Memory for a tensor, not filled; the type is numpy's or the number of ONNX's."""
        require_cpu(device_type, "ortvalue_from_shape_and_type")
        return OrtValue(to_native(np.empty(tuple(shape), numpy_type(element_type))))

    @staticmethod
    def ort_value_from_sparse_tensor(sparse_tensor: Any) -> OrtValue:
        """Refused: there are no sparse tensors."""
        refuse("ort_value_from_sparse_tensor", "Wrap a dense array.")

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """Wraps what gives DLPack, as an array or a tensor of another library."""
        return cls(to_native(np.from_dlpack(data)))

    def __dlpack__(self, **how: Any) -> Any:
        return self.numpy().__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def numpy(self) -> Any:
        """An array over the value's memory; a list, dict or None for what is no tensor."""
        return value_from_native(self._tensor)

    def shape(self) -> list[int]:
        """The dimensions."""
        return list(self._tensor.shape)

    def data_type(self) -> str:
        """Onnxruntime's type string, as "tensor(float)"."""
        return type_string(described(self._tensor))

    def element_type(self) -> int:
        """The number of the element type in ONNX."""
        return int(self._tensor.dtype)

    def device_name(self) -> str:
        """Where the value lives."""
        return "cpu"

    def has_value(self) -> bool:
        """False for an optional without a value."""
        return bool(self._tensor.dtype != _core.NONE)

    def is_tensor(self) -> bool:
        """Whether it is a tensor."""
        return self._tensor.dtype not in (_core.SEQUENCE, _core.MAP, _core.NONE)

    def is_tensor_sequence(self) -> bool:
        """Whether it is a sequence."""
        return bool(self._tensor.dtype == _core.SEQUENCE)

    def is_sparse_tensor(self) -> bool:
        """There are none."""
        return False

    def as_sparse_tensor(self) -> Any:
        """Refused: there are no sparse tensors."""
        refuse("as_sparse_tensor", "Use `numpy()`.")

    def tensor_size_in_bytes(self) -> int:
        """The bytes of a tensor."""
        return int(self._tensor.nbytes)

    def data_ptr(self) -> int:
        """The address of a tensor's elements."""
        return int(self.numpy().ctypes.data)

    def update_inplace(self, data: Any) -> None:
        """Copies an array into the value's memory.

        Raises:
            DTypeError: its element type is another.
            ShapeError: its shape is another.
        """
        copy_into(self, np.asarray(data), "update_inplace")

    def _get_c_value(self) -> OrtValue:
        return self


class OrtValueVector(list[OrtValue]):
    """A list of values."""

    push_back = list.append


def numpy_type(element_type: Any) -> Any:
    """The numpy type of one of numpy's or of a number of ONNX's.

    Raises:
        InvalidArgumentError: ONNX has no such number.
    """
    if not isinstance(element_type, int):
        return np.dtype(element_type)
    if element_type not in dtypes.BY_ONNX:
        raise InvalidArgumentError(f"an ONNX element type is required, got {element_type}.")
    return dtypes.BY_ONNX[element_type].numpy


def over_memory(address: int, shape: Sequence[int], element_type: Any) -> np.ndarray[Any, Any]:
    """An array over memory that the caller keeps."""
    kind = np.dtype(numpy_type(element_type))
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    bits = (ctypes.c_char * size).from_address(address) if size else b""
    array: np.ndarray[Any, Any] = np.frombuffer(bits, np.uint8).view(kind).reshape(tuple(shape))
    return array


def copy_into(target: OrtValue, array: np.ndarray[Any, Any], where: str) -> None:
    """Copies into a value's memory.

    Raises:
        DTypeError: The element types differ.
        ShapeError: The shapes differ.
    """
    memory = target.numpy()
    if array.dtype != memory.dtype:
        raise DTypeError(f"{where}: {memory.dtype} is required, got {array.dtype}.")
    if array.shape != memory.shape:
        raise ShapeError(f"{where}: the shape {memory.shape} is required, got {array.shape}.")
    if memory.dtype == object:
        target._tensor = to_native(array)
    elif not memory.flags.writeable:
        raise InvalidArgumentError(f"{where}: memory that can be written is required.")
    else:
        memory[...] = array


def copy_tensors(src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: Any = None) -> None:
    """Copies each value into the memory of another."""
    for a, b in zip(src, dst, strict=True):
        copy_into(b, a.numpy(), "copy_tensors")
