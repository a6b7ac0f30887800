"""Look-ups in tables, and sums, means and maxima of what was looked up."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.autograd import no_grad
from toolkit.dtypes import int32, int64
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, apply2, handle
from toolkit.tensor import Tensor, cat, ones, ones_like, zeros

_GATHER = handle("Gather", axis=0)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (V, D) by integer indices (...): (..., D).

    Args:
        input: the indices, int32 or int64.
        weight: the table.
        padding_idx: a row that gets no gradient.
        max_norm: rows that are looked up and larger are scaled down to it, in the table itself.
        norm_type: of that norm.
        scale_grad_by_freq: divide gradients by how often their row was looked up.
        sparse: must be False, see `check_table`.
    """
    check_table("embedding", input, weight, sparse)
    if padding_idx is not None:
        padding_idx = padding_row("embedding", padding_idx, weight.shape[0])
    if max_norm is not None:
        renorm_rows(weight, input, max_norm, norm_type)
    rows = apply2(_GATHER, weight, input)
    if not weight.requires_grad:
        return rows
    if scale_grad_by_freq:
        rows = _by_frequency(rows, input, input, weight.shape[0])
    if padding_idx is None:
        return rows
    kept = (input != padding_idx).unsqueeze(-1)
    return where(kept, rows, rows.detach())  # type: ignore[no-any-return]


def check_table(name: str, input: Tensor, weight: Tensor, sparse: bool) -> None:
    """Indices are integers, the table has rows and columns, gradients are dense.

    Raises:
        InvalidArgumentError: gradients that hold only the rows that were used are asked for.
    """
    if sparse:
        raise InvalidArgumentError(
            f"{name}: sparse=False is required, as gradients are dense tensors here, got True."
        )
    if input.dtype not in (int32, int64):
        raise DTypeError(
            f"{name}: Expected tensor for argument 'indices' to have one of the following scalar "
            f"types: Long, Int; but got {input.dtype.name} instead."
        )
    if weight.dim() != 2:
        raise ShapeError(f"'weight' must be 2-D, got {list(weight.shape)} ({name})")


def padding_row(name: str, index: int, rows: int) -> int:
    """`padding_idx` as the number of a row."""
    if not -rows <= index < rows:
        raise InvalidArgumentError(
            f"{name}: Padding_idx must be within num_embeddings, {rows}, got {index}."
        )
    return index % rows


