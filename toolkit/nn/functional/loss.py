"""Losses. `reduction` is "mean", "sum" or "none" everywhere.

Formulas are those of `torch.nn.functional`; N stands for samples, C for classes.
"""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, apply1, handle
from toolkit.tensor import Tensor

_SOFTPLUS = handle("Softplus")
_LOG = handle("Log")


def _reduce(where: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise InvalidArgumentError(f"{where}: {reduction} is not a valid value for reduction.")


def _check_reduction(where: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise InvalidArgumentError(f"{where}: {reduction} is not a valid value for reduction.")


def _same_shape(where: str, input: Tensor, target: Tensor) -> None:
    """Refuses shapes that would broadcast: that is nearly always a mistake in a loss."""
    a, b = tuple(input.shape), tuple(target.shape)
    fits = len(a) == len(b) and all(
        m == n or not (isinstance(m, int) and isinstance(n, int))
        for m, n in zip(a, b, strict=False)
    )
    if not fits:
        raise ShapeError(
            f"{where}: a target of the input's size is required, got target {list(b)} for input "
            f"{list(a)}."
        )


def _check_labels(where: str, input: Tensor, target: Tensor) -> None:
    if target.dtype.name not in ("int64", "int32"):
        raise DTypeError(
            f"{where}: class indices int64 or int32 are required, got {target.dtype.name}."
        )
    expected = [input.shape[0], *input.shape[2:]]
    got = list(target.shape)
    if len(expected) != len(got) or any(
        isinstance(m, int) and isinstance(n, int) and m != n
        for m, n in zip(expected, got, strict=True)
    ):
        raise ShapeError(
            f"{where}: a target of shape {expected} is required by the input {list(input.shape)}, "
            f"got {got}."
        )


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between scores and class indices or class probabilities.

    Args:
        input: scores (N, C, ...) or (C,).
        target: class indices int64 (N, ...) or (); or probabilities of the input's shape.
        weight: (C,), a weight for each class.
        ignore_index: targets that do not count.
        reduction: "mean" is weighted by the targets' weights.
        label_smoothing: the part of each target that is spread over all classes.
    """
    _check_reduction("cross_entropy", reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise InvalidArgumentError(
            f"cross_entropy: label_smoothing in [0, 1] is required, got {label_smoothing}."
        )
    if target.dtype.is_floating_point:
        return _cross_entropy_probabilities(input, target, weight, reduction, label_smoothing)
    if input.dim() == 1:
        loss = cross_entropy(
            input.unsqueeze(0), target.unsqueeze(0), weight, ignore_index, reduction,
            label_smoothing,
        )  # fmt: skip
        return loss.squeeze(0) if reduction == "none" else loss
    _check_labels("cross_entropy", input, target)
    h = handle("SoftmaxCrossEntropyLoss", ignore_index=int(ignore_index), reduction=reduction)
    operands = (input, target) if weight is None else (input, target, weight)
    hard = apply(h, *operands)
    if label_smoothing == 0.0:
        return hard
    soft = _smooth_part(input, target, weight, ignore_index, reduction)
    classes = int(input.shape[1])
    return hard * (1.0 - label_smoothing) + soft * (label_smoothing / classes)


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
        return loss if reduction == "none" else loss.sum()  # type: ignore[no-any-return]
    if weight is None:
        return loss.sum() / counts.to(input.dtype).sum()  # type: ignore[no-any-return]
    safe = where(counts, target, 0)
    chosen = apply(handle("Gather", axis=0), weight, safe)
    return loss.sum() / (chosen * counts.to(input.dtype)).sum()  # type: ignore[no-any-return]


def _cross_entropy_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    _same_shape("cross_entropy", input, target)
    axis = 0 if input.dim() == 1 else 1
    classes = int(input.shape[axis])
    if label_smoothing > 0.0:
        target = target * (1.0 - label_smoothing) + label_smoothing / classes
    log_p = apply1(handle("LogSoftmax", axis=axis), input)
    if weight is not None:
        log_p = log_p * weight.reshape([-1 if d == axis else 1 for d in range(input.dim())])
    loss = -(log_p * target).sum(axis)
    return _reduce("cross_entropy", loss, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability (N, C, ...) of each target class (N, ...)."""
    _check_reduction("nll_loss", reduction)
    if input.dim() == 1:
        loss = nll_loss(input.unsqueeze(0), target.unsqueeze(0), weight, ignore_index, reduction)
        return loss.squeeze(0) if reduction == "none" else loss
    _check_labels("nll_loss", input, target)
    h = handle("NegativeLogLikelihoodLoss", ignore_index=int(ignore_index), reduction=reduction)
    return apply(h, *((input, target) if weight is None else (input, target, weight)))


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    _same_shape("mse_loss", input, target)
    d = input - target
    return _reduce("mse_loss", d * d, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    _same_shape("l1_loss", input, target)
    return _reduce("l1_loss", (input - target).abs(), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """d^2 / 2 where |d| < delta, else delta (|d| - delta / 2), with d = input - target."""
    _same_shape("huber_loss", input, target)
    if delta <= 0:
        raise InvalidArgumentError(f"huber_loss: delta > 0 is required, got {delta}.")
    distance = (input - target).abs()
    near = distance.clamp(max=delta)  # d^2/2 and delta (|d| - delta/2) are near (|d| - near/2).
    return _reduce("huber_loss", near * (distance - near * 0.5), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """`huber_loss` divided by its delta: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2."""
    if beta < 0:
        raise InvalidArgumentError(f"smooth_l1_loss: beta >= 0 is required, got {beta}.")
    if beta == 0:
        return l1_loss(input, target, reduction)
    loss = huber_loss(input, target, reduction, beta)
    return loss if beta == 1.0 else loss / beta


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) for probabilities p; logarithms are at least -100."""
    _same_shape("binary_cross_entropy", input, target)
    log_p = apply1(_LOG, input).clamp(min=-100.0)
    log_q = apply1(_LOG, 1.0 - input).clamp(min=-100.0)
    loss = (target - 1.0) * log_q - target * log_p
    loss = loss if weight is None else loss * weight
    return _reduce("binary_cross_entropy", loss, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x): (1 - y) x + (1 + (pos_weight - 1) y) softplus(-x)."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    tail = apply1(_SOFTPLUS, -input)
    if pos_weight is not None:
        tail = tail * ((pos_weight - 1.0) * target + 1.0)
    loss = (1.0 - target) * input + tail
    loss = loss if weight is None else loss * weight
    return _reduce("binary_cross_entropy_with_logits", loss, reduction)


def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Target (log target - input) for log-probabilities `input`; 0 where the target is 0.

    `reduction="batchmean"` divides the sum by the batch size, which is the divergence itself.
    """
    if log_target:
        loss = target.exp() * (target - input)
    else:
        positive = target > 0.0
        log_t = apply1(_LOG, where(positive, target, 1.0))
        loss = target * (log_t - input)
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.dim() else loss.sum()  # type: ignore[no-any-return]
    return _reduce("kl_div", loss, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log var + (input - target)^2 / var) / 2; `full` adds log(2 pi) / 2."""
    var = var.clamp(min=eps)
    d = input - target
    loss = (var.log() + d * d / var) * 0.5
    return _reduce("gaussian_nll_loss", loss + 0.5 * math.log(2 * math.pi) if full else loss,
                   reduction)  # fmt: skip


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """X where y = 1, max(0, margin - x) where y = -1."""
    zero: Any = (margin - input).clamp(min=0.0)
    return _reduce("hinge_embedding_loss", where(target == 1, input, zero), reduction)
