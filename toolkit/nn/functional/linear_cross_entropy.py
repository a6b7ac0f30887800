"""Cross-entropy of a linear map of the input, in chunks of rows: not all scores exist at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit._tensor.symint import SymInt
from toolkit.dtypes import DType
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.functional.class_loss import cross_entropy
from toolkit.nn.functional.linear import linear
from toolkit.nn.functional.reduction import chosen, may_equal, warn
from toolkit.tensor import Tensor, cat
from toolkit.utils.checkpoint import checkpoint


@dataclass(slots=True, frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts its rows into chunks, whose scores are computed twice.

    Args:
        allow_retain_graph: taken for PyTorch's sake; a second backward pass always works here.
        batch_chunk_size: rows of a chunk. None: as `chunking_method` says.
        chunking_method: "aspect_ratio" makes the scores of a chunk as large as the input,
            "aspect_ratio:N" an N-th of that; "auto" is "aspect_ratio:2". None: one chunk.
        acc_policy: taken for PyTorch's sake; products are accumulated in float32 or wider here.
        acc_dtype: as `acc_policy`.

    Raises:
        InvalidArgumentError: a value is none of these.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: DType | None = None

    def __post_init__(self) -> None:
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            raise InvalidArgumentError(f"invalid acc_policy: {self.acc_policy!r}")
        if self.chunking_method not in (None, "auto"):
            name, sep, factor = str(self.chunking_method).partition(":")
            if name != "aspect_ratio" or (sep and not (factor.isdigit() and int(factor) > 0)):
                raise InvalidArgumentError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise InvalidArgumentError(
                f"batch_chunk_size must be positive int or None, got {size!r}"
            )

    def rows(self, count: int, in_features: int, classes: int) -> int:
        """Rows of one chunk.

        Raises:
            InvalidArgumentError: size and method are both given, and disagree.
        """
        method = self.chunking_method
        if method == "auto":
            method = None if self.batch_chunk_size is not None else "aspect_ratio:2"
        own = count if self.batch_chunk_size is None else min(self.batch_chunk_size, count)
        if method is None:
            return max(1, own)
        target = -(-count // -(-classes // max(in_features, 1)))
        found = min((1 << max(target - 1, 0).bit_length()) // int(method.partition(":")[2] or 1),
                    count)  # fmt: skip
        if self.batch_chunk_size is not None and self.batch_chunk_size != found:
            raise InvalidArgumentError(
                f"batch_chunk_size (={self.batch_chunk_size}) and chunking_method ('{method}') "
                f"give different chunk sizes ({self.batch_chunk_size} vs {found}); pass only one."
            )
        return max(1, found)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """`cross_entropy(linear(input, linear_weight, linear_bias), target, ...)`.

    Args:
        input: (N, in) or (in,).
        linear_weight: (C, in), or (C, d1, ..., in) for scores (N, C, d1, ...).
        target: class indices (N, d1, ...), or probabilities (N, C, d1, ...).
        linear_bias: (C, d1, ...).
        weight: (C,), a weight for each class.
        reduction: "mean", "sum" or "none".
        ignore_index: a target that does not count, None: -100.
        label_smoothing: as in `cross_entropy`.
        options: chunks of rows; only those of one chunk exist at a time, in both passes.

    Raises:
        ShapeError: the shapes do not fit.
    """
    chosen("linear_cross_entropy", None, None, reduction)
    inner = _inner_shape(input, linear_weight, linear_bias)
    classes = linear_weight.shape[0]
    shape = (*input.shape[:-1], classes, *inner)
    if target.dtype.is_floating_point and may_equal(target.shape, shape) and ignore_index:
        raise InvalidArgumentError(
            "linear_cross_entropy: ignore_index cannot be specified when target contains "
            f"probabilities, got {ignore_index}."
        )
    ignored = -100 if ignore_index is None else ignore_index
    flat = linear_weight.reshape(-1, linear_weight.shape[-1]) if inner else linear_weight
    bias = linear_bias.reshape(-1) if inner and linear_bias is not None else linear_bias

    def loss(x: Tensor, w: Tensor, b: Tensor | None, y: Tensor, kind: str) -> Tensor:
        scores = linear(x, w, b)
        scores = scores.reshape(*x.shape[:-1], classes, *inner) if inner else scores
        return cross_entropy(scores, y, weight, ignore_index=ignored, reduction=kind,
                             label_smoothing=label_smoothing)  # fmt: skip

    if options is None:
        return loss(input, flat, bias, target, reduction)
    if inner or label_smoothing or target.dtype.is_floating_point:
        warn(
            "linear_cross_entropy: ``options`` ignored; chunks need label_smoothing == 0, class "
            f"indices and out_features == (). Got label_smoothing={label_smoothing}, a target of "
            f"{target.dtype.name}, out_features={tuple(inner)}."
        )
        return loss(input, flat, bias, target, reduction)
    if input.dim() == 1 or type(input.shape[0]) is SymInt:
        return checkpoint(loss, input, flat, bias, target, reduction)  # type: ignore[no-any-return]
    step = options.rows(input.shape[0], input.shape[1], classes)
    kind = "none" if reduction == "none" else "sum"
    parts = [
        checkpoint(loss, input[i : i + step], flat, bias, target[i : i + step], kind)
        for i in range(0, max(input.shape[0], 1), step)
    ]
    if kind == "none":
        return cat(parts)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    if reduction == "mean":
        total = total / _weight_sum(target, weight, ignored, input)
    return total  # type: ignore[no-any-return]


def _weight_sum(target: Tensor, weight: Tensor | None, ignored: int, like: Tensor) -> Any:
    """The sum of the weights of all targets that count."""
    counts = target != ignored
    if weight is None:
        return counts.to(like.dtype).sum()
    return (weight[target.masked_fill(~counts, 0)] * counts.to(weight.dtype)).sum()


def _inner_shape(input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Any, ...]:
    """The dimensions of the scores after N and C, of operands that fit together."""
    need = "linear_cross_entropy: "
    if input.dim() not in (1, 2):
        raise ShapeError(f"{need}expected input with dimensionality 1 or 2, got {input.dim()}.")
    if weight.dim() < 2:
        raise ShapeError(
            f"{need}expected linear_weight with dimensionality at least 2, got {weight.dim()}."
        )
    if not may_equal(input.shape[-1:], weight.shape[-1:]):
        raise ShapeError(
            f"{need}expected equal input and linear_weight last dimensions (in_features), got "
            f"{input.shape[-1]} and {weight.shape[-1]}."
        )
    inner = tuple(weight.shape[1:-1])
    if bias is not None and not may_equal(bias.shape, (weight.shape[0], *inner)):
        raise ShapeError(
            f"{need}expected linear_bias shape {[weight.shape[0], *inner]}, got {list(bias.shape)}."
        )
    if inner and input.dim() == 1:
        raise ShapeError(
            f"{need}K-dimensional loss defined by linear_weight shape {list(weight.shape)} "
            f"requires batched input (N, {weight.shape[-1]}), got {list(input.shape)}."
        )
    return inner
