"""Losses over classes: scores (N, C, ...) and class indices, sets of classes or probabilities."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.nn.functional.reduction import can_look, chosen, may_equal, reduced, same_shape
from toolkit.ops.dispatch import apply, apply1, handle
from toolkit.tensor import Tensor, arange

_SOFTPLUS = handle("Softplus")


def _labels(name: str, input: Tensor, target: Tensor) -> Tensor:
    """The labels, which must have the input's shape without its classes."""
    if not input.dim():
        raise ShapeError(f"{name}: an input (N, C, ...) or (C,) is required, got a 0-dim one.")
    if target.dtype.name == "uint8":
        target = target.long()
    if target.dtype.name not in ("int64", "int32"):
        raise DTypeError(
            f"{name}: class indices int64 or int32 are required, got {target.dtype.name}."
        )
    expected = [input.shape[0], *input.shape[2:]] if input.dim() > 1 else []
    if not may_equal(expected, target.shape):
        got, words = (
            list(target.shape),
            f"Expected target size {expected}, got {list(target.shape)}",
        )
        if expected and got and not may_equal(expected[:1], got[:1]):
            words = (
                f"Expected input batch_size ({expected[0]}) to match target batch_size ({got[0]})"
            )
        raise ShapeError(
            f"{name}: {words}: a target of shape {expected} is required by the input "
            f"{list(input.shape)}, got {got}."
        )
    return target


def _class_weight(name: str, input: Tensor, weight: Tensor | None) -> None:
    classes = input.shape[0 if input.dim() == 1 else 1]
    if weight is not None and not may_equal(weight.shape, [classes]):
        raise ShapeError(
            f"{name}: a weight for each of {classes} classes is required, got a weight of shape "
            f"{list(weight.shape)}."
        )


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between scores and class indices or class probabilities.

    Args:
        input: scores (N, C, ...) or (C,).
        target: class indices int64 (N, ...) or (); or probabilities of the input's shape.
        weight: (C,), a weight for each class.
        size_average: old spelling of `reduction`.
        ignore_index: targets that do not count.
        reduce: old spelling of `reduction`.
        reduction: "mean" is weighted by the targets' weights.
        label_smoothing: the part of each target that is spread over all classes.
    """
    reduction = chosen("cross_entropy", size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise InvalidArgumentError(
            f"cross_entropy: label_smoothing in [0, 1] is required, got {label_smoothing}."
        )
    if target.dtype.is_floating_point:
        return _of_probabilities(input, target, weight, reduction, label_smoothing)
    target = _labels("cross_entropy", input, target)
    _class_weight("cross_entropy", input, weight)
    if input.dim() == 1:
        loss = cross_entropy(
            input.unsqueeze(0), target.unsqueeze(0), weight, None, ignore_index, None, reduction,
            label_smoothing,
        )  # fmt: skip
        return loss.squeeze(0) if reduction == "none" else loss
    h = handle("SoftmaxCrossEntropyLoss", ignore_index=int(ignore_index), reduction=reduction)
    hard = apply(h, *((input, target) if weight is None else (input, target, weight)))
    if label_smoothing == 0.0:
        return hard
    soft = _smooth_part(input, target, weight, ignore_index, reduction)
    total: Tensor = hard * (1.0 - label_smoothing) + soft * (label_smoothing / input.shape[1])
    return total


def _smooth_part(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """The sum over classes of -weight log p for each target that counts, reduced."""
    log_p = apply1(handle("LogSoftmax", axis=1), input)
    if weight is not None:
        log_p = log_p * weight.reshape(1, -1, *[1] * (input.dim() - 2))
    counts = target != ignore_index
    loss = where(counts, -log_p.sum(1), 0.0)
    if reduction != "mean":
        return reduced(loss, reduction)
    if weight is None:
        return loss.sum() / counts.to(input.dtype).sum()  # type: ignore[no-any-return]
    safe = where(counts, target, 0)
    picked = apply(handle("Gather", axis=0), weight, safe)
    return loss.sum() / (picked * counts.to(input.dtype)).sum()  # type: ignore[no-any-return]


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    same_shape("cross_entropy", input, target)
    _class_weight("cross_entropy", input, weight)
    axis = 0 if input.dim() == 1 else 1
    if label_smoothing > 0.0:
        target = target * (1.0 - label_smoothing) + label_smoothing / input.shape[axis]
    log_p = apply1(handle("LogSoftmax", axis=axis), input)
    if weight is not None:
        log_p = log_p * weight.reshape([-1 if d == axis else 1 for d in range(input.dim())])
    return reduced(-(log_p * target).sum(axis), reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability (N, C, ...) of each target class (N, ...)."""
    reduction = chosen("nll_loss", size_average, reduce, reduction)
    target = _labels("nll_loss", input, target)
    _class_weight("nll_loss", input, weight)
    if input.dim() == 1:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
        loss = nll_loss(input, target, weight, None, ignore_index, None, reduction)
        return loss.squeeze(0) if reduction == "none" else loss
    h = handle("NegativeLogLikelihoodLoss", ignore_index=int(ignore_index), reduction=reduction)
    return apply(h, *((input, target) if weight is None else (input, target, weight)))


