"""Methods that change the shape or pick parts: views as in PyTorch, and joins."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.consts import vector
from toolkit._tensor.shapes import (
    _symbolic,
    as_shape,
    declare,
    dims,
    normalize_dim,
    shape_operand,
    swapped,
)
from toolkit._tensor.state import STATE
from toolkit._tensor.views import (
    Expanded,
    Permuted,
    Squeezed,
    Unsqueezed,
    make_view,
    reshape,
)
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply2, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def _tiled(shape: Any, repeats: Any) -> list[Any]:
    """The known sizes of a tiled tensor, and names of the others."""
    sizes: list[Any] = []
    for n, r in zip(shape, repeats, strict=True):
        one = [v for v in (n, r) if not (type(v) is int and v == 1)]
        sizes.append(1 if not one else one[0] if len(one) == 1 else f"({n} * {r})")
    return sizes


# Views are made once for each rank and mode: a call and its checks cost more than a look-up.


@lru_cache(maxsize=1024)
def _unsqueezed(rank: int, dim: int, recorded: bool) -> Unsqueezed:
    return Unsqueezed(
        "Unsqueeze", (normalize_dim(dim, rank, 1) if rank else normalize_dim(dim, 1),)
    )


@lru_cache(maxsize=1024)
def _permuted(rank: int, dims: tuple[int, ...], recorded: bool) -> Permuted:
    perm = tuple(normalize_dim(d, rank) for d in dims)
    if sorted(perm) != list(range(rank)):
        raise InvalidArgumentError(
            f"permute(dims): each of the {rank} dimensions is required once, got {list(perm)}."
        )
    return Permuted("Permute", perm)


@lru_cache(maxsize=1024)
def _transposed(rank: int, dim0: int, dim1: int, recorded: bool) -> Permuted:
    return Permuted("Transpose", swapped(rank, dim0, dim1))


def _expanded_sizes(shape: Any, sizes: Any) -> tuple[list[Any], list[Any]]:
    """What Expand is given, and the sizes of its result.

    Raises:
        ShapeError: a shape cannot be expanded to these sizes.
    """
    lead = len(sizes) - len(shape)
    if lead < 0:
        raise ShapeError(
            f"expand({list(shape)}, size={list(sizes)}): the number of sizes provided "
            f"({len(sizes)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({len(shape)})"
        )
    target: list[Any] = []
    known: list[Any] = []
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
        known.append(n)
    return target, known


@lru_cache(maxsize=1024)
def _expanded(shape: tuple[int, ...], sizes: tuple[int, ...], recorded: bool) -> Expanded:
    return Expanded("Expand", vector(tuple(_expanded_sizes(shape, sizes)[0])))


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

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements under another shape: a view where PyTorch gives one, else a copy."""
        return reshape(self, as_shape(shape))

    def view_as(self, other: Any) -> Tensor:
        """`view(other.shape)`."""
        return self.view(other.shape)  # type: ignore[attr-defined]

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
        return make_view(self, _unsqueezed(self.dim(), dim, STATE.grad))

    def permute(self, *dims: Any) -> Tensor:
        """Dimensions in another order."""
        return make_view(self, _permuted(self.dim(), as_shape(dims), STATE.grad))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Swaps two dimensions."""
        return make_view(self, _transposed(self.dim(), dim0, dim1, STATE.grad))

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
    def H(self) -> Tensor:
        """The transpose of a matrix (of real numbers)."""
        if self.dim() not in (0, 2):
            raise ShapeError(
                f"tensor.H is only supported on matrices (2-D tensors). Got {self.dim()}-D tensor."
            )
        return self.T

    @property
    def mH(self) -> Tensor:
        """The last two dimensions swapped (of real numbers)."""
        return self.mT if self.dim() else self.T

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
        if STATE.trace is None:
            return make_view(self, _expanded(dims(self), as_shape(sizes), STATE.grad))
        target, known = _expanded_sizes(self.shape, as_shape(sizes))
        return make_view(self, Expanded("Expand", shape_operand(tuple(target)), known))

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
        out = apply2(handle("Tile"), x, shape_operand(repeats))
        return out if STATE.trace is None else declare(out, _tiled(x.shape, repeats))

    def tile(self, *repeats: Any) -> Tensor:
        """Like `repeat`; missing leading repeats are 1."""
        repeats = as_shape(repeats)
        return self.repeat((1,) * (self.dim() - len(repeats)) + repeats)

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
        if len(shifts) != len(dims):
            raise InvalidArgumentError(
                f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
            )
        x: Any = self
        for shift, dim in zip(shifts, dims, strict=True):
            n = x.size(dim)
            if _symbolic(n):
                k = shift % n
                x = declare(cat([x.narrow(dim, n - k, k), x.narrow(dim, 0, n - k)], dim), x.shape)
                continue
            k = shift % n if n else 0
            if k:
                x = cat([x.narrow(dim, n - k, k), x.narrow(dim, 0, n - k)], dim)
        return x.clone() if x is self else x  # type: ignore[attr-defined]
