"""What sorting gives: sorted elements, medians, quantiles, modes, and the k-th of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor import results
from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, as_size, normalize_dim, shape_operand
from toolkit.errors import DTypeError, InvalidArgumentError, OutOfBoundsError, ShapeError
from toolkit.ops.dispatch import apply_many, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_UINT8 = 2


def along(x: Any, dim: int) -> tuple[Any, int]:
    """The tensor with at least one dimension, and the dimension normalised."""
    d = normalize_dim(dim, x.dim())
    return (x if x.dim() else x.reshape(1)), d


def pick(pair: Any, d: int, place: Any) -> tuple[Any, Any]:
    """Of sorted (values, indices) those at a place: an int, or a tensor with d of size 1."""
    if isinstance(place, TensorBase):
        return pair[0].gather(d, place), pair[1].gather(d, place)
    return pair[0].narrow(d, place, 1).clone(), pair[1].narrow(d, place, 1).clone()


def dropped(kind: Any, pair: Any, d: int, keepdim: bool, rank: int, label: str = "") -> Any:
    """A named pair without dimension d, unless it is kept."""
    values, indices = pair
    if not rank or not keepdim:
        values, indices = values.squeeze(d), indices.squeeze(d)
        values._base = indices._base = None
    if label and values.grad_fn is not None:
        values.grad_fn.label = label
    return kind(values, indices)


def has_nan(x: Any, d: int) -> Any:
    """How many elements along d are NaN, kept as size 1; None for integers."""
    return cast(x.isnan(), INT64).sum(d, True) if x._value.dtype in FLOATS else None


def refuse_bool(name: str, x: Any) -> None:
    """As PyTorch's kernels do."""
    if x._value.dtype == BOOL:
        raise DTypeError(f"{name}: numbers are required, got bool; it has no order of interest.")


