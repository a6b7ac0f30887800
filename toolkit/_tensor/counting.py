"""Counting: histograms, how often integers occur, membership, sums over segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor import results
from toolkit._tensor.base import FLOATS, INTS, TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.factories import arange, as_tensor, cat, full, tensor, zeros
from toolkit._tensor.parts import count_up
from toolkit._tensor.sets import searchsorted
from toolkit._tensor.shapes import _symbolic, as_size
from toolkit._tensor.symint import sym_max
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def _refuse_integers(name: str, x: Any) -> None:
    if x._value.dtype not in FLOATS:
        raise DTypeError(f"{name}: a floating point dtype is required, got {x.dtype.name}.")


def _range(name: str, x: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """The outer edges: as given, or the data's own when both are equal."""
    if not isinstance(low, TensorBase) and low > high:
        raise InvalidArgumentError(f"{name}: max must be larger than min, got {low} and {high}.")
    if low == high:
        size = x.numel()
        if _symbolic(size) or size:
            low, high = x.amin(), x.amax()
            if type(low._get()) is _core.Tensor and not bool((low - low == 0) & (high - high == 0)):
                raise InvalidArgumentError(
                    f"{name}: range of [{low.item()}, {high.item()}] is not finite"
                )
        same = as_tensor(low == high)
        low, high = where(same, low - 1, low), where(same, high + 1, high)
    return as_tensor(low, dtype=x.dtype), as_tensor(high, dtype=x.dtype)


