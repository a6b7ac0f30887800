"""Other libraries' doors to a tensor: numpy's `__array__`, DLPack, the array API standard."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.consts import core_array
from toolkit.device import device as as_device
from toolkit.errors import InvalidArgumentError
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

CPU = (1, 0)  # DLPack's kDLCPU, the only one.
_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")  # Each only adds to the one before.


def sharing(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor on the memory of a row-major array; of a read-only one until it is written to."""
    value = core_array(array)
    t = wrap(value)
    t._shared, t._frozen = array.flags.writeable, None if array.flags.writeable else value
    return t


def imported(source: Any, copy: builtins.bool | None) -> Tensor:
    """A tensor on the memory of an object with `__dlpack__`, or of a capsule of one."""
    if type(source).__name__ == "PyCapsule":
        return _by_core(source, copy)
    if not hasattr(source, "__dlpack__") or not hasattr(source, "__dlpack_device__"):
        raise TypeError(
            f"from_dlpack: an object with __dlpack__ is required, got {type(source).__name__}."
        )
    place = tuple(map(builtins.int, source.__dlpack_device__()))
    if place != CPU:
        raise BufferError(f"from_dlpack: memory of the CPU {CPU} is required, got device {place}.")
    try:
        array = np.from_dlpack(source)
    except (BufferError, RuntimeError) as error:
        if "dtype" not in str(error):
            raise BufferError(f"from_dlpack: {error}") from None
        return _by_core(source, copy)  # bfloat16, which numpy has not.
    if copy:
        return sharing(np.array(array, order="C"))
    plain = np.ascontiguousarray(array).reshape(array.shape)
    if copy is False and plain.ctypes.data != array.ctypes.data:
        raise InvalidArgumentError(
            f"from_dlpack: row-major memory is required without a copy, got strides "
            f"{array.strides} for shape {array.shape}."
        )
    return sharing(plain)


def _by_core(source: Any, copy: builtins.bool | None) -> Tensor:
    value = _core.Tensor.from_array(source)
    t = wrap(value.clone() if copy else value)
    t._shared = not copy
    return t


class Interchange(TensorBase):
    """Protocols that arrays of Python share."""

    def _array(self) -> np.ndarray[Any, Any]:
        """The value as an array that shares its memory, outside any bookkeeping."""
        value = self._concrete("numpy")
        array: np.ndarray[Any, Any] = value.numpy()
        kind = dtypes.BY_ONNX[value.dtype].numpy
        if array.dtype != kind:  # The core gives types of ml_dtypes as their bits.
            array = array.view(kind)
        if value is self._frozen:
            array.flags.writeable = False
        return array

    def numpy(self, *, force: builtins.bool = False) -> np.ndarray[Any, Any]:
        """An array that shares the memory of this tensor.

        Writes to a tensor reach the arrays taken from it, and the other way round; of a view it is
        numpy's view of the same memory. Of a tensor made from a read-only array it is read-only.

        Raises:
            InvalidArgumentError: the tensor requires grad (and not `force`), or is symbolic.
        """
        if self.requires_grad and not force:
            raise InvalidArgumentError(
                "Can't call numpy() on Tensor that requires grad. "
                "Use tensor.detach().numpy() instead."
            )
        return self._shared_array()

    def _shared_array(self) -> np.ndarray[Any, Any]:
        """The memory itself; from now on it is seen by others, so writes go into it."""
        if self._base is None:
            self._shared = self._value is not self._frozen
            return self._array()
        self._concrete("numpy")
        base = self._base._shared_array()
        array: np.ndarray[Any, Any] = self._view.array(base)
        return array

    def __array__(
        self, dtype: Any = None, copy: builtins.bool | None = None
    ) -> np.ndarray[Any, Any]:
        """An array for `numpy.asarray`; it shares memory unless a copy is asked for or needed."""
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise InvalidArgumentError(
                    f"__array__: a copy is required from {array.dtype} to {np.dtype(dtype)}, got "
                    "copy=False."
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[builtins.int, builtins.int] | None = None,
        dl_device: tuple[Any, builtins.int] | None = None,
        copy: builtins.bool | None = None,
    ) -> Any:
        """A capsule that shares the memory, or owns a copy of it.

        Args:
            stream: None, as there are none on a CPU.
            max_version: the newest DLPack that the consumer reads; without it, or below (1, 0),
                the capsule has no flags, so that read-only memory cannot be shared.
            dl_device: where it shall be: None or (1, 0), the CPU.
            copy: True always copies, False and None never.

        Raises:
            BufferError: it requires grad, has a type that DLPack lacks, or shall go elsewhere.
        """
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        if stream is not None:
            raise BufferError(f"__dlpack__: stream None is required on a CPU, got {stream!r}.")
        if dl_device is not None and tuple(map(builtins.int, dl_device)) != CPU:
            raise BufferError(f"__dlpack__: dl_device {CPU} is required, got {tuple(dl_device)}.")
        if self.dtype not in dtypes.ALL:
            raise BufferError(f"__dlpack__: DLPack has no element type {self.dtype.name}.")
        value = self._concrete("__dlpack__")
        if copy:
            return value.clone().to_dlpack().__dlpack__(max_version=max_version)
        array = self._shared_array()
        if array.dtype != dtypes.bfloat16.numpy:
            return array.__dlpack__(max_version=max_version)
        if not (array.flags.writeable and array.flags.c_contiguous):
            raise BufferError(
                "__dlpack__: bfloat16 is shared only where its elements lie in order and can be "
                "written, got a strided or read-only tensor. Use copy=True."
            )
        return core_array(array).to_dlpack().__dlpack__(max_version=max_version)

    def __dlpack_device__(self) -> tuple[builtins.int, builtins.int]:
        """(device type 1: CPU, 0)."""
        return CPU

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        """`toolkit.array_api`, the functions of the Python array API standard.

        Raises:
            InvalidArgumentError: another version of the standard.
        """
        from toolkit import array_api

        if api_version not in (None, *_VERSIONS):
            raise InvalidArgumentError(
                f"__array_namespace__: a version among {list(_VERSIONS)} is required, got "
                f"{api_version!r}."
            )
        return array_api

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """On another device: there is only "cpu".

        Raises:
            InvalidArgumentError: another one, or a stream.
        """
        if stream is not None:
            raise InvalidArgumentError(
                f"to_device: stream None is required on a CPU, got {stream!r}."
            )
        as_device(device)
        return self  # type: ignore[return-value]