class Order(TensorBase):
    """Sorting, and statistics of the sorted."""

    def _sorted(self: Any, k: Any, d: int, largest: bool) -> tuple[Any, Any]:
        x = self if self._value.dtype != BOOL else cast(self, _UINT8)
        h = handle("TopK", axis=d, largest=int(largest), sorted=1)
        values, indices = apply_many(h, (x, shape_operand((k,))), 2)
        return (values if x is self else cast(values, BOOL)), indices

    def topk(
        self: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True
    ) -> results.topk:
        """The k largest (or smallest) elements along `dim` and their indices."""
        refuse_bool("topk", self)
        x, d = along(self, dim)
        n, k = x.shape[d], as_size(k)
        if not _symbolic(n) and not _symbolic(k) and not 0 <= k <= n:
            raise InvalidArgumentError(f"selected index k out of range: at most {n}, got {k}")
        values, indices = x._sorted(k, d, largest)
        if values.grad_fn is not None:
            values.grad_fn.label = "Topk"
        return results.topk(*(t.reshape(()) if not self.dim() and k == 1 else t
                              for t in (values, indices)))  # fmt: skip

    def sort(self: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
        """Elements in order along `dim`, and where they were. Equal elements keep their order."""
        x, d = along(self, dim)
        values, indices = x._sorted(x.shape[d], d, descending)
        if values.grad_fn is not None:
            values.grad_fn.label = "Sort"
        if not self.dim():
            values, indices = values.reshape(()), indices.reshape(())
        return results.sort(values, indices)

    def argsort(self: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
        """The indices that sort along `dim`."""
        return self.detach().sort(dim, descending).indices

    def msort(self: Any) -> Tensor:
        """Sorted along the first dimension."""
        return self.sort(0).values

    def kthvalue(self: Any, k: Any, dim: int = -1, keepdim: bool = False) -> results.kthvalue:
        """The k-th smallest element along `dim`, counted from 1, and its index."""
        refuse_bool("kthvalue", self)
        x, d = along(self, dim)
        n, k = x.shape[d], as_size(k)
        if not _symbolic(n) and not _symbolic(k) and not 1 <= k <= n:
            raise InvalidArgumentError(
                f"kthvalue(): selected number k out of range for dimension {d}: 1 to {n} is "
                f"required, got {k}"
            )
        pair = pick(x._sorted(k, d, False), d, k - 1)
        return dropped(results.kthvalue, pair, d, keepdim, self.dim(), "Kthvalue")

    def _middle(self: Any, name: str, dim: int | None, keepdim: bool, skip: bool) -> Any:
        """The median: the middle of what is no NaN, or the first NaN."""
        refuse_bool(name, self)
        if dim is None:
            flat = self.reshape(-1)
            if not _symbolic(flat.shape[0]) and flat.shape[0] == 0:
                if self._value.dtype not in FLOATS:
                    raise ShapeError(f"{name}(): a non-empty tensor is required, got no elements.")
                return self.sum() * float("nan")
            return getattr(flat, name)(0).values
        x, d = along(self, dim)
        n = x.shape[d]
        if not _symbolic(n) and n == 0:
            raise OutOfBoundsError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
        nans = has_nan(x.detach(), d)
        if nans is None:
            place: Any = (n - 1) // 2
        elif skip:
            place = ((n - nans - 1).clamp(min=0)) // 2
        else:
            place = where(nans > 0, n - nans, (n - 1) // 2)
        kind = results.nanmedian if skip else results.median
        return dropped(kind, pick(x._sorted(n, d, False), d, place), d, keepdim, self.dim(),
                       name.capitalize())  # fmt: skip

    def median(self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        """The (lower) median of all elements, or (values, indices) along `dim`; NaN if one is."""
        return self._middle("median", dim, keepdim, False)

    def nanmedian(self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        """`median` of the elements that are not NaN."""
        return self._middle("nanmedian", dim, keepdim, True)

    def mode(self: Any, dim: int = -1, keepdim: bool = False) -> results.mode:
        """The most frequent element along `dim` (the smallest of several) and a place of it."""
        x, d = along(self, dim)
        n = x.shape[d]
        if not _symbolic(n) and n == 0:
            raise OutOfBoundsError(f"mode(): Expected reduction dim {d} to have non-zero size.")
        pair = x._sorted(n, d, False)
        s = pair[0].detach()
        s = cast(s, _UINT8) if s._value.dtype == BOOL else s
        from toolkit._tensor.factories import cat
        from toolkit._tensor.parts import count_up

        # How long the run of equals is at each place: its distance to the last new element.
        differs = s.narrow(d, 1, n - 1) != s.narrow(d, 0, n - 1)
        new = cat([s.narrow(d, 0, 1) == s.narrow(d, 0, 1), differs], d)
        steps = count_up(n).reshape((1,) * d + (-1,) + (1,) * (s.dim() - d - 1))
        begins = (steps * new.long()).cummax(d).values
        place = (steps - begins).argmax(d, True)
        return dropped(results.mode, pick(pair, d, place), d, keepdim, self.dim(), "Mode")

    def _quantile(
        self: Any, name: str, q: Any, dim: int | None, keepdim: bool, interpolation: str
    ) -> Any:
        from toolkit._tensor.factories import tensor

        if self._value.dtype not in (1, 11):
            raise DTypeError(
                f"{name}() input tensor must be either float or double dtype, got {self.dtype.name}"
            )
        if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
            raise InvalidArgumentError(
                f"{name}() interpolation must be one of linear, lower, higher, midpoint or "
                f"nearest, but got {interpolation}"
            )
        if isinstance(q, TensorBase):
            if q._value.dtype != self._value.dtype:
                raise DTypeError(
                    f"{name}() q tensor must be same dtype as the input tensor, got "
                    f"{q.dtype.name} and {self.dtype.name}"
                )
        elif not 0 <= q <= 1:
            raise InvalidArgumentError(f"{name}() q must be in the range [0, 1] but got {q}")
        else:
            q = tensor(q, dtype=self.dtype)
        if q.dim() > 1:
            raise ShapeError(f"{name}() q must be a scalar or 1D tensor, got {q.dim()} dimensions")
        rank = self.dim()
        x, d = (self.reshape(-1), 0) if dim is None else along(self, dim)
        n = x.shape[d]
        if not _symbolic(n) and 0 in tuple(x.shape):
            raise ShapeError(f"{name}() input tensor must be non-empty")
        # The dimension comes last: q's places lie along it.
        x = x.movedim(d, -1) if x.dim() > 1 else x
        s = x.sort(-1).values
        nans = cast(has_nan(x.detach(), x.dim() - 1), x._value.dtype)
        last = n.tensor().to(x.dtype) - 1 if _symbolic(n) else float(n - 1)
        if name == "nanquantile":
            ranks = ((last - nans) * q).clamp(min=0)
        else:
            ranks = (q * last).where(nans == 0, last + nans * 0)
        out = _between(s, ranks, interpolation)
        # (..., q): q comes first, if it has a dimension, and the reduced one is kept or dropped.
        if keepdim:
            shape = (1,) * max(rank, 0) if dim is None else None
            places = out.movedim(-1, 0)
            places = places.unsqueeze(d + 1) if shape is None else places.reshape(-1, *shape)
            out = places if q.dim() else places.squeeze(0)
            return out.reshape(()) if not rank and not q.dim() else out
        return out.movedim(-1, 0) if q.dim() else out.squeeze(-1)

    def quantile(
        self: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
        interpolation: str = "linear",
    ) -> Tensor:  # fmt: skip
        """The q-quantiles (a number, or a vector of them, which comes first) of all or along `dim`.

        `interpolation` between two elements: linear, lower, higher, midpoint or nearest.
        """
        return self._quantile("quantile", q, dim, keepdim, interpolation)

    def nanquantile(
        self: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
        interpolation: str = "linear",
    ) -> Tensor:  # fmt: skip
        """`quantile` of the elements that are not NaN."""
        return self._quantile("nanquantile", q, dim, keepdim, interpolation)


def _between(s: Any, ranks: Any, interpolation: str) -> Any:
    """Elements of the sorted last dimension at places that may lie between two."""
    if interpolation in ("lower", "higher", "nearest"):
        way = {"lower": "floor", "higher": "ceil", "nearest": "round"}[interpolation]
        return s.gather(-1, cast(getattr(ranks.detach(), way)(), INT64))
    floor = ranks.detach().floor()
    low = s.gather(-1, cast(floor, INT64))
    high = s.gather(-1, cast(ranks.detach().ceil(), INT64))
    weight: Any = 0.5 if interpolation == "midpoint" else ranks - floor
    return low + (high - low) * weight
