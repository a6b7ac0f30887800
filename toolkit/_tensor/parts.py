"""Methods that take parts of a tensor along a dimension: views, as PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.base import INT64, TensorBase
from toolkit._tensor.consts import scalar
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, as_size, declare, normalize_dim
from toolkit._tensor.symint import sym_min
from toolkit._tensor.views import Sliced, make_view
from toolkit.errors import InvalidArgumentError, OutOfBoundsError, ShapeError
from toolkit.ops.dispatch import apply, apply2, handle, quick
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

RANGE = handle("Range")


def count_up(n: Any) -> Any:
    """0, 1, ... n - 1 as int64; n may be symbolic."""
    end = n.tensor() if _symbolic(n) else scalar(n, INT64)
    return declare(apply(RANGE, scalar(0, INT64), end, scalar(1, INT64)), (n,))


class Parts(TensorBase):
    """Slices, selections and splits."""

    def narrow(self: Any, dim: int, start: Any, length: Any) -> Tensor:
        """`length` indices from `start` along a dimension; both may be symbolic sizes."""
        if not self.dim():
            raise ShapeError("narrow() cannot be applied to a 0-dim tensor.")
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        start, length = as_size(start), as_size(length)
        if not any(_symbolic(v) for v in (n, start, length)):
            if length < 0:
                raise InvalidArgumentError(f"narrow(): length must be non-negative, got {length}.")
            if not -n <= start <= n:
                raise OutOfBoundsError(
                    f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
                )
            start += n if start < 0 else 0
            if start + length > n:
                raise InvalidArgumentError(
                    f"start ({start}) + length ({length}) exceeds dimension size ({n})."
                )
        bounds = ((d,), (start,), (start + length,), (1,))
        return make_view(self, Sliced("Slice", *bounds, sizes=(length,)))

    def narrow_copy(self: Any, dim: int, start: Any, length: Any) -> Tensor:
        """A copy of `narrow`."""
        return self.narrow(dim, start, length).clone()

    def select(self: Any, dim: int, index: Any) -> Tensor:
        """One index of a dimension, which is removed."""
        if not self.dim():
            raise OutOfBoundsError("select() cannot be applied to a 0-dim tensor.")
        d = normalize_dim(dim, self.dim())
        i, n = as_size(index), self.shape[d]
        if not _symbolic(i) and not _symbolic(n) and not -n <= i < n:
            raise OutOfBoundsError(
                f"select(): index {i} out of range for tensor of size {list(self.shape)} at "
                f"dimension {d}"
            )
        return self[(slice(None),) * d + (i,)]

    def unbind(self: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """All indices of a dimension, which is removed."""
        if not self.dim():
            raise ShapeError("Dimension specified as 0 but tensor has no dimensions")
        d = normalize_dim(dim, self.dim())
        return tuple(self.select(d, i) for i in range(self.shape[d]))

    def split(self: Any, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of equal size (the last may be smaller), or of the given sizes."""
        if isinstance(split_size, (list, tuple)):
            return self.split_with_sizes(split_size, dim)
        if not self.dim():
            raise ShapeError("split expects at least a 1-dimensional tensor")
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        size = as_size(split_size)
        if _symbolic(n) or _symbolic(size):
            raise InvalidArgumentError(
                f"split: how many parts there are must be known in a trace, got size {n} of "
                f"dimension {d} and split_size={size}. Hint: chunk() or a list of sizes."
            )
        if size < 0 or (size == 0 and n):
            raise InvalidArgumentError(
                f"split expects split_size be {'non-negative' if size else 'positive'}, but got "
                f"split_size={size}"
            )
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
        return self._consecutive(sizes, d)

    def split_with_sizes(self: Any, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of the given sizes."""
        if not self.dim():
            raise ShapeError("split_with_sizes expects at least a 1-dimensional tensor")
        d = normalize_dim(dim, self.dim())
        n, sizes = self.shape[d], [as_size(s) for s in split_sizes]
        if not any(map(_symbolic, (n, *sizes))) and (sum(sizes) != n or min(sizes, default=0) < 0):
            raise ShapeError(
                "split_with_sizes expects split_sizes to sum exactly to "
                f"{n} (input tensor's size at dimension {d}), but got split_sizes={sizes}"
            )
        return self._consecutive(sizes, d)

    def _consecutive(self: Any, sizes: Any, d: int) -> tuple[Tensor, ...]:
        parts: list[Tensor] = []
        start: Any = 0
        for size in sizes:
            parts.append(self.narrow(d, start, size))
            start = start + size
        return tuple(parts)

    unsafe_split, unsafe_split_with_sizes = split, split_with_sizes

    def chunk(self: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` parts of equal size (the last may be smaller).

        In a trace, a dimension of symbolic size has exactly so many; the last ones may be empty.
        """
        if chunks <= 0:
            raise InvalidArgumentError(
                f"chunk expects `chunks` to be greater than 0, got: {chunks}"
            )
        if not self.dim():
            raise ShapeError("chunk expects at least a 1-dimensional tensor")
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        if not _symbolic(n):
            return self._consecutive([0] * chunks, d) if not n else self.split(-(-n // chunks), d)
        if chunks == 1:
            return (self.narrow(d, 0, n),)
        size = (n + (chunks - 1)) // chunks
        bounds = [sym_min(size * k, n) if k else 0 for k in range(chunks)]
        ends = [*bounds[1:], n]
        return tuple(self.narrow(d, a, b - a) for a, b in zip(bounds, ends, strict=True))

    unsafe_chunk = chunk

    def tensor_split(self: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """So many parts whose sizes differ by at most one, or parts that end at the indices."""
        if not self.dim():
            raise ShapeError(
                "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 "
                "dims"
            )
        given = indices_or_sections
        if isinstance(given, TensorBase):
            given = given._concrete("tensor_split").numpy().tolist()
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        if isinstance(given, (list, tuple)):
            ends, lead = [*given, None], (slice(None),) * d
            starts = [0, *given]
            return tuple(self[(*lead, slice(a, b))] for a, b in zip(starts, ends, strict=True))
        if given <= 0:
            raise InvalidArgumentError(f"number of sections must be larger than 0, got {given}")
        if not _symbolic(n):
            return self._consecutive([n // given + (i < n % given) for i in range(given)], d)
        size, rest = n // given, n % given
        bounds = [size * i + sym_min(rest, i) if i else 0 for i in range(given)]
        ends = [*bounds[1:], n]
        return tuple(self.narrow(d, a, b - a) for a, b in zip(bounds, ends, strict=True))

    def _split_at(self: Any, name: str, rank: int, d: int, given: Any) -> tuple[Tensor, ...]:
        if self.dim() < rank:
            raise ShapeError(
                f"torch.{name} requires a tensor with at least {rank} dimension, but got a tensor "
                f"with {self.dim()} dimensions!"
            )
        n = self.shape[d]
        if isinstance(given, int) and not _symbolic(n) and (given <= 0 or n % given):
            raise InvalidArgumentError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the "
                f"dimension {n} is not divisible by the split_size {given}!"
            )
        return self.tensor_split(given, d)

    def hsplit(self: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """`tensor_split` along the second dimension, of vectors along the first."""
        return self._split_at("hsplit", 1, 0 if self.dim() == 1 else 1, indices_or_sections)

    def vsplit(self: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """`tensor_split` along the first dimension."""
        return self._split_at("vsplit", 2, 0, indices_or_sections)

    def dsplit(self: Any, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """`tensor_split` along the third dimension."""
        return self._split_at("dsplit", 3, 2, indices_or_sections)

    def repeat_interleave(
        self: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
    ) -> Tensor:
        """Repeats each element along a dimension (None: of the flattened tensor).

        Without `repeats`, the tensor itself says how often to repeat 0, 1, 2, ...
        """
        from toolkit._tensor.factories import from_numpy

        if repeats is None:
            return count_up(self.shape[0]).repeat_interleave(self, 0)
        if dim is None:
            return self.flatten().repeat_interleave(repeats, 0)
        d = normalize_dim(dim, self.dim())
        n = self.shape[d]
        if isinstance(repeats, TensorBase) and repeats.dim() == 1 and not _symbolic(n):
            k = repeats.shape[0]
            if not _symbolic(k) and k not in (1, n):
                raise ShapeError(
                    "repeats must have the same size as input along dim, but got repeats.size(0) "
                    f"= {k} and input.size({d}) = {n}"
                )
        fixed = isinstance(repeats, int)
        if fixed and repeats < 0:
            raise InvalidArgumentError(f"Repeats must be non-negative, got {repeats}")
        if not _symbolic(n) and (fixed or type(repeats._get()) is _core.Tensor):
            counts = repeats if fixed else repeats._concrete("repeat_interleave").numpy()
            if np.any(np.less(counts, 0)):
                raise InvalidArgumentError(f"repeats can not be negative, got {counts.tolist()}")
            return self.index_select(d, from_numpy(np.repeat(np.arange(n), counts)))
        if fixed:
            x: Any = self.unsqueeze(d + 1)
            shape = (*self.shape[: d + 1], repeats, *self.shape[d + 1 :])
            return x.expand(shape).flatten(d, d + 1)
        counts = repeats.long().expand(n) if repeats.dim() else repeats.long().reshape(1).expand(n)
        ends = counts.cumsum(0)
        total = as_size(counts.sum())
        # The place of output j is how many counts end at or before j.
        places = (ends.unsqueeze(0) <= count_up(total).unsqueeze(1)).sum(1)
        return self.index_select(d, places)

    def index_select(self: Any, dim: int, index: Any) -> Tensor:
        """The indices `index` (at most 1-D) of a dimension."""
        d = normalize_dim(dim, self.dim())
        if index.dim() > 1:
            raise OutOfBoundsError(
                f"index_select(): Index is supposed to be a vector, got {index.dim()} dimensions"
            )
        if not self.dim():
            return self.reshape(1).index_select(0, index).reshape(())
        places = index if index.dim() else index.reshape(1)
        return apply2(quick("Gather", "axis", d), self, cast(places, INT64))

    def rot90(self: Any, k: int = 1, dims: Any = (0, 1)) -> Tensor:
        """Turns the plane of two dimensions by k times 90 degrees, from the first to the second."""
        if len(dims) != 2:
            raise InvalidArgumentError(
                f"expected total rotation dims == 2, but got dims = {len(dims)}"
            )
        rank = self.dim()
        a, b = (normalize_dim(d, rank) for d in dims)
        if rank < 2 or a == b:
            raise InvalidArgumentError(
                f"rot90: two different dimensions of at least 2 are required, got {list(dims)} of "
                f"{rank}."
            )
        x: Any = self
        if k % 4 == 2:
            return x.flip(a, b)
        if k % 4 == 1:
            return x.flip(b).transpose(a, b).clone()
        return x.flip(a).transpose(a, b).clone() if k % 4 else x.clone()