def _rows(name: str, input: Tensor) -> tuple[Tensor, bool]:
    """Scores as (N, C), and whether there was one row only."""
    if input.dim() not in (1, 2):
        raise ShapeError(f"{name}: an input (N, C) or (C,) is required, got {list(input.shape)}.")
    return (input.unsqueeze(0), True) if input.dim() == 1 else (input, False)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over i != y of weight[y] max(0, margin - x[y] + x[i])^p, divided by C."""
    reduction = chosen("multi_margin_loss", size_average, reduce, reduction)
    if p not in (1, 2):
        raise InvalidArgumentError(f"multi_margin_loss: only p == 1 and p == 2 supported, got {p}.")
    if weight is not None and weight.dim() != 1:
        raise InvalidArgumentError(
            f"multi_margin_loss: weight must be one-dimensional, got {weight.dim()} dimensions."
        )
    x, single = _rows("multi_margin_loss", input)
    _class_weight("multi_margin_loss", x, weight)
    scalar = target.dim() == 0
    y = _labels("multi_margin_loss", x, target.reshape(1) if single and scalar else target)
    y = y.unsqueeze(1)
    hinge = (margin - x.gather(1, y) + x).clamp(min=0.0)
    hinge = hinge * hinge if p == 2 else hinge
    if weight is not None:
        hinge = hinge * apply(handle("Gather", axis=0), weight, y)
    other = arange(x.shape[1]) != y
    loss = where(other, hinge, 0.0).sum(1) / x.shape[1]
    loss = loss.squeeze(0) if scalar and reduction == "none" else loss
    return reduced(loss, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over targets j and other classes i of max(0, 1 - x[j] + x[i]), divided by C.

    Args:
        input: (N, C) or (C,).
        target: int64 of that shape: the classes of a row up to the first negative entry.
        size_average: old spelling of `reduction`.
        reduce: old spelling of `reduction`.
        reduction: "mean", "sum" or "none".
    """
    reduction = chosen("multilabel_margin_loss", size_average, reduce, reduction)
    same_shape("multilabel_margin_loss", input, target)
    if target.dtype.name != "int64":
        raise DTypeError(
            f"multilabel_margin_loss: class indices int64 are required, got {target.dtype.name}."
        )
    x, single = _rows("multilabel_margin_loss", input)
    y = target.unsqueeze(0) if single else target
    if can_look() and y.numel() and int(y.max()) >= int(x.shape[1]):
        raise InvalidArgumentError(
            f"multilabel_margin_loss: targets below {x.shape[1]} are required, argument target is "
            f"out of range: {int(y.max())}."
        )
    listed: Any = (y < 0).long().cumsum(1) == 0
    y = where(listed, y, 0)
    hot = (y.unsqueeze(2) == arange(x.shape[1])) & listed.unsqueeze(2)  # (N, target, class)
    other = ~hot.any(1)
    hinge = (1.0 - x.gather(1, y).unsqueeze(2) + x.unsqueeze(1)).clamp(min=0.0)
    counts = listed.unsqueeze(2) & other.unsqueeze(1)
    loss = where(counts, hinge, 0.0).sum((1, 2)) / x.shape[1]
    return reduced(loss.squeeze(0) if single else loss, reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`binary_cross_entropy_with_logits`, its mean over the last dimension reduced."""
    reduction = chosen("multilabel_soft_margin_loss", size_average, reduce, reduction)
    loss = target * apply1(_SOFTPLUS, -input) + (1 - target) * apply1(_SOFTPLUS, input)
    loss = loss if weight is None else loss * weight
    return reduced(loss.sum(-1) / input.shape[-1], reduction)
