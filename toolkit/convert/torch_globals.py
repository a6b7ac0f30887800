"""The globals that a PyTorch file of weights may name, and what each builds here.

They are those that `torch.load(weights_only=True)` knows, without sparse and quantized tensors.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.complex import view_as_complex
from toolkit._tensor.shapes import row_major
from toolkit.convert.pickles import Callee, key
from toolkit.device import Device
from toolkit.errors import InvalidArgumentError
from toolkit.nn import Parameter
from toolkit.tensor import Size, from_numpy

STORAGES = {
    "FloatStorage": dtypes.float32, "DoubleStorage": dtypes.float64, "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16, "ByteStorage": dtypes.uint8, "CharStorage": dtypes.int8,
    "ShortStorage": dtypes.int16, "IntStorage": dtypes.int32, "LongStorage": dtypes.int64,
    "BoolStorage": dtypes.bool, "ComplexFloatStorage": dtypes.complex64,
    "ComplexDoubleStorage": dtypes.complex128, "UntypedStorage": dtypes.uint8,
}  # fmt: skip
_DTYPES = {t.name: t for t in (*dtypes.ALL, *dtypes.NARROW)}
_REFUSED = {
    "_rebuild_sparse_tensor": "sparse tensors", "_rebuild_qtensor": "quantized tensors",
    "_rebuild_meta_tensor_no_storage": "tensors without values",
    "_rebuild_nested_tensor": "nested tensors", "_rebuild_wrapper_subclass": "tensor subclasses",
    "_rebuild_sparse_csr_tensor": "sparse tensors",
}  # fmt: skip
_LEAST_BUDGET = 1 << 26
_MOST_PICKED = 1 << 16  # Elements of a view that is taken one by one.


class StorageType:
    """What stands for `torch.FloatStorage` and such."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: dtypes.DType) -> None:
        self.dtype = dtype


class Storage:
    """Elements of a file, in order; None in a pass that only looks what there is."""

    __slots__ = ("data", "dtype")

    def __init__(self, dtype: dtypes.DType, data: np.ndarray[Any, Any] | None) -> None:
        self.dtype, self.data = dtype, data


