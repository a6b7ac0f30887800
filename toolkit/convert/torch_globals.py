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
from toolkit.convert.pickles import Callee, key
from toolkit.device import Device
from toolkit.errors import InvalidArgumentError
from toolkit.nn import Parameter
from toolkit.tensor import Size, from_numpy

_STORAGES = {
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
        self._callees: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): _ordered,
            ("collections", "Counter"): lambda pairs=(): Counter(_ordered(list(pairs.items()))),
            ("builtins", "set"): lambda items=(): set(map(key, items)),
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
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return StorageType(_STORAGES[name])
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
        return self._made(data[at:end], dtype, shape, steps, bool(requires_grad))

    def _made(
        self, data: np.ndarray[Any, Any], dtype: dtypes.DType, shape: Sequence[int],
        steps: Sequence[int], requires_grad: bool,
    ) -> Any:  # fmt: skip
        width = data.itemsize
        strides = [s * width for s in steps] if math.prod(shape) else None
        view: Any = np.ndarray(shape, data.dtype, data.view(np.uint8), 0, strides)
        if not (view.flags.c_contiguous and view.flags.aligned):
            self._budget -= view.size * width
            if self._budget < 0:
                raise ValueError(f"tensors of more bytes than the file accounts for, as {shape}")
            view = np.array(view, order="C")
        if dtype.is_complex:
            part = np.float32 if dtype is dtypes.complex64 else np.float64
            return view_as_complex(from_numpy(view.view(part).reshape(*shape, 2)))
        made = from_numpy(view)
        return made.requires_grad_() if requires_grad and dtype.is_floating_point else made

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
