"""Distances, similarities, and the losses that compare them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.functional.reduction import chosen, reduced
from toolkit.tensor import Tensor, arange

_EPSILON = 1e-12


def _norm(x: Any, p: float, dim: int, keepdim: bool = False) -> Tensor:
    return x.norm(p, dim, keepdim)  # type: ignore[no-any-return]


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of their common shape."""
    if not (x1.is_floating_point() or x2.is_floating_point()):
        raise InvalidArgumentError(
            "cosine_similarity: expected common dtype to be floating point, got "
            f"{x1.dtype.name} and {x2.dtype.name}."
        )
    rank = max(x1.dim(), x2.dim())
    x1, x2 = (x.reshape(*[1] * (rank - x.dim()), *x.shape) if x.dim() < rank else x
              for x in (x1, x2))  # fmt: skip
    a, b = (x / _norm(x, 2, dim, True).clamp(min=eps) for x in (x1, x2))
    return (a * b).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return _norm(x1 - x2 + eps, p, -1, keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances between the rows of (N, M): those of (0, 1), (0, 2), ..., (N - 2, N - 1)."""
    if input.dim() != 2:
        raise ShapeError(f"pdist: pdist only supports 2D tensors, got: {input.dim()}D.")
    if p < 0:
        raise InvalidArgumentError(f"pdist: pdist only supports non-negative p values, got {p}.")
    n = arange(input.shape[0])
    first, second = (n.unsqueeze(1) < n).nonzero().unbind(1)
    return _norm(input.index_select(0, first) - input.index_select(0, second), p, 1)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where y = 1, max(0, cos - margin) where y = -1.

    Args:
        input1: (N, D) or (D,).
        input2: as `input1`.
        target: (N,) or ().
        margin: between -1 and 1.
        size_average: old spelling of `reduction`.
        reduce: old spelling of `reduction`.
        reduction: "mean", "sum" or "none".
    """
    reduction = chosen("cosine_embedding_loss", size_average, reduce, reduction)
    rank = target.dim()
    if rank > 1:
        raise ShapeError(
            "cosine_embedding_loss: 0D or 1D target tensor expected, multi-target not supported, "
            f"got {rank}D."
        )
    if input1.dim() != rank + 1 or input2.dim() != rank + 1:
        raise ShapeError(
            f"cosine_embedding_loss: {rank}D target tensor expects {rank + 1}D input tensors, but "
            f"found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    squares = [(x * x).sum(rank) + _EPSILON for x in (input1, input2)]
    cosine = (input1 * input2).sum(rank) / (squares[0] * squares[1]).sqrt()
    near = where(target == 1, 1.0 - cosine, 0.0)
    return reduced(near + where(target == -1, (cosine - margin).clamp(min=0.0), 0.0), reduction)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - y (x1 - x2)): for y = 1 the first should be larger."""
    reduction = chosen("margin_ranking_loss", size_average, reduce, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise ShapeError(
            "margin_ranking_loss: All input tensors should have same dimension but got sizes: "
            f"input1: {list(input1.shape)}, input2: {list(input2.shape)}, target: "
            f"{list(target.shape)}."
        )
    return reduced((margin - target * (input1 - input2)).clamp(min=0.0), reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + |anchor - positive| - |anchor - negative|) by `pairwise_distance`.

    `swap` takes |positive - negative| where that is the smaller one.
    """
    reduction = chosen("triplet_margin_loss", size_average, reduce, reduction)
    return _triplet(
        "triplet_margin_loss", anchor, positive, negative,
        lambda a, b: pairwise_distance(a, b, p, eps), margin, swap, reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own."""
    chosen("triplet_margin_with_distance_loss", None, None, reduction)
    return _triplet(
        "triplet_margin_with_distance_loss", anchor, positive, negative,
        distance_function or pairwise_distance, margin, swap, reduction,
    )  # fmt: skip


def _triplet(
    name: str, anchor: Tensor, positive: Tensor, negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor], margin: float, swap: bool, reduction: str,
) -> Tensor:  # fmt: skip
    if margin <= 0:
        raise InvalidArgumentError(f"{name}: margin must be greater than 0, got {margin}.")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise ShapeError(
            f"{name}: The anchor, positive, and negative tensors are expected to have the same "
            f"number of dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, "
            f"and negative {negative.dim()}D inputs."
        )
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + distance(anchor, positive) - far).clamp(min=0.0), reduction)