def renorm_rows(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales the rows that `input` names down to a norm of at most `max_norm`, in place."""
    from toolkit.nn.functional.linear import vector_norm

    with no_grad():
        table: Any = weight.detach()
        norm = vector_norm(table, norm_type, 1)
        used = _counts(input, table.shape[0], table.dtype)
        large = (used > 0).unsqueeze(1) & (norm > max_norm)
        weight.copy_(where(large, table * (max_norm / (norm + 1e-7)), table))


def _by_frequency(rows: Any, input: Tensor, all_of: Tensor, count: int) -> Any:
    """The same values, whose gradients are divided by how often their index occurs in `all_of`.

    PyTorch's CPU kernel of embedding_bag divides by the counts of other indices (2.13).
    """
    times = apply2(_GATHER, _counts(all_of, count, rows.dtype), input).unsqueeze(-1)
    fixed = rows.detach()
    return fixed + (rows - fixed) / times


def _counts(input: Tensor, count: int, dtype: Any) -> Any:
    """How often each of `count` indices occurs."""
    flat = input.reshape(-1)
    h = handle("ScatterElements", axis=0, reduction="add")
    return apply(h, zeros(count, dtype=dtype), flat, ones_like(flat).to(dtype))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of bags of rows of `weight` (V, D): (bags, D).

    Args:
        input: (bags, L), or (n,) with `offsets`.
        weight: the table.
        offsets: (bags,), where each bag begins in a flat input.
        max_norm: as `embedding`.
        norm_type: as `embedding`.
        scale_grad_by_freq: as `embedding`; not with "max".
        mode: "sum", "mean" or "max"; an empty bag gives zeros.
        sparse: must be False.
        per_sample_weights: factors like `input`, with "sum".
        include_last_offset: `offsets` ends with the length of the input.
        padding_idx: an index that does not count.
    """
    _check_bag(input, weight, offsets, mode, scale_grad_by_freq, per_sample_weights)
    check_table("embedding_bag", input, weight, sparse)
    if padding_idx is not None:
        padding_idx = padding_row("embedding_bag", padding_idx, weight.shape[0])
    if max_norm is not None:
        renorm_rows(weight, input, max_norm, norm_type)
    factors: Any = per_sample_weights
    flat = input
    if input.dim() == 1:
        at, inside = _places(input, offsets, include_last_offset)
        if not isinstance(input.shape[0], int) or input.shape[0]:
            input = apply2(_GATHER, input, at)
            factors = None if factors is None else apply2(_GATHER, factors, at)
        else:  # Nothing to look up: all bags are empty.
            return zeros(at.shape[0], weight.shape[1], dtype=weight.dtype) + weight.sum() * 0
        if padding_idx is not None:
            inside = inside & (input != padding_idx)
    else:
        inside = None if padding_idx is None else input != padding_idx
    rows: Any = apply2(_GATHER, weight, input)
    if scale_grad_by_freq:
        rows = _by_frequency(rows, input, flat, weight.shape[0])
    if factors is not None:
        rows = rows * factors.unsqueeze(-1)
    return _reduce_bags(rows, inside, mode)


def _reduce_bags(rows: Any, inside: Any, mode: str) -> Tensor:
    """Rows (bags, L, D), of which those count that are inside, as (bags, D)."""
    if mode == "max":
        if isinstance(rows.shape[1], int) and rows.shape[1] == 0:
            return rows.sum(1)  # type: ignore[no-any-return]
        seen = rows.detach()
        seen = seen if inside is None else where(inside.unsqueeze(-1), seen, -math.inf)
        y = rows.gather(1, seen.argmax(1, keepdim=True)).squeeze(1)
        return y if inside is None else where(inside.any(1).unsqueeze(1), y, 0.0)  # type: ignore[no-any-return]
    if inside is not None:
        rows = where(inside.unsqueeze(-1), rows, 0.0)
    y = rows.sum(1)
    if mode == "sum":
        return y  # type: ignore[no-any-return]
    if inside is not None:
        return y / inside.sum(1, keepdim=True).clamp(min=1).to(y.dtype)  # type: ignore[no-any-return]
    length = rows.shape[1]
    return y / (max(length, 1) if isinstance(length, int) else length.tensor().to(y.dtype))  # type: ignore[no-any-return]


def _places(input: Tensor, offsets: Any, include_last: bool) -> tuple[Any, Any]:
    """Places in a flat input (bags, longest), and which of them are inside their bag."""
    n: Any = input.shape[0]
    ends = offsets.to(int64)
    if include_last:
        starts, ends = ends.narrow(0, 0, ends.shape[0] - 1), ends.narrow(0, 1, ends.shape[0] - 1)
    else:
        last = n.vector() if not isinstance(n, int) else ones(1, dtype=int64) * n
        starts = ends
        ends = cat([ends.narrow(0, 1, ends.shape[0] - 1), last])
    longest = (ends - starts).max()
    reach = _range(longest)
    at = starts.unsqueeze(1) + reach
    return at.clamp(max=n - 1) if isinstance(n, int) else at.minimum(n.tensor() - 1), (
        at < ends.unsqueeze(1)
    )


def _range(length: Any) -> Any:
    """0, 1, ... below a 0-dim tensor, at least one number."""
    from toolkit.ops.dispatch import call

    return call("Range", (zeros((), dtype=int64), length.clamp(min=1), ones((), dtype=int64)))


def _check_bag(
    input: Tensor, weight: Tensor, offsets: Any, mode: str, scale: bool, factors: Any
) -> None:
    if mode not in ("sum", "mean", "max"):
        raise InvalidArgumentError(f"mode has to be one of sum, mean or max, got {mode!r}")
    if factors is not None and tuple(input.shape) != tuple(factors.shape):
        raise ShapeError(
            f"embedding_bag: If per_sample_weights ({list(factors.shape)}) is not None, then it "
            f"must have the same shape as the input ({list(input.shape)})"
        )
    if factors is not None and mode != "sum":
        raise InvalidArgumentError(
            "embedding_bag: per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}')."
        )
    if mode == "max" and scale:
        raise InvalidArgumentError(
            "max mode does not support scaling the gradient by the frequency"
        )
    if weight.dim() != 2:
        raise ShapeError(
            f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}"
        )
    if input.dim() == 2:
        if offsets is not None:
            raise InvalidArgumentError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences."
            )
    elif input.dim() != 1:
        raise ShapeError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}"
        )
    elif offsets is None or offsets.dim() != 1:
        raise InvalidArgumentError(f"offsets has to be a 1D Tensor but got {offsets}")
