"""Methods that change the shape or pick parts: views as in PyTorch, and joins."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.shapes import (
    _symbolic,
    as_shape,
    normalize_dim,
    row_major,
    shape_operand,
    swapped,
)
from toolkit._tensor.views import (
    Expanded,
    Permuted,
    Sliced,
    Squeezed,
    Unsqueezed,
    make_view,
    reshape,
)
from toolkit.errors import InvalidArgumentError, OutOfBoundsError, ShapeError
from toolkit.ops.dispatch import apply2, handle, quick

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


class Shaping(TensorBase):
    """Shape methods."""

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one dimension of it."""
        shape = self.shape
        return shape if dim is None else shape[normalize_dim(dim, len(shape))]

    def numel(self) -> Any:
        """The number of elements."""
        return self.shape.numel()

    nelement = numel

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return shape[0]

    def stride(self, dim: int | None = None) -> Any:
        """PyTorch's strides in elements; our memory itself is always row-major."""
        strides = None if self._base is None else self._view.strides(self._base)
        if strides is None:
            strides = row_major(self.shape)
        return strides if dim is None else strides[dim]

    def is_contiguous(self) -> bool:
        """Whether PyTorch's tensor would be contiguous."""
        if self._base is None:
            return True
        shape = self.shape
        if any(_symbolic(d) for d in shape):
            return True
        strides = self._view.strides(self._base)
        if strides is None or 0 in shape:
            return True
        return all(
            n == 1 or s == r for n, s, r in zip(shape, strides, row_major(shape), strict=True)
        )

    def contiguous(self) -> Tensor:
        """Itself if contiguous, else a copy."""
        return self if self.is_contiguous() else self.clone()  # type: ignore[attr-defined,return-value]

    def view(self, *shape: Any) -> Tensor:
        """The same elements under another shape, sharing them; -1 is inferred.

        Raises:
            ShapeError: the sizes do not fit, or PyTorch's tensor could not share its memory.
        """
        return reshape(self, as_shape(shape), only_view=True)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements under another shape: a view where PyTorch gives one, else a copy."""
        return reshape(self, as_shape(shape))

    def view_as(self, other: Any) -> Tensor:
        """`view(other.shape)`."""
        return self.view(other.shape)

    def reshape_as(self, other: Any) -> Tensor:
        """`reshape(other.shape)`."""
        return self.reshape(other.shape)

    def ravel(self) -> Tensor:
        """One dimension."""
        return self.reshape(-1)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Joins the dimensions from `start_dim` to `end_dim` into one."""
        shape = self.shape
        start, end = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
        if start > end:
            raise InvalidArgumentError(
                "flatten() has invalid args: start_dim cannot come after end_dim"
            )
        if not shape:
            return self.reshape(1)
        if start == end:
            return self  # type: ignore[return-value]
        middle = shape[start : end + 1]
        joined: Any = -1 if any(_symbolic(d) for d in middle) else middle.numel()
        return self.reshape(*shape[:start], joined, *shape[end + 1 :])

    def unflatten(self, dim: int, sizes: Any) -> Tensor:
        """Splits one dimension into `sizes`; one of them may be -1."""
        shape = self.shape
        d = normalize_dim(dim, len(shape))
        sizes = list(as_shape((sizes,)))
        if -1 in sizes and not _symbolic(shape[d]):
            rest = -1
            for s in sizes:
                rest *= s
            sizes[sizes.index(-1)] = shape[d] // rest if rest else 0
        return self.reshape(*shape[:d], *sizes, *shape[d + 1 :])

    def squeeze(self, dim: Any = None) -> Tensor:
        """Removes dimensions of size 1 (all, or those named)."""
        shape = self.shape
        if dim is None:
            drop = {i for i, n in enumerate(shape) if not _symbolic(n) and n == 1}
        else:
            dims = dim if isinstance(dim, (tuple, list)) else (dim,)
            named = {normalize_dim(d, len(shape)) for d in dims}
            drop = {d for d in named if shape and not _symbolic(shape[d]) and shape[d] == 1}
        return make_view(self, Squeezed("Squeeze", tuple(sorted(drop))))

    def unsqueeze(self, dim: int) -> Tensor:
        """Inserts a dimension of size 1."""
        rank = self.dim()
        d = normalize_dim(dim, rank, 1) if rank else normalize_dim(dim, 1)
        return make_view(self, Unsqueezed("Unsqueeze", (d,)))

    def permute(self, *dims: Any) -> Tensor:
        """Dimensions in another order."""
        rank = self.dim()
        perm = tuple(normalize_dim(d, rank) for d in as_shape(dims))
        if sorted(perm) != list(range(rank)):
            raise InvalidArgumentError(
                f"permute(dims): each of the {rank} dimensions is required once, got {list(perm)}."
            )
        return make_view(self, Permuted("Permute", perm))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Swaps two dimensions."""
        return make_view(self, Permuted("Transpose", swapped(self.dim(), dim0, dim1)))

    swapaxes = swapdims = transpose

    def t(self) -> Tensor:
        """The transpose of a matrix; vectors stay as they are."""
        rank = self.dim()
        if rank > 2:
            raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {rank}D")
        return make_view(self, Permuted("T", tuple(reversed(range(rank)))))

    @property
    def T(self) -> Tensor:
        """All dimensions reversed."""
        return make_view(self, Permuted("Permute", tuple(reversed(range(self.dim())))))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions swapped."""
        if self.dim() < 2:
            raise ShapeError(
                "tensor.mT is only supported on matrices or batches of matrices. "
                f"Got {self.dim()}-D tensor."
            )
        return self.transpose(-2, -1)

    def movedim(self, source: Any, destination: Any) -> Tensor:
        """Moves dimensions to other places."""
        rank = self.dim()
        src = [
            normalize_dim(d, rank)
            for d in (source if isinstance(source, (tuple, list)) else [source])
        ]
        dst = [
            normalize_dim(d, rank)
            for d in (destination if isinstance(destination, (tuple, list)) else [destination])
        ]
        perm = [d for d in range(rank) if d not in src]
        for d, s in sorted(zip(dst, src, strict=True)):
            perm.insert(d, s)
        return self.permute(*perm)

    moveaxis = movedim

    def expand(self, *sizes: Any) -> Tensor:
        """Repeats dimensions of size 1 without copying (as seen by the user); -1 keeps one."""
        shape, sizes = self.shape, as_shape(sizes)
        lead = len(sizes) - len(shape)
        if lead < 0:
            raise ShapeError(
                f"expand({list(shape)}, size={list(sizes)}): the number of sizes provided "
                f"({len(sizes)}) must be greater or equal to the number of dimensions in the "
                f"tensor ({len(shape)})"
            )
        target: list[Any] = []
        for i, n in enumerate(sizes):
            old = shape[i - lead] if i >= lead else 1
            if not _symbolic(n) and n == -1:
                n = old if i >= lead else -1
            if not (_symbolic(n) or _symbolic(old)) and (n < 0 or old not in (1, n)):
                raise ShapeError(
                    f"The expanded size of the tensor ({n}) must match the existing size ({old}) "
                    f"at non-singleton dimension {i}.  Target sizes: {list(sizes)}.  Tensor "
                    f"sizes: {list(shape)}"
                )
            target.append(n if not (_symbolic(n) and n == old) else 1)
        return make_view(self, Expanded("Expand", shape_operand(tuple(target))))

    def expand_as(self, other: Any) -> Tensor:
        """`expand(other.shape)`."""
        return self.expand(other.shape)

    broadcast_to = expand

    def repeat(self, *repeats: Any) -> Tensor:
        """Tiles the tensor."""
        repeats = as_shape(repeats)
        x: Any = self
        lead = len(repeats) - self.dim()
        if lead < 0:
            raise ShapeError(
                "Number of dimensions of repeat dims can not be smaller than number of dimensions "
                "of tensor"
            )
        if lead:
            x = make_view(self, Unsqueezed("Unsqueeze", tuple(range(lead))))
        return apply2(handle("Tile"), x, shape_operand(repeats))

    def tile(self, *repeats: Any) -> Tensor:
        """Like `repeat`; missing leading repeats are 1."""
        repeats = as_shape(repeats)
        return self.repeat((1,) * (self.dim() - len(repeats)) + repeats)

    def repeat_interleave(self, repeats: Any, dim: int | None = None) -> Tensor:
        """Repeats each element along a dimension."""
        if dim is None:
            return self.flatten().repeat_interleave(repeats, 0)
        d = normalize_dim(dim, self.dim())
        import numpy as np

        from toolkit._tensor.factories import from_numpy

        n = self.shape[d]
        counts = (
            repeats if isinstance(repeats, int) else repeats._concrete("repeat_interleave").numpy()
        )
        return self.index_select(d, from_numpy(np.repeat(np.arange(n), counts)))

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` indices from `start` along a dimension."""
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        start = operator.index(start)
        if not _symbolic(n):
            if not -n <= start <= n:
                raise OutOfBoundsError(
                    f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
                )
            start += n if start < 0 else 0
            if length < 0 or start + length > n:
                raise OutOfBoundsError(
                    f"start ({start}) + length ({length}) exceeds dimension size ({n})."
                )
        return make_view(self, Sliced("Slice", (d,), (start,), (start + length,), (1,)))

    def select(self, dim: int, index: int) -> Tensor:
        """One index of a dimension, which is removed."""
        if not self.dim():
            raise OutOfBoundsError("select() cannot be applied to a 0-dim tensor.")
        d = normalize_dim(dim, self.dim())
        return self[(slice(None),) * d + (operator.index(index),)]  # type: ignore[index]

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """All indices of a dimension, which is removed."""
        d = normalize_dim(dim, self.dim())
        return tuple(self.select(d, i) for i in range(self.shape[d]))

    def split(self, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of equal size (the last may be smaller), or of the given sizes."""
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        if isinstance(split_size, int):
            if split_size <= 0 and n:
                raise InvalidArgumentError(
                    f"split expects split_size be positive, but got split_size={split_size}"
                )
            sizes = [min(split_size, n - i) for i in range(0, n, split_size)] if n else [0]
        else:
            sizes = list(split_size)
            if not _symbolic(n) and sum(sizes) != n:
                raise ShapeError(
                    "split_with_sizes expects split_sizes to sum exactly to "
                    f"{n} (input tensor's size at dimension {d}), but got split_sizes={sizes}"
                )
        parts, start = [], 0
        for size in sizes:
            parts.append(self.narrow(d, start, size))
            start += size
        return tuple(parts)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` parts of equal size (the last may be smaller)."""
        if chunks <= 0:
            raise InvalidArgumentError(
                f"chunk expects `chunks` to be greater than 0, got: {chunks}"
            )
        n = self.shape[normalize_dim(dim, self.dim())]
        return self.split(max(-(-n // chunks), 1), dim)

    def tensor_split(self, sections: int, dim: int = 0) -> tuple[Tensor, ...]:
        """Exactly `sections` parts whose sizes differ by at most one."""
        n = self.shape[normalize_dim(dim, self.dim())]
        return self.split([n // sections + (i < n % sections) for i in range(sections)], dim)

    def flip(self, *dims: Any) -> Tensor:
        """Reverses the order along dimensions."""
        from toolkit._tensor.slices import slice_of

        rank = self.dim()
        axes = tuple(normalize_dim(d, rank) for d in as_shape(dims))
        if not axes:
            return self.clone()  # type: ignore[attr-defined]
        low = -(2**62)
        return slice_of(self, axes, (-1,) * len(axes), (low,) * len(axes), (-1,) * len(axes))

    def fliplr(self) -> Tensor:
        """Reverses the second dimension."""
        return self.flip(1)

    def flipud(self) -> Tensor:
        """Reverses the first dimension."""
        return self.flip(0)

    def roll(self, shifts: Any, dims: Any = None) -> Tensor:
        """Moves elements along dimensions; those past the end come in at the start."""
        from toolkit._tensor.factories import cat

        if dims is None:
            return self.flatten().roll(shifts, 0).view(self.shape)
        shifts = shifts if isinstance(shifts, (tuple, list)) else (shifts,)
        dims = dims if isinstance(dims, (tuple, list)) else (dims,)
        x: Any = self
        for shift, dim in zip(shifts, dims, strict=True):
            n = x.shape[dim]
            k = shift % n if n else 0
            if k:
                x = cat([x.narrow(dim, n - k, k), x.narrow(dim, 0, n - k)], dim)
        return x.clone() if x is self else x  # type: ignore[attr-defined]

    def index_select(self, dim: int, index: Any) -> Tensor:
        """The indices `index` (1-D) of a dimension."""
        return apply2(quick("Gather", "axis", normalize_dim(dim, self.dim())), self, index)
