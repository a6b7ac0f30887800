"""To Python numbers and other element types; copies and detached views."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor import formats
from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.interchange import Interchange
from toolkit._tensor.promote import cast
from toolkit._tensor.state import STATE
from toolkit._tensor.views import IDENTITY, Alias, make_view
from toolkit.device import Device
from toolkit.device import device as as_device
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply1
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


_DETACH = Alias("Detach")


def _converts(name: str, code: builtins.int, doc: str) -> Any:
    def method(self: Any, memory_format: Any = None) -> Any:
        made = cast(self, code)
        return made if memory_format is None else formats.laid_out(made, memory_format)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    return method


def _complex(x: Any) -> Any:
    from toolkit._tensor.complex import as_complex

    return as_complex(x)


class Conversion(Interchange):
    """Conversions by PyTorch's names."""

    @staticmethod
    def _from_native(value: Any) -> Tensor:
        """A tensor of a core value, without a copy."""
        return wrap(value)

    @property
    def device(self) -> Device:
        """Where the value lives."""
        return as_device("cpu")

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether it lives on a CUDA device."""
        return False

    @property
    def layout(self) -> Any:
        """Always `toolkit.strided`."""
        return formats.strided

    @property
    def itemsize(self) -> builtins.int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def element_size(self) -> builtins.int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> builtins.int:
        """Bytes of all elements."""
        return self._concrete("nbytes").nbytes

    def is_floating_point(self) -> builtins.bool:
        """Whether the element type is a float."""
        return self.dtype.is_floating_point

    def is_complex(self) -> builtins.bool:
        """Whether the element type is complex."""
        return self.dtype.is_complex

    def tolist(self) -> Any:
        """Nested lists of Python numbers; a number for a 0-dim tensor."""
        array = self._array()
        return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()

    def item(self) -> Any:
        """The only element as a Python number.

        Raises:
            ShapeError: there is not exactly one.
        """
        if STATE.trace is None and self._base is None and type(self._value) is _core.Tensor:
            number = self._value.item()
            if number is not None:
                return number
        value = self._concrete("item")
        if value.size != 1:
            raise ShapeError(f"a Tensor with {value.size} elements cannot be converted to Scalar")
        return self._array().item()

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

    def __int__(self) -> builtins.int:
        return builtins.int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> builtins.int:
        value = self._concrete("index")
        if value.size != 1 or self.dtype.is_floating_point:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return builtins.int(self.item())

    def __bool__(self) -> builtins.bool:
        value = self._concrete("bool")
        if value.size != 1:
            raise ShapeError(
                "Boolean value of Tensor with "
                f"{'no values' if not value.size else 'more than one value'} is ambiguous"
            )
        return builtins.bool(self._array().item())

    def __format__(self, spec: str) -> str:
        if builtins.type(self._value) is _core.Tensor and self.dim() == 0:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __repr__(self) -> str:
        from toolkit._tensor.printing import to_string

        name = type(self).__name__
        return to_string(self, "tensor(" if name in ("Tensor", "Parameter") else f"{name}(")

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Any:
        if not self.is_leaf:
            raise InvalidArgumentError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment."
            )
        if id(self) in memo:
            return memo[id(self)]
        copy: Any = object.__new__(type(self))
        memo[id(self)] = copy
        for name, value in self.__dict__.items():
            if name not in (
                "_value",
                "_node",
                "_base",
                "_view",
                "_seen",
                "_version",
                "_grad",
                "_shared",
                "_frozen",
                "_initial",
            ):
                copy.__dict__[name] = value
        copy._value = self._concrete("deepcopy").clone()
        if self.requires_grad:
            copy.requires_grad_()
        if self._grad is not None:
            copy._grad = self._grad.__deepcopy__(memo)
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (_rebuild, (type(self), self._array().copy(), self.dtype, self.requires_grad))

    # -- element type and place ----------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Another element type or device: `to(dtype)`, `to(device, dtype)`, `to(tensor)`.

        Keyword `memory_format` lays the elements out, see `toolkit._tensor.formats`; a complex
        type gives a `ComplexTensor`.
        """
        dtype = kwargs.get("dtype")
        place = kwargs.get("device")
        for a in args:
            if isinstance(a, dtypes.DType):
                dtype = a
            elif isinstance(a, TensorBase):
                dtype = a.dtype
            elif isinstance(a, (str, Device)):
                place = a
        if place is not None:
            as_device(place)
        if dtype is not None and dtype.is_complex:
            return self.cdouble() if dtype is dtypes.complex128 else self.cfloat()
        out: Any = self if dtype is None else cast(self, dtype.onnx)
        if kwargs.get("memory_format") is not None:
            out = formats.laid_out(out, kwargs["memory_format"])
        return out.clone() if kwargs.get("copy") and out is self else out

    def type(self, dtype: Any = None) -> Any:
        """The name of the element type's class, or the tensor in another type.

        Args:
            dtype: an element type, a typed class (`toolkit.LongTensor`), or the name of one.

        Raises:
            InvalidArgumentError: a name of no type.
        """
        from toolkit._tensor.legacy import named_type, type_name

        return type_name(self.dtype) if dtype is None else self.to(named_type(dtype))

    def type_as(self, other: Any) -> Tensor:
        """In the element type of `other`."""
        return cast(self, other._value.dtype)

    float = _converts("float", 1, "As float32.")
    double = _converts("double", 11, "As float64.")
    half = _converts("half", 10, "As float16.")
    bfloat16 = _converts("bfloat16", 16, "As bfloat16.")
    int = _converts("int", 6, "As int32.")
    long = _converts("long", 7, "As int64.")
    short = _converts("short", 5, "As int16.")
    byte = _converts("byte", 2, "As uint8.")
    char = _converts("char", 3, "As int8.")
    bool = _converts("bool", 9, "As bool: whether elements are not zero.")

    def cfloat(self, memory_format: Any = None) -> Any:
        """As complex64."""
        return _complex(self.float())

    def cdouble(self, memory_format: Any = None) -> Any:
        """As complex128."""
        return _complex(self.double())

    def chalf(self, memory_format: Any = None) -> Any:
        """Complex numbers of half precision."""
        return _complex(self.half())

    def cpu(self) -> Tensor:
        """On the CPU."""
        return self  # type: ignore[return-value]

    def cuda(self, device: Any = None) -> Tensor:
        """On a CUDA device."""
        return self.to("cuda")

    def pin_memory(self) -> Tensor:
        """Itself: memory is never paged for a device here."""
        return self  # type: ignore[return-value]

    def clone(self, *, memory_format: Any = None) -> Tensor:
        """A copy that gradients pass through."""
        if memory_format is not None:
            return formats.laid_out_as_made(self.clone(), memory_format)
        out = apply1(IDENTITY, self)
        if type(out._value) is _core.Tensor and out._value.data_ptr == self._value.data_ptr:
            fresh = out._value.clone()
            if out._node is not None:
                out._node.outputs = (fresh,)
            out._value = fresh
        return out

    def detach(self) -> Tensor:
        """The same elements, outside the tape; writes reach this tensor."""
        return make_view(self, _DETACH)

    def detach_(self) -> Tensor:
        """Takes this tensor off the tape."""
        if self._base is not None:
            raise InvalidArgumentError("Can't detach views in-place. Use detach() instead.")
        self._node, self._out = None, 0
        return self  # type: ignore[return-value]

    @property
    def data(self) -> Tensor:
        """Like `detach()`; assigning it replaces the value, outside the tape."""
        return make_view(self, _DETACH)

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, TensorBase):
            raise DTypeError(f"data: a Tensor is required, got {type(value).__name__}.")
        root: Any = self._root()
        self._value = value._get()
        root._version += 1
        self._seen = root._version


def _rebuild(cls: Any, array: Any, dtype: dtypes.DType, requires_grad: builtins.bool) -> Any:
    from toolkit._tensor.consts import core_array

    t: Any = object.__new__(cls)
    t._value = core_array(np.ascontiguousarray(array).reshape(array.shape))
    return t.requires_grad_(requires_grad)