class Globals:
    """Finds what a pickle names, and builds tensors on the memory of the file.

    Args:
        file_bytes: how large the file is; what a hostile one would make of few bytes is refused.
    """

    def __init__(self, file_bytes: int) -> None:
        self._budget = max(8 * file_bytes, _LEAST_BUDGET)
        self._roots: dict[tuple[int, str], Any] = {}
        self._aligned: dict[tuple[int, str], np.ndarray[Any, Any]] = {}
        self._callees: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): _ordered,
            ("collections", "Counter"): lambda pairs=(): Counter(_ordered(list(pairs.items()))),
            ("builtins", "set"): lambda items=(): set(map(key, items)),
            ("builtins", "bytes"): lambda text=b"": _bytes(text),
            ("builtins", "bytearray"): lambda text=b"": bytearray(_bytes(text)),
            ("builtins", "complex"): lambda re, im: complex(float(re), float(im)),
            ("_codecs", "encode"): _encode,
            ("torch", "Size"): lambda dims: Size(map(_count, dims)),
            ("torch", "device"): _device,
            ("torch._utils", "_rebuild_tensor"): self.tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch._utils", "_rebuild_tensor_v3"): self.tensor_of_bytes,
            ("torch._utils", "_rebuild_parameter"): self.parameter,
            ("torch._utils", "_rebuild_parameter_with_state"): self.parameter,
            ("torch._tensor", "_rebuild_from_type_v2"): self.of_type,
        }

    def find(self, module: str, name: str) -> Any:
        """What stands for a global.

        Raises:
            InvalidArgumentError: a file of weights needs it not, so it is not read.
        """
        module = "builtins" if module == "__builtin__" else module
        if (module, name) in self._callees:
            return Callee(f"{module}.{name}", self._callees[module, name])
        if module in ("torch", "torch.storage") and name in STORAGES:
            return StorageType(STORAGES[name])
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in (("torch", "Tensor"), ("torch.nn.parameter", "Parameter")):
            return name
        if name in _REFUSED:
            raise InvalidArgumentError(
                f"dense tensors are required, got {_REFUSED[name]} ({module}.{name})."
            )
        raise InvalidArgumentError(
            f"weights and plain data are required, got the global {module}.{name}, which is not "
            "read: no code of a file is run. Save a state_dict instead of the object."
        )

    # -- tensors -------------------------------------------------------------------------------

    def tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False,
        hooks: Any = None, metadata: Any = None,
    ) -> Any:  # fmt: skip
        """A tensor on a part of a storage, whose bounds are checked first."""
        if not isinstance(storage, Storage):
            raise TypeError(f"a storage is required, got {type(storage).__name__}")
        if storage.data is None:
            return None
        data = storage.data.view(storage.dtype.numpy)
        return self._placed(data, storage.dtype, offset, size, stride, requires_grad)

    def tensor_of_bytes(
        self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
        dtype: Any, metadata: Any = None,
    ) -> Any:  # fmt: skip
        """A tensor of a type that has no storage class: the storage is of bytes."""
        if not isinstance(dtype, dtypes.DType) or not isinstance(storage, Storage):
            raise TypeError("a storage and an element type are required")
        if storage.data is None:
            return None
        raw = storage.data.view(np.uint8)
        whole = raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype.numpy)
        return self._placed(whole, dtype, offset, size, stride, requires_grad)

    def _placed(
        self, data: np.ndarray[Any, Any], dtype: dtypes.DType, offset: Any, size: Any, stride: Any,
        requires_grad: Any,
    ) -> Any:  # fmt: skip
        at, shape, steps = _count(offset), _counts(size), _counts(stride)
        if len(shape) != len(steps):
            raise ValueError(f"size {shape} and stride {steps} of different lengths")
        count = math.prod(shape)
        end = at + sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) + 1 if count else at
        if end > len(data):
            raise ValueError(
                f"a tensor of size {shape}, stride {steps} and offset {at} in a storage of "
                f"{len(data)} elements"
            )
        made = self._made(data, dtype, at, shape, steps)
        if requires_grad and (dtype.is_floating_point or dtype.is_complex):
            made.requires_grad_()
        return made

    def _made(
        self, data: np.ndarray[Any, Any], dtype: dtypes.DType, at: int, shape: list[int],
        steps: list[int],
    ) -> Any:  # fmt: skip
        if dtype.is_complex:
            data = data.view(np.float32 if dtype is dtypes.complex64 else np.float64)
            shape, steps = [*shape, 2], [*(2 * s for s in steps), 1]
            at *= 2
        root, count = self._root(data), math.prod(shape)
        if not count or all(
            n == 1 or s == r for n, s, r in zip(shape, steps, row_major(shape), strict=True)
        ):
            whole = at == 0 and count == len(data)
            made = from_numpy(root.reshape(shape)) if whole else self._part(root, at, shape)
        else:
            self._budget -= count * data.itemsize
            if self._budget < 0:
                raise ValueError(f"tensors of more bytes than the file accounts for, as {shape}")
            made = self._strided(root, at, shape, steps)
        return view_as_complex(made) if dtype.is_complex else made

    def _root(self, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A storage's elements, where they lie if that place is aligned."""
        if data.flags.aligned:
            return data
        key = (data.ctypes.data, data.dtype.str)
        if key not in self._aligned:
            self._budget -= data.nbytes
            if self._budget < 0:
                raise ValueError("storages of more bytes than the file accounts for")
            self._aligned[key] = data.copy()
        return self._aligned[key]

    def _part(self, data: np.ndarray[Any, Any], at: int, shape: Sequence[int]) -> Any:
        """A view of the tensor that is a whole storage, which all its parts share."""
        key = (data.ctypes.data, data.dtype.str)
        if key not in self._roots:
            self._roots[key] = from_numpy(data)
        return self._roots[key][at : at + math.prod(shape)].view(tuple(shape))

    def _strided(
        self, data: np.ndarray[Any, Any], at: int, shape: list[int], steps: list[int]
    ) -> Any:
        """A view with other strides; a copy if it is large, and neither permuted nor expanded."""
        rank = range(len(shape))
        sizes = [n if s else 1 for n, s in zip(shape, steps, strict=True)]
        order = sorted(rank, key=lambda i: (-steps[i], -shape[i]))
        if all(sizes[i] == 1 or steps[i] == math.prod(
            sizes[j] for j in order[k + 1 :]) for k, i in enumerate(order)):  # fmt: skip
            made = self._part(data, at, [sizes[i] for i in order])
            return made.permute([order.index(i) for i in rank]).expand(shape)
        if math.prod(shape) <= _MOST_PICKED:
            return self._part(data, 0, [len(data)]).as_strided(shape, steps, at)
        strides = [s * data.itemsize for s in steps]
        return from_numpy(np.lib.stride_tricks.as_strided(data[at:], shape, strides).copy())

    def parameter(self, data: Any, requires_grad: Any, hooks: Any = None, state: Any = None) -> Any:
        """A parameter; attributes of its own are left out."""
        return None if data is None else Parameter(data.detach(), bool(requires_grad))

    def of_type(self, make: Any, kind: Any, given: Any, state: Any = None) -> Any:
        """A tensor with attributes, which are left out."""
        if not isinstance(make, Callee) or kind not in ("Tensor", "Parameter"):
            raise TypeError("a function of tensors and a type of tensor are required")
        return make.call(*given)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"a count is required, got {value!r:.40}")
    return value


def _counts(values: Any) -> list[int]:
    if not isinstance(values, (tuple, list)) or len(values) > 16:
        raise ValueError("up to 16 counts are required")
    return [_count(v) for v in values]


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((key(k), v) for k, v in pairs)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"bytes are required, got {type(value).__name__}")
    return value


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError(f"latin1 text is required, got {encoding!r:.40}")
    return text.encode("latin1")


def _device(kind: Any, index: Any = None) -> Device:
    return Device(str(kind), None if index is None else _count(index))