def histc(input: Any, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """How many elements lie in each of `bins` equal parts of [min, max]; others are left out.

    With min = max the range is that of the data.
    """
    _refuse_integers("histc", input)
    if bins <= 0:
        raise InvalidArgumentError(f"histc: bins must be > 0, got {bins}.")
    x = input.detach().reshape(-1)
    low, high = _range("histc", x, min, max)
    place = ((x - low) * (bins / (high - low))).floor()
    inside = (x >= low) & (x <= high)
    place = where(inside, place.clamp(0, bins - 1), 0.0).long()
    return zeros(bins, dtype=x.dtype).scatter_add(0, place, inside.to(x.dtype))


def _edges(name: str, x: Any, bins: Any, range: Any) -> Any:
    if not isinstance(bins, int):
        if bins.dim() != 1 or bins.shape[0] < 1:
            raise ShapeError(
                f"{name}: bins tensor should have one dimension and at least one element, got "
                f"shape {list(bins.shape)}."
            )
        return bins.to(x.dtype)
    if bins <= 0:
        raise InvalidArgumentError(f"{name}: bins must be > 0, but got {bins}.")
    low, high = (0, 0) if range is None else range
    low, high = _range(name, x, low, high)
    steps = arange(bins + 1, dtype=x.dtype) / bins
    return cat([(low + (high - low) * steps)[:-1], high.reshape(1)])


def _bin(x: Any, edges: Any) -> tuple[Any, Any]:
    """The bin of each element, the last one closed; and whether it has one."""
    place = searchsorted(edges, x, right=True) - 1
    count = edges.shape[0] - 1
    place = where(x == edges[-1], count - 1, place)
    inside = (x >= edges[0]) & (x <= edges[-1])
    return where(inside, place, 0), inside


def _totals(place: Any, inside: Any, count: Any, weight: Any, dtype: Any) -> Any:
    w = inside.to(dtype) if weight is None else where(inside, weight.detach().reshape(-1), 0)
    return zeros(count, dtype=dtype).scatter_add(0, place, w.to(dtype))


def histogram(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> results.histogram:
    """Counts (or sums of weights, or densities) of elements between edges, and the edges.

    Args:
        input: floats of any shape.
        bins: how many equal bins, or their ascending edges.
        range: the outer edges, (low, high); those of the data by default.
        weight: what each element counts, of the shape of `input`.
        density: divide by the total and the width of the bin.
    """
    _refuse_integers("histogram", input)
    if weight is not None and weight.shape != input.shape:
        raise ShapeError(
            f"histogram(): weight must have the shape of input {list(input.shape)}, got "
            f"{list(weight.shape)}."
        )
    x = input.detach().reshape(-1)
    edges = _edges("histogram", x, bins, range)
    place, inside = _bin(x, edges)
    hist = _totals(place, inside, edges.shape[0] - 1, weight, x.dtype)
    if density:
        hist = hist / hist.sum() / edges.diff()
    return results.histogram(hist, edges)


def histogramdd(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> results.histogramdd:
    """The histogram of points in D dimensions, (..., D), and the edges of each dimension.

    `bins` is one number, one for each dimension, or the edges of each; `range` holds low and high
    of each dimension in one flat sequence.
    """
    _refuse_integers("histogramdd", input)
    if input.dim() < 2:
        raise ShapeError(
            f"histogramdd: input tensor should have at least 2 dimensions, got {input.dim()}."
        )
    points = input.detach().reshape(-1, input.shape[-1])
    rank = points.shape[1]
    each = list(bins) if isinstance(bins, (list, tuple)) else [bins] * rank
    if len(each) != rank:
        raise ShapeError(
            f"histogramdd: one bin size or tensor of edges is required for each of the {rank} "
            f"dimensions, got {len(each)}."
        )
    if range is not None and len(range) != 2 * rank:
        raise ShapeError(
            f"histogramdd: range must have 2 elements for each of the {rank} dimensions, got "
            f"{len(range)}."
        )
    edges: list[Any] = []
    place: Any = 0
    inside: Any = None
    for i, part in enumerate(each):
        x = points[:, i]
        found = _edges("histogramdd", x, part, None if range is None else range[2 * i : 2 * i + 2])
        at, within = _bin(x, found)
        place = place * (found.shape[0] - 1) + at
        inside = within if inside is None else inside & within
        edges.append(found)
    shape = [e.shape[0] - 1 for e in edges]
    total = 1
    for n in shape:
        total = total * n
    hist = _totals(where(inside, place, 0), inside, total, weight, points.dtype).reshape(shape)
    if density:
        hist = hist / hist.sum()
        for i, e in enumerate(edges):
            hist = hist / e.diff().reshape((-1,) + (1,) * (rank - i - 1))
    return results.histogramdd(hist, tuple(edges))


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs, or the sum of the weights of its elements."""
    if input.dim() != 1 or input._value.dtype not in INTS:
        raise InvalidArgumentError(
            "bincount only supports 1-d non-negative integral inputs, got "
            f"{input.dim()} dimensions of {input.dtype.name}."
        )
    if minlength < 0:
        raise InvalidArgumentError(f"bincount: minlength should be >= 0, got {minlength}.")
    if weights is not None and weights.shape != input.shape:
        raise ShapeError(
            f"bincount: weights must have the shape of input {list(input.shape)}, got "
            f"{list(weights.shape)}."
        )
    x = input.long()
    if type(x._get()) is _core.Tensor:
        if x.numel() and int(x.min()) < 0:
            raise InvalidArgumentError(
                f"bincount only supports 1-d non-negative integral inputs, got {int(x.min())}."
            )
        size: Any = max(int(x.max()) + 1 if x.numel() else 0, minlength)
    else:
        size = sym_max(as_size(cat([x, tensor([-1])]).max() + 1), minlength)
    if weights is None:
        return zeros(size, dtype=x.dtype).scatter_add(0, x, x * 0 + 1)
    w = weights if weights._value.dtype in (1, 11) else weights.double()
    return zeros(size, dtype=w.dtype).scatter_add(0, x, w)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is one of `test_elements` (with `invert`, none of them)."""
    a, b = as_tensor(elements), as_tensor(test_elements)
    found = (a.unsqueeze(-1) == b.reshape(-1)).any(-1)
    return ~found if invert else found


def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """Coordinates of flat indices in a tensor of a shape, one tensor for each dimension."""
    if indices._value.dtype not in INTS:
        raise DTypeError(
            f"unravel_index(): expected 'indices' to be an integer tensor, but got "
            f"{indices.dtype.name}"
        )
    if isinstance(shape, TensorBase):
        shape = shape._concrete("unravel_index").numpy().tolist()
    sizes = list(shape) if isinstance(shape, (list, tuple)) else [shape]
    if any(not _symbolic(n) and n < 0 for n in sizes):
        raise InvalidArgumentError(
            f"unravel_index(): 'shape' cannot have negative values, but got {sizes}"
        )
    rest, places = indices.long(), []
    for n in reversed(sizes):
        places.append(rest % n)
        rest = rest // n
    return tuple(reversed(places))


def segment_reduce(
    data: Any, reduce: str, *, lengths: Any = None, indices: Any = None, offsets: Any = None,
    axis: int = 0, unsafe: bool = False, initial: Any = None,
) -> Tensor:  # fmt: skip
    """Reduces segments of `axis` ("sum", "mean", "max", "min", "prod"); they follow each other.

    Args:
        data: floats; dimensions before `axis` are batches.
        reduce: what is done to each segment.
        lengths: sizes of the segments, (..., number of segments).
        indices: not taken, as in PyTorch.
        offsets: where segments begin, and the end of the last, in place of `lengths`.
        axis: the last dimension of `lengths`.
        unsafe: leave out the check that the lengths add up.
        initial: where a segment starts from; what empty ones become.
    """
    kinds = {"sum": "add", "mean": "add", "prod": "mul", "max": "max", "min": "min"}
    if reduce not in kinds:
        raise InvalidArgumentError(
            f"segment_reduce: one of {', '.join(kinds)} is required, got {reduce!r}."
        )
    if indices is not None or (lengths is None) == (offsets is None):
        raise InvalidArgumentError(
            "segment_reduce(): Either lengths or offsets must be given, and not indices."
        )
    if offsets is not None:
        lengths = offsets.diff(dim=-1)
    if axis != lengths.dim() - 1:
        raise ShapeError(
            f"segment_reduce(): Expected axis to be the last dimension of lengths but got {axis}."
        )
    n, count = data.shape[axis], lengths.shape[-1]
    ends = lengths.long().cumsum(-1)
    known = not unsafe and type(ends._get()) is _core.Tensor and not _symbolic(n) and count
    if known and bool((ends[..., -1] != n).any() | (lengths < 0).any()):
        raise ShapeError(
            "segment_reduce(): Expected all rows of lengths along axis to sum to data.size("
            f"lengths.dim()-1) = {n}, got {ends[..., -1].tolist()}."
        )
    place = (ends.unsqueeze(-2) <= count_up(n).unsqueeze(-1)).sum(-1)
    tail = (1,) * (data.dim() - axis - 1)
    place = place.reshape(*place.shape, *tail).expand(data.shape)
    neutral = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -float("inf"), "min": float("inf")}
    shape = (*data.shape[:axis], count, *data.shape[axis + 1 :])
    start = full(shape, neutral[reduce] if initial is None else initial, dtype=data.dtype)
    out = start._scatter(axis, place, data, kinds[reduce])
    if reduce != "mean":
        return out
    sizes = lengths.reshape(*lengths.shape, *tail)
    if initial is None:
        return out / sizes
    return where(sizes == 0, out, out / sizes.clamp(min=1))


FUNCTIONS: dict[str, Any] = {
    f.__name__: f
    for f in (histc, histogram, histogramdd, bincount, isin, unravel_index, segment_reduce)
}


class Counting(TensorBase):
    """The functions that are methods too."""

    histc, histogram, bincount = histc, histogram, bincount
