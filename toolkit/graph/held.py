"""`HeldTensor`: an array as a tensor of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir._core import TensorBase

Array = np.ndarray[Any, Any]


class HeldTensor(TensorBase):
    """As `ir.Tensor` of an array whose elements lie in memory as in a file.

    It finds nothing out of the array, which takes `ir.Tensor` longer than the rest of making one.
    """

    __slots__ = ("_array", "_dtype", "_shape")

    def __init__(
        self, array: Array, dtype: ir.DataType, shape: ir.Shape, name: str | None = None
    ) -> None:
        super().__init__(name)
        self._array, self._dtype, self._shape = array, dtype, shape

    @property
    def dtype(self) -> ir.DataType:  # type: ignore[override]
        """The element type."""
        return self._dtype

    @property
    def shape(self) -> ir.Shape:  # type: ignore[override]
        """The shape, which does not change."""
        return self._shape

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self._array.nbytes

    @property
    def raw(self) -> Array:
        """The array."""
        return self._array

    def numpy(self) -> Array:
        """The array."""
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self._array.__array__(dtype)

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self._array.__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def tobytes(self) -> bytes:
        """The elements as they lie in a file."""
        return self._array.tobytes()

    def __repr__(self) -> str:
        return f"{self._repr_base()}({self._array!r}, name={self.name!r})"


_PLAIN = {
    np.dtype(t.numpy()): t
    for t in ir.DataType
    if t.name not in ("UNDEFINED", "STRING", "COMPLEX64", "COMPLEX128") and t.bitwidth % 8 == 0
}


def held(array: Array, name: str | None = None) -> ir.TensorProtocol:
    """An array as a tensor."""
    dtype = _PLAIN.get(array.dtype)
    if dtype is None:
        return ir.tensor(array, name=name)
    return HeldTensor(array, dtype, ir.Shape(array.shape, frozen=True), name)


def initializer(name: str, array: Array) -> ir.Value:
    """A value that holds an array, in no graph yet."""
    tensor = held(array, name)
    shape = ir.Shape(array.shape)
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
