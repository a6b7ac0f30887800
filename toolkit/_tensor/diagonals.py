"""Diagonals of tensors, and tensors with a part replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.parts import count_up
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, normalize_dim
from toolkit._tensor.strided import Diagonal
from toolkit._tensor.views import make_view
from toolkit.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


class Diagonals(TensorBase):
    """Diagonals, and copies with a part replaced (`*_scatter`)."""

    def diagonal(self: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """The diagonal of two dimensions, as the last one: a view."""
        rank = self.dim()
        a, b = normalize_dim(dim1, rank), normalize_dim(dim2, rank)
        if a == b:
            raise InvalidArgumentError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
        return make_view(self, Diagonal(offset, a, b))

    def diag(self: Any, diagonal: int = 0) -> Tensor:
        """The diagonal of a matrix (a copy), or the matrix with a vector as its diagonal."""
        if self.dim() == 2:
            return self.diagonal(diagonal).clone()
        if self.dim() != 1:
            raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {self.dim()}D")
        return self.diag_embed(diagonal)

    def diag_embed(self: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
        """Matrices in the planes of two new dimensions, with the last dimension as diagonals."""
        from toolkit._tensor.factories import cat, zeros

        rank = self.dim() + 1
        if not self.dim():
            raise ShapeError("diag_embed: at least one dimension is required, got a 0-dim tensor.")
        a, b = normalize_dim(dim1, rank), normalize_dim(dim2, rank)
        if a == b:
            raise InvalidArgumentError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
        n, k = self.shape[-1], abs(offset)
        places = count_up(n)
        on = places.unsqueeze(1) == places.unsqueeze(0)
        out = where(on, self.unsqueeze(-1), cast(self.new_zeros(()), self._value.dtype))
        if k:  # Zeros beside the square on one side, below or above it on the other.
            lead = self.shape[:-1]
            side = zeros(*lead, n, k, dtype=self.dtype)
            out = cat([side, out] if offset > 0 else [out, side], -1)
            edge = zeros(*lead, k, n + k, dtype=self.dtype)
            out = cat([out, edge] if offset > 0 else [edge, out], -2)
        if (a, b) == (rank - 2, rank - 1):
            return out
        out = out.movedim((-2, -1), (a, b))
        out._base = None
        return out

    def diagflat(self: Any, offset: int = 0) -> Tensor:
        """The matrix with all elements as its diagonal."""
        return self.reshape(-1).diag_embed(offset)

    def trace(self: Any) -> Tensor:
        """The sum of the diagonal of a matrix."""
        if self.dim() != 2:
            raise ShapeError(f"trace: expected a matrix, but got tensor with dim {self.dim()}")
        return self.diagonal().sum()

    def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Tensor:
        """One value on the main diagonal; `wrap` goes on below the square of a tall matrix."""
        shape = self.shape
        if len(shape) < 2:
            raise ShapeError(f"dimensions must larger than 1, got {len(shape)}")
        if len(shape) == 2 and not wrap:
            self.diagonal().fill_(fill_value)
            return self
        if any(map(_symbolic, shape)):
            raise InvalidArgumentError(
                "fill_diagonal_: known sizes are required with wrap or more than 2 dimensions, got "
                f"{list(shape)}."
            )
        if len(shape) > 2 and len(set(shape)) != 1:
            raise ShapeError("all dimensions of input must be of equal length")
        from toolkit._tensor.factories import tensor

        mask = np.zeros(tuple(shape), bool)
        np.fill_diagonal(mask, True, wrap)
        self._assign(self.masked_fill(tensor(mask), fill_value))
        return self

    def _replaced(self: Any, name: str, src: Any, take: Any) -> Any:
        out = self.clone()
        part = take(out)
        if part.dim() != src.dim() or any(
            type(m) is int and type(n) is int and m != n
            for m, n in zip(part.shape, src.shape, strict=True)
        ):
            raise ShapeError(
                f"{name}: expected src to have a size equal to the slice of self. src size = "
                f"{list(src.shape)}, slice size = {list(part.shape)}"
            )
        part.copy_(src)
        return out

    def diagonal_scatter(
        self: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1
    ) -> Tensor:
        """A copy with `src` as a diagonal."""
        return self._replaced("diagonal_scatter", src, lambda t: t.diagonal(offset, dim1, dim2))

    def select_scatter(self: Any, src: Any, dim: int, index: Any) -> Tensor:
        """A copy with `src` at one index of a dimension."""
        return self._replaced("select_scatter", src, lambda t: t.select(dim, index))

    def slice_scatter(
        self: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
    ) -> Tensor:
        """A copy with `src` in a slice of a dimension."""
        at = (slice(None),) * normalize_dim(dim, self.dim()) + (slice(start, end, step),)
        return self._replaced("slice_scatter", src, lambda t: t[at])

    def as_strided_scatter(
        self: Any, src: Any, size: Any, stride: Any, storage_offset: Any = None
    ) -> Tensor:
        """A copy with `src` at any strides."""
        return self._replaced(
            "as_strided_scatter", src, lambda t: t.as_strided(size, stride, storage_offset)
        )
