"""Strides, storage, and the methods that change a tensor's own shape in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import dtypes
from toolkit._tensor import formats
from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.inplace_shape import moved
from toolkit._tensor.shapes import _symbolic, as_shape, dims, normalize_dim, row_major
from toolkit._tensor.state import STATE
from toolkit._tensor.strided import Reinterpreted, Strided, Unfolded, check_window
from toolkit._tensor.views import Alias, make_view, reshape
from toolkit.errors import DTypeError, InvalidArgumentError, OutOfBoundsError, ShapeError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


class Layout(TensorBase):
    """Where PyTorch's tensor would have its elements; our memory itself is always row-major."""

    def stride(self: Any, dim: int | None = None) -> Any:
        """PyTorch's strides, in elements."""
        strides = None if self._base is None else self._view.strides(self._base)
        if strides is None:
            strides = row_major(self.shape)
        return strides if dim is None else strides[normalize_dim(dim, len(strides))]

    def storage_offset(self: Any) -> int:
        """Where the first element lies in the storage of the tensor that this is a view of."""
        if self._base is None:
            return 0
        return int(self._base.storage_offset() + self._view.start(self._base))

    def data_ptr(self: Any) -> int:
        """The address of the first element: of a view, inside the memory of its base."""
        root = self._root()
        start = root._concrete("data_ptr").data_ptr
        offset = 0 if root is self else self.storage_offset()
        return int(start + offset * self.dtype.itemsize)

    def is_set_to(self: Any, tensor: Any) -> bool:
        """Whether both are the same elements of the same memory."""
        return (
            self.data_ptr() == tensor.data_ptr()
            and self.shape == tensor.shape
            and self.stride() == tensor.stride()
        )

    def is_contiguous(self: Any, memory_format: Any = None) -> bool:
        """Whether PyTorch's tensor would be contiguous, in `memory_format` if given."""
        if memory_format is not None and formats.checked(memory_format).order:
            return formats.in_format(self, memory_format)
        if self._base is None:
            return True
        shape = self.shape
        if any(map(_symbolic, shape)) or any(map(_symbolic, dims(self._root()))):
            return True
        strides = self._view.strides(self._base)
        if strides is None or 0 in shape:
            return True
        return all(
            n == 1 or s == r for n, s, r in zip(shape, strides, row_major(shape), strict=True)
        )

    def contiguous(self: Any, memory_format: Any = None) -> Tensor:
        """Itself if contiguous, else a copy."""
        if memory_format is not None and formats.checked(memory_format).order:
            return formats.laid_out(self, memory_format)
        return self if self.is_contiguous() else self.clone()

    def as_strided(self: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
        """A view with any sizes and strides (in elements) over this tensor's storage.

        Raises:
            OutOfBoundsError: it would reach beyond the storage.
        """
        shape, steps = as_shape((size,)), as_shape((stride,))
        root = self._root()
        where = self.storage_offset() if storage_offset is None else storage_offset
        if any(map(_symbolic, (*shape, *steps, *root.shape))):
            raise InvalidArgumentError(
                "as_strided: known sizes and strides are required, got symbolic ones. Hint: "
                "unfold(), diagonal() and slices take them."
            )
        if len(shape) != len(steps):
            raise ShapeError(
                f"mismatch in length of strides and shape: {list(shape)} and {list(steps)}"
            )
        if min((*shape, *steps), default=0) < 0 or where < 0:
            raise InvalidArgumentError(
                "as_strided: sizes, strides and the offset must not be negative, got "
                f"{list(shape)}, {list(steps)} and {where}."
            )
        last = where + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        if 0 not in shape and last >= root.numel():
            raise OutOfBoundsError(
                f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {where} "
                f"require {last + 1} elements, which are out of bounds for storage of "
                f"{root.numel()} elements"
            )
        t = self
        while t._base is not None:
            if isinstance(t._view, Alias):  # No gradient passes to the storage's owner.
                root = root.detach()
                break
            t = t._base
        return make_view(root, Strided(shape, steps, where))

    def unfold(self: Any, dimension: int, size: int, step: int) -> Tensor:
        """Windows of `size` every `step` along a dimension, as a view; their places come last."""
        d = normalize_dim(dimension, self.dim())
        if not self.dim():
            return self.reshape(1).unfold(0, size, step).squeeze(0)
        check_window(self.shape[d], size, step, d)
        return make_view(self, Unfolded(d, size, step))

    def view(self: Any, *shape: Any, dtype: Any = None) -> Tensor:
        """The same elements under another shape, sharing them; -1 is inferred.

        `view(dtype)` takes the same bytes as another element type.

        Raises:
            ShapeError: the sizes do not fit, or PyTorch's tensor could not share its memory.
        """
        if dtype is None and len(shape) == 1 and isinstance(shape[0], dtypes.DType):
            dtype = shape[0]
        if dtype is None:
            return reshape(self, as_shape(shape), only_view=True)
        return _view_type(self, dtype)

    def set_(self: Any, *source: Any, **kwargs: Any) -> Tensor:
        """Not offered: tensors own values, not storages.

        Raises:
            InvalidArgumentError: always; it says what to use.
        """
        raise InvalidArgumentError(
            "set_: tensors here have no storage that another may take. Assign to `.data`, or use "
            "copy_() where the shapes are equal."
        )

    as_strided_ = moved("as_strided")


def _view_type(x: Any, dtype: dtypes.DType) -> Any:
    """See `Layout.view`."""
    own = x.dtype
    if own == dtype:
        return reshape(x, tuple(x.shape), only_view=True)
    a, b = own.itemsize, dtype.itemsize
    if own.is_complex or dtype.is_complex or max(a, b) > 8:
        raise DTypeError(f"view: real element types are required, got {own.name} and {dtype.name}.")
    if x.requires_grad and STATE.grad and dtype.onnx in FLOATS:
        raise DTypeError(
            f"view: bytes of {own.name} taken as {dtype.name} have no gradient. Hint: detach() "
            "first, or to() to convert the numbers."
        )
    if a != b:
        if not x.dim():
            raise ShapeError(
                f"self.dim() cannot be 0 to view {own.name} as {dtype.name} (different element "
                "sizes)"
            )
        n = x.shape[-1]
        if a < b and (_symbolic(n) or n % (b // a)):
            raise ShapeError(
                f"self.size(-1) must be divisible by {b // a} to view {own.name} as {dtype.name} "
                f"(different element sizes), but got {n}"
            )
        if x.stride(-1) != 1 and not _symbolic(n) and n > 1:
            raise ShapeError(
                f"self.stride(-1) must be 1 to view {own.name} as {dtype.name} (different element "
                f"sizes), but got {x.stride(-1)}"
            )
    return make_view(x.detach(), Reinterpreted(own.onnx, dtype.onnx, (a, b)))
