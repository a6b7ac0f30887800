"""Elements picked and put by index tensors: gather, scatter, index_*, put, masked_scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import BOOL, FLOATS, INT64, INTS, TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.indexing import broadcast
from toolkit._tensor.joins import broadcast_shapes
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, dims, normalize_dim
from toolkit.errors import DTypeError, InvalidArgumentError, OutOfBoundsError, ShapeError
from toolkit.ops.dispatch import apply, apply2, handle, quick
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_KINDS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min", "mean": "add"}


def _index(name: str, index: Any) -> Any:
    """An index tensor as int64, none of it negative.

    Raises:
        DTypeError: not integers.
        OutOfBoundsError: a negative one.
    """
    if index._value.dtype not in INTS:
        raise DTypeError(f"{name}(): Expected dtype int64 for index, got {index.dtype.name}.")
    index = cast(index, INT64)
    value = index._get()
    if type(value) is _core.Tensor:
        low = value.least()
        if low < 0:
            raise OutOfBoundsError(
                f"{name}(): index {low} is out of bounds: indices from 0 are required."
            )
    return index


def _fits(name: str, index: Any, shape: Any, d: int | None, what: str) -> None:
    """Whether an index is no larger than a tensor, but along d."""
    own = index.shape
    if len(own) != len(shape):
        raise ShapeError(
            f"{name}(): Index tensor must have the same number of dimensions as {what} tensor, got "
            f"{list(own)} and {list(shape)}."
        )
    for i, (m, n) in enumerate(zip(own, shape, strict=True)):
        if i != d and type(m) is int and type(n) is int and m > n:
            apart = "" if d is None else f" apart from dimension {d}"
            raise ShapeError(
                f"{name}(): Expected index {list(own)} to be no larger than {what} {list(shape)}"
                f"{apart}."
            )


def _cut(x: Any, shape: Any, d: int | None) -> Any:
    """X cut to a shape where it is larger, but along d."""
    if _equal_but(x.shape, shape, d):
        return x
    return x[tuple(slice(None) if i == d else slice(0, n) for i, n in enumerate(shape))]


def _equal_but(a: Any, b: Any, d: int | None) -> bool:
    """Whether sizes are equal but along d."""
    for i, m in enumerate(a):
        n = b[i]
        if m is not n and m != n and i != d:
            return False
    return True


class Scattering(TensorBase):
    """Indexing by tensors along a dimension."""

    def gather(self: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Tensor:
        """Elements picked along `dim` by an index tensor of the same rank."""
        d = normalize_dim(dim, self.dim())
        index = _index("gather", index)
        if not self.dim() or not index.dim():
            if index.dim() > 1 or self.dim() > 1:
                _fits("gather", index, self.shape, d, "input")
            picked = self.reshape(-1).gather(0, index.reshape(-1))
            return picked.reshape(index.shape)
        h = quick("GatherElements", "axis", d)
        own = dims(index)
        if len(own) == len(shape := dims(self)) and _equal_but(own, shape, d):
            return apply2(h, self, index)
        _fits("gather", index, self.shape, d, "input")
        return apply2(h, _cut(self, index.shape, d), index)

    def take_along_dim(self: Any, indices: Any, dim: int | None = None) -> Tensor:
        """`gather` with both broadcast along the other dimensions; None: of the flattened."""
        if dim is None:
            return self.reshape(-1).gather(0, _wrapped(indices.reshape(-1), self.numel()))
        if self.dim() != indices.dim():
            raise ShapeError(
                "torch.take_along_dim(): input and indices should have the same number of "
                f"dimensions, but got {self.dim()} dimensions for input, and {indices.dim()} "
                "dimensions for indices"
            )
        if indices._value.dtype not in INTS:
            raise DTypeError(
                "torch.take_along_dim(): dtype of indices should be Long but got "
                f"{indices.dtype.name}"
            )
        d = normalize_dim(dim, self.dim())
        mine = [1 if i == d else n for i, n in enumerate(self.shape)]
        theirs = [1 if i == d else n for i, n in enumerate(indices.shape)]
        common = list(broadcast_shapes(tuple(mine), tuple(theirs)))
        x = self.expand([*common[:d], self.shape[d], *common[d + 1 :]])
        at = indices.expand([*common[:d], indices.shape[d], *common[d + 1 :]])
        return x.gather(d, _wrapped(at, self.shape[d]))

    def take(self: Any, index: Any) -> Tensor:
        """Elements by their place in the flattened tensor."""
        if index._value.dtype not in INTS:
            raise DTypeError(f"take(): Expected a long tensor for index, got {index.dtype.name}.")
        return apply2(handle("Gather", axis=0), self.reshape(-1), index)

    def put(self: Any, index: Any, source: Any, accumulate: bool = False) -> Tensor:
        """A copy with `source` put (or added) at places of the flattened tensor."""
        if index._value.dtype not in INTS:
            raise DTypeError(
                f"put_(): Expected a long tensor for index, but got {index.dtype.name}"
            )
        if source._value.dtype != self._value.dtype:
            raise DTypeError(
                "put_(): self and source expected to have the same dtype, but got self.dtype = "
                f"{self.dtype.name} and source.dtype = {source.dtype.name}"
            )
        m, n = index.numel(), source.numel()
        if not _symbolic(m) and not _symbolic(n) and m != n:
            raise ShapeError(
                "put_(): Expected source and index to have the same number of elements, but got "
                f"source.numel() = {n}, index.numel() = {m}"
            )
        h = handle("ScatterElements", axis=0, reduction="add" if accumulate else None)
        flat = (t.reshape(-1) for t in (self, cast(index, INT64), source))
        return apply(h, *flat).reshape(self.shape)

    def masked_scatter(self: Any, mask: Any, source: Any) -> Tensor:
        """A copy with the elements of `source`, in order, where the mask holds."""
        if mask._value.dtype != BOOL:
            raise DTypeError(
                f"masked_scatter_ only supports boolean masks, but got mask with dtype "
                f"{mask.dtype.name}"
            )
        if source._value.dtype != self._value.dtype:
            raise DTypeError(
                "masked_scatter_: expected self and source to have same dtypes but got "
                f"{self.dtype.name} and {source.dtype.name}"
            )
        shape = broadcast_shapes(tuple(self.shape), tuple(mask.shape))
        x, on = self.expand(shape), mask.expand(shape).reshape(-1)
        flat, places = source.reshape(-1), on.long().cumsum(0) - 1
        have = flat.shape[0]
        if type(places._get()) is _core.Tensor and not _symbolic(have):
            need = int(places[-1]) + 1 if on.numel() else 0
            if need > have:
                raise ShapeError(
                    f"masked_scatter: expected {need} elements in source for the mask, got {have}"
                )
            if not need:
                return x.clone()
        picked = flat.index_select(0, places.clamp(min=0)).reshape(shape)
        return where(on.reshape(shape), picked, x)

    # -- scatter -------------------------------------------------------------------------------

    def _scatter(self: Any, dim: int, index: Any, source: Any, reduction: str | None) -> Any:
        h = handle("ScatterElements", axis=normalize_dim(dim, self.dim()), reduction=reduction)
        return apply(h, self, index, source)

    def _operands(self: Any, name: str, dim: int, index: Any, src: Any) -> tuple[Any, Any, Any]:
        """Self, index and source as ScatterElements takes them."""
        from toolkit._tensor.factories import full

        d = normalize_dim(dim, self.dim())
        index = _index(name, index)
        x = self if self.dim() else self.reshape(1)
        index = index if index.dim() else index.reshape(1)
        _fits(name, index, x.shape, d, "self")
        if isinstance(src, (bool, int, float)):
            return x, index, full(index.shape, src, dtype=self.dtype)
        if src._value.dtype != self._value.dtype:
            raise DTypeError(
                f"{name}(): Expected self.dtype to be equal to src.dtype, got {self.dtype.name} "
                f"and {src.dtype.name}."
            )
        src = src if src.dim() else src.reshape(1)
        _fits(name, index, src.shape, None, "src")
        return x, index, _cut(src, index.shape, None)

    def scatter(
        self: Any, dim: int, index: Any, src: Any = None, *, value: Any = None,
        reduce: str | None = None,
    ) -> Tensor:  # fmt: skip
        """A copy with elements of `src` put at the places `index` along `dim`."""
        kinds = {None: None, "add": "add", "multiply": "mul"}
        if reduce not in kinds:
            raise InvalidArgumentError(
                f"reduce argument must be either add or multiply, got {reduce!r}."
            )
        x, index, src = self._operands("scatter", dim, index, value if src is None else src)
        return x._scatter(dim, index, src, kinds[reduce]).reshape(self.shape)

    def scatter_add(self: Any, dim: int, index: Any, src: Any) -> Tensor:
        """A copy with elements of `src` added at the places `index` along `dim`."""
        x, index, src = self._operands("scatter_add", dim, index, src)
        if self._value.dtype == BOOL:
            return cast(cast(x, 6)._scatter(dim, index, cast(src, 6), "add"), BOOL)
        return x._scatter(dim, index, src, "add").reshape(self.shape)

    def scatter_reduce(
        self: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
    ) -> Tensor:
        """A copy with elements of `src` reduced into places: sum, prod, mean, amax or amin.

        Without `include_self` what was at those places does not count.
        """
        if reduce not in _KINDS:
            raise InvalidArgumentError(
                f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce!r}."
            )
        x, index, src = self._operands("scatter_reduce", dim, index, src)
        return _reduced(x, dim, index, src, reduce, include_self).reshape(self.shape)

    # -- one vector of indices -----------------------------------------------------------------

    def _spread(self: Any, name: str, dim: int, index: Any, source: Any) -> tuple[Any, Any, Any]:
        """A vector of indices as the index tensor of whole slices."""
        d = normalize_dim(dim, self.dim())
        if index.dim() > 1:
            raise OutOfBoundsError(
                f"{name}(): Index is supposed to be a vector, but got dim: {index.dim()}"
            )
        x = self if self.dim() else self.reshape(1)
        index = _index(name, index).reshape(-1)
        shape = (*x.shape[:d], index.shape[0], *x.shape[d + 1 :])
        if source._value.dtype != self._value.dtype:
            raise DTypeError(
                f"{name}(): self and source expected to have the same dtype, but got "
                f"{self.dtype.name} and {source.dtype.name}"
            )
        if name != "index_fill":
            source = source if source.dim() else source.reshape(1)
            if source.dim() != len(shape) or any(
                type(m) is int and type(n) is int and m != n
                for m, n in zip(source.shape, shape, strict=True)
            ):
                raise ShapeError(
                    f"{name}(): a source of shape {list(shape)} is required: that of self, with "
                    f"the number of indices along dimension {d}; got {list(source.shape)}."
                )
        places = index.reshape((1,) * d + (-1,) + (1,) * (x.dim() - d - 1))
        return x, places.expand(shape), broadcast(source, shape)

    def index_add(self: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Tensor:
        """A copy with slices of `source` added at the indices `index` of a dimension."""
        x, index, source = self._spread("index_add", dim, index, source)
        out = x._scatter(dim, index, source if alpha == 1 else source * alpha, "add")
        return out.reshape(self.shape)

    def index_copy(self: Any, dim: int, index: Any, source: Any) -> Tensor:
        """A copy with slices of `source` put at the indices `index` of a dimension."""
        x, index, source = self._spread("index_copy", dim, index, source)
        return x._scatter(dim, index, source, None).reshape(self.shape)

    def index_fill(self: Any, dim: int, index: Any, value: Any) -> Tensor:
        """A copy with one value at the indices `index` of a dimension."""
        from toolkit._tensor.factories import as_tensor

        value = cast(as_tensor(value), self._value.dtype)
        if value.dim():
            raise ShapeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.dim()} dimension(s)."
            )
        index = _wrapped(cast(index, INT64), self.shape[dim] if self.dim() else 1)
        x, index, value = self._spread("index_fill", dim, index, value)
        return x._scatter(dim, index, value, None).reshape(self.shape)

    def index_reduce(
        self: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True
    ) -> Tensor:
        """A copy with slices of `source` reduced into indices: prod, mean, amax or amin."""
        if reduce not in ("prod", "mean", "amax", "amin"):
            raise InvalidArgumentError(
                f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
                f"{reduce}."
            )
        x, index, source = self._spread("index_reduce", dim, index, source)
        return _reduced(x, dim, index, source, reduce, include_self).reshape(self.shape)

    def nonzero_static(self: Any, *, size: int, fill_value: int = -1) -> Tensor:
        """`nonzero` with exactly `size` rows: cut, or filled up with `fill_value`."""
        from toolkit._tensor.factories import cat, full

        if size < 0:
            raise InvalidArgumentError(
                f"nonzero_static: 'size' must be an non-negative integer, got {size}"
            )
        found = self.nonzero()
        filler = full((size, self.dim()), fill_value, dtype=found.dtype)
        return cat([found, filler]).narrow(0, 0, size).clone()


def _wrapped(index: Any, n: Any) -> Any:
    """Indices counted from the end as those from the start."""
    size = n.tensor() if _symbolic(n) else n
    return where(index < 0, index + size, index)


def _reduced(x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool) -> Any:
    """See `scatter_reduce`; operands have one rank."""
    if not include_self:
        neutral: Any = {"sum": 0, "mean": 0, "prod": 1}.get(reduce)
        if neutral is None:
            neutral = _bound(x, reduce == "amax")
        x = x._scatter(dim, index, src.new_full(src.shape, neutral), None)
    out = x._scatter(dim, index, src, _KINDS[reduce])
    if reduce != "mean":
        return out
    counted = x.new_ones(x.shape) if include_self else x.new_zeros(x.shape)
    count = counted._scatter(dim, index, src.new_ones(src.shape), "add")
    count = count if include_self else count.clamp(min=1)
    return out / count if x._value.dtype in FLOATS else out.div(count, rounding_mode="floor")


def _bound(x: Any, low: bool) -> Any:
    """The smallest number of a type, or the largest."""
    import numpy as np

    if x._value.dtype in FLOATS:
        return -float("inf") if low else float("inf")
    if x._value.dtype == BOOL:
        return not low
    info = np.iinfo(x.dtype.numpy)
    return int(info.min if low else info.max)
