"""Complex numbers as pairs (real, imaginary) in a last axis of 2, which is how ONNX has them.

`ComplexTensor` shows such a tensor with PyTorch's names and the complex shape. All it does is
arithmetic on the pairs, so gradients and traces are those of real tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.factories import cat, from_numpy, stack
from toolkit._tensor.shapes import as_shape, normalize_dim
from toolkit.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_OF_REAL = {dtypes.float32: dtypes.complex64, dtypes.float64: dtypes.complex128}


class ComplexTensor:
    """A complex view of a float tensor whose last axis holds (real, imaginary)."""

    __array_priority__ = 1000

    def __init__(self, pairs: Any) -> None:
        self._pairs: Any = pairs

    # -- what it is ----------------------------------------------------------------------------

    @property
    def shape(self) -> Any:
        """The shape without the axis of pairs."""
        return type(self._pairs.shape)(self._pairs.shape[:-1])

    @property
    def dtype(self) -> dtypes.DType:
        """complex64 or complex128; half precision counts as complex64."""
        return _OF_REAL.get(self._pairs.dtype, dtypes.complex64)

    @property
    def real(self) -> Tensor:
        """The real part."""
        return self._pairs.select(-1, 0)

    @property
    def imag(self) -> Tensor:
        """The imaginary part."""
        return self._pairs.select(-1, 1)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow back through it."""
        return bool(self._pairs.requires_grad)

    def dim(self) -> int:
        """The number of dimensions."""
        return int(self._pairs.dim()) - 1

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.dim()

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one dimension of it."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> Any:
        """The number of complex elements."""
        return self.shape.numel()

    def is_complex(self) -> bool:
        """True."""
        return True

    def numpy(self) -> np.ndarray[Any, Any]:
        """A complex array, copied."""
        pairs = self._pairs.numpy()
        return (pairs[..., 0] + 1j * pairs[..., 1]).astype(self.dtype.numpy)

    def tolist(self) -> Any:
        """Nested lists of Python complex numbers."""
        return self.numpy().tolist()

    def item(self) -> complex:
        """The one element."""
        return complex(self.numpy().item())

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        array = self.detach().numpy()
        return f"tensor({np.array2string(array, separator=', ', prefix='tensor(')})"

    # -- elementwise ---------------------------------------------------------------------------

    def abs(self) -> Tensor:
        """The magnitude."""
        return (self._pairs**2).sum(-1).sqrt()

    __abs__ = abs

    def angle(self) -> Tensor:
        """The phase in (-pi, pi]."""
        return self.imag.atan2(self.real)

    def conj(self) -> ComplexTensor:
        """The conjugate."""
        return complex_(self.real, -self.imag)

    def __neg__(self) -> ComplexTensor:
        return ComplexTensor(-self._pairs)

    def __add__(self, other: Any) -> ComplexTensor:
        o = as_complex(other, self)
        return complex_(self.real + o.real, self.imag + o.imag)

    __radd__ = __add__

    def __sub__(self, other: Any) -> ComplexTensor:
        return self + -as_complex(other, self)

    def __rsub__(self, other: Any) -> ComplexTensor:
        return -self + other

    def __mul__(self, other: Any) -> ComplexTensor:
        if _is_real(other):
            other = other.unsqueeze(-1) if isinstance(other, TensorBase) else other  # type: ignore[attr-defined]
            return ComplexTensor(self._pairs * other)
        o = as_complex(other, self)
        return complex_(
            self.real * o.real - self.imag * o.imag, self.real * o.imag + self.imag * o.real
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> ComplexTensor:
        if _is_real(other):
            other = other.unsqueeze(-1) if isinstance(other, TensorBase) else other  # type: ignore[attr-defined]
            return ComplexTensor(self._pairs / other)
        o = as_complex(other, self)
        return self * o.conj() / (o._pairs**2).sum(-1)

    def __rtruediv__(self, other: Any) -> ComplexTensor:
        return as_complex(other, self) / self

    def exp(self) -> ComplexTensor:
        """The exponential."""
        return polar(self.real.exp(), self.imag)

    # -- shape ---------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> ComplexTensor:
        parts = index if isinstance(index, tuple) else (index,)
        if any(p is Ellipsis for p in parts):
            parts = (*parts, slice(None))
        return ComplexTensor(self._pairs[parts])

    def reshape(self, *shape: Any) -> ComplexTensor:
        """The same elements under another shape."""
        return ComplexTensor(self._pairs.reshape(*as_shape(shape), 2))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> ComplexTensor:
        """Joins dimensions into one."""
        rank = self.dim()
        start, end = normalize_dim(start_dim, rank), normalize_dim(end_dim, rank)
        return ComplexTensor(self._pairs.flatten(start, end))

    def permute(self, *dims: Any) -> ComplexTensor:
        """Dimensions in another order."""
        rank = self.dim()
        order = [normalize_dim(d, rank) for d in as_shape(dims)]
        return ComplexTensor(self._pairs.permute(*order, rank))

    def transpose(self, dim0: int, dim1: int) -> ComplexTensor:
        """Swaps two dimensions."""
        rank = self.dim()
        return ComplexTensor(
            self._pairs.transpose(normalize_dim(dim0, rank), normalize_dim(dim1, rank))
        )

    def unsqueeze(self, dim: int) -> ComplexTensor:
        """Inserts a dimension of size 1."""
        return ComplexTensor(self._pairs.unsqueeze(normalize_dim(dim, self.dim(), 1)))

    def squeeze(self, dim: int) -> ComplexTensor:
        """Removes a dimension of size 1."""
        return ComplexTensor(self._pairs.squeeze(normalize_dim(dim, self.dim())))

    def narrow(self, dim: int, start: int, length: int) -> ComplexTensor:
        """`length` indices from `start` along a dimension."""
        return ComplexTensor(self._pairs.narrow(normalize_dim(dim, self.dim()), start, length))

    def roll(self, shifts: Any, dims: Any) -> ComplexTensor:
        """Moves elements along dimensions; those past the end come in at the start."""
        rank = self.dim()
        dims = dims if isinstance(dims, (tuple, list)) else (dims,)
        return ComplexTensor(self._pairs.roll(shifts, tuple(normalize_dim(d, rank) for d in dims)))

    def adjoint(self) -> ComplexTensor:
        """The conjugate with the last two dimensions swapped."""
        return self.transpose(-2, -1).conj()

    mH = property(adjoint)

    def istft(self, *args: Any, **kwargs: Any) -> Any:
        """See `toolkit.istft`."""
        from toolkit._tensor.spectral import istft

        return istft(self, *args, **kwargs)

    def sum(self, dim: Any = None, keepdim: bool = False) -> ComplexTensor:
        """The sum over dimensions; over all of them by default."""
        rank = self.dim()
        dims = range(rank) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
        axes = tuple(normalize_dim(d, rank) for d in dims)
        return ComplexTensor(self._pairs.sum(axes, keepdim) if axes else self._pairs)

    def detach(self) -> ComplexTensor:
        """The same values, without gradient."""
        return ComplexTensor(self._pairs.detach())

    def backward(self, gradient: ComplexTensor, **options: Any) -> None:
        """Adds gradients to the leaves, for the cotangent `gradient` (PyTorch's convention)."""
        self._pairs.backward(gradient._pairs, **options)


def _is_real(x: Any) -> bool:
    return isinstance(x, (TensorBase, int, float)) and not isinstance(x, ComplexTensor)


def as_complex(x: Any, like: ComplexTensor | None = None) -> ComplexTensor:
    """A complex tensor from one, a real tensor, a number or a complex array.

    Raises:
        DTypeError: it is neither.
    """
    if isinstance(x, ComplexTensor):
        return x
    if isinstance(x, TensorBase):
        value: Any = x
        return complex_(value, value * 0)
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        real = np.float64 if x.dtype == np.complex128 else np.float32
        return ComplexTensor(from_numpy(np.stack([x.real, x.imag], -1).astype(real)))
    if isinstance(x, (int, float, complex, np.number)):
        z = complex(x)
        dtype = np.float32 if like is None else like._pairs.dtype.numpy
        return ComplexTensor(from_numpy(np.array([z.real, z.imag], dtype)))
    raise DTypeError(f"complex: a tensor or a number is required, got {type(x).__name__}.")


def complex_(real: Any, imag: Any) -> ComplexTensor:
    """A complex tensor from its real and imaginary parts."""
    if real.dtype != imag.dtype:
        raise DTypeError(
            f"Expected object of scalar type {real.dtype.name} but got scalar type "
            f"{imag.dtype.name} for second argument"
        )
    if tuple(real.shape) != tuple(imag.shape):
        zero = real * 0 + imag * 0
        real, imag = real + zero, imag + zero
    return ComplexTensor(stack([real, imag], -1))


def polar(abs: Any, angle: Any) -> ComplexTensor:
    """A complex tensor from magnitudes and phases."""
    return complex_(abs * angle.cos(), abs * angle.sin())


def view_as_real(input: Any) -> Tensor:
    """The pairs of a complex tensor, in a last axis of 2."""
    if not isinstance(input, ComplexTensor):
        raise DTypeError("view_as_real is only supported for complex tensors")
    return input._pairs


def view_as_complex(input: Any) -> ComplexTensor:
    """A float tensor with a last axis of 2 as complex numbers."""
    if input._value.dtype not in FLOATS:
        raise DTypeError(f"view_as_complex is only supported for floats, got {input.dtype.name}.")
    if not input.dim() or input.shape[-1] != 2:
        raise ShapeError("Tensor must have a last dimension of size 2")
    return ComplexTensor(input)


def real(input: Any) -> Tensor:
    """The real part; a real tensor itself."""
    return input.real if isinstance(input, ComplexTensor) else input


def imag(input: Any) -> Tensor:
    """The imaginary part of a complex tensor."""
    if not isinstance(input, ComplexTensor):
        raise DTypeError("imag is not implemented for tensors with non-complex dtypes.")
    return input.imag


def angle(input: Any) -> Tensor:
    """The phase; of a real tensor 0, or pi where it is negative."""
    if isinstance(input, ComplexTensor):
        return input.angle()
    phase: Tensor = input.angle()
    return phase


def conj(input: Any) -> Any:
    """The conjugate; a real tensor itself."""
    return input.conj() if isinstance(input, ComplexTensor) else input


def is_complex(input: Any) -> bool:
    """Whether the element type is complex."""
    return bool(input.is_complex())


def join(parts: list[Any], dim: int) -> Any:
    """`cat` of real or of complex tensors."""
    if not isinstance(parts[0], ComplexTensor):
        return cat(parts, dim)
    d = normalize_dim(dim, parts[0].dim())
    return ComplexTensor(cat([p._pairs for p in parts], d))
