"""Losses between an input and a target of the same shape.

Formulas and arguments are those of `torch.nn.functional`: `reduction` is "mean", "sum" or "none",
`size_average` and `reduce` are its old spelling. Those over classes are in `class_loss`, those of
distances in `distance`.
"""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.functional.reduction import (
    can_look,
    chosen,
    may_equal,
    reduced,
    same_shape,
    warn_broadcast,
)
from toolkit.ops.dispatch import apply1, handle
from toolkit.tensor import Tensor, tensor

_SOFTPLUS = handle("Softplus")
_LOG = handle("Log")


def _weighted(name: str, loss: Tensor, input: Tensor, weight: Tensor | None) -> Tensor:
    """Losses times weights of the input's size."""
    if weight is None:
        return loss
    if not may_equal(input.shape, weight.shape):
        raise ShapeError(
            f"{name}: Weights and input must have the same size, got weight {list(weight.shape)} "
            f"and input {list(input.shape)}."
        )
    return loss * weight


def _weighted_mean(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """As `reduced`, where a mean divides by the sum of the weights."""
    if weight is None or reduction != "mean":
        return reduced(loss, reduction)
    return loss.sum() / weight.sum()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2; with weights the mean is the weighted one."""
    reduction = chosen("mse_loss", size_average, reduce, reduction)
    warn_broadcast("mse_loss", input, target)
    d = input - target
    return _weighted_mean(_weighted("mse_loss", d * d, input, weight), weight, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; with weights the mean is the weighted one."""
    reduction = chosen("l1_loss", size_average, reduce, reduction)
    warn_broadcast("l1_loss", input, target)
    loss = (input - target).abs()
    return _weighted_mean(_weighted("l1_loss", loss, input, weight), weight, reduction)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d^2 / 2 where |d| < delta, else delta (|d| - delta / 2), with d = input - target."""
    chosen("huber_loss", None, None, reduction)
    warn_broadcast("huber_loss", input, target)
    if delta <= 0:
        raise InvalidArgumentError(f"huber_loss: delta > 0 is required, got {delta}.")
    distance = (input - target).abs()
    near = distance.clamp(max=delta)  # d^2/2 and delta (|d| - delta/2) are near (|d| - near/2).
    loss = near * (distance - near * 0.5)
    return reduced(_weighted("huber_loss", loss, input, weight), reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """`huber_loss` divided by its delta: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2."""
    reduction = chosen("smooth_l1_loss", size_average, reduce, reduction)
    if beta < 0:
        raise InvalidArgumentError(f"smooth_l1_loss: beta >= 0 is required, got {beta}.")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    loss = huber_loss(input, target, reduction, beta)
    return loss if beta == 1.0 else loss / beta


def _require_probabilities(input: Tensor) -> None:
    if not can_look() or not input.numel():
        return
    low, high = input.detach().amin().item(), input.detach().amax().item()
    if not (low >= 0 and high <= 1):
        raise InvalidArgumentError(
            "binary_cross_entropy: all elements of input should be between 0 and 1, got values in "
            f"[{low:g}, {high:g}]. Scores go to binary_cross_entropy_with_logits."
        )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) for probabilities p; logarithms are at least -100."""
    reduction = chosen("binary_cross_entropy", size_average, reduce, reduction)
    same_shape("binary_cross_entropy", input, target)
    _require_probabilities(input)
    log_p = apply1(_LOG, input).clamp(min=-100.0)
    log_q = apply1(_LOG, 1.0 - input).clamp(min=-100.0)
    loss = (target - 1.0) * log_q - target * log_p
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x): (1 - y) x + (1 + (pos_weight - 1) y) softplus(-x)."""
    reduction = chosen("binary_cross_entropy_with_logits", size_average, reduce, reduction)
    same_shape("binary_cross_entropy_with_logits", input, target)
    tail = apply1(_SOFTPLUS, -input)
    if pos_weight is not None:
        tail = tail * ((pos_weight - 1.0) * target + 1.0)
    loss = (1.0 - target) * input + tail
    return reduced(loss if weight is None else loss * weight, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Target (log target - input) for log-probabilities `input`; 0 where the target is 0.

    `reduction="batchmean"` divides the sum by the batch size, which is the divergence itself.
    """
    batch = size_average is None and reduce is None and reduction == "batchmean"
    reduction = "sum" if batch else chosen("kl_div", size_average, reduce, reduction)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        positive = target > 0.0
        log_t = apply1(_LOG, where(positive, target, 1.0))
        loss = target * (log_t - input)
    result = reduced(loss, reduction)
    return result / input.shape[0] if batch and input.dim() else result


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - y x for log-rates x; without `log_input` x - y log(x + eps).

    `full` adds Stirling's y log y - y + log(2 pi y) / 2 where y > 1.
    """
    reduction = chosen("poisson_nll_loss", size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        many = target > 1
        y = where(many, target, 1)
        stirling = y * y.log() - y + 0.5 * (2 * math.pi * y).log()
        loss = loss + where(many, stirling, 0.0)
    return reduced(loss, reduction)


def _variance(input: Tensor, var: Tensor | float) -> Tensor:
    """The variances in a shape that the input's takes.

    Raises:
        InvalidArgumentError: there is a negative one.
        ShapeError: the shape is neither the input's, nor that without or with 1 as one dimension.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise InvalidArgumentError(f"gaussian_nll_loss: var >= 0 is required, got {var}.")
        return tensor(float(var), dtype=input.dtype)
    if can_look() and bool((var < 0).any()):
        raise InvalidArgumentError(
            "gaussian_nll_loss: var >= 0 is required, var has negative entry/entries."
        )
    if may_equal(var.shape, input.shape):
        return var
    if may_equal(var.shape, input.shape[:-1]):
        return var.unsqueeze(-1)
    other = [v for v, n in zip(var.shape, input.shape, strict=False) if v != n]
    if var.dim() == input.dim() and other == [1]:
        return var
    raise ShapeError(
        "gaussian_nll_loss: var of the input's size, without its last dimension, or with one "
        f"dimension of size 1 is required; var is of incorrect size {list(var.shape)} for input "
        f"{list(input.shape)}."
    )


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log var + (input - target)^2 / var) / 2; `full` adds log(2 pi) / 2.

    Variances below `eps` count as `eps`, with the gradient of what they are.
    """
    chosen("gaussian_nll_loss", None, None, reduction)
    given = _variance(input, var)
    v: Any = where(given < eps, given - given.detach() + eps, given)
    d = input - target
    loss = (v.log() + d * d / v) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """X where y = 1, max(0, margin - x) where y = -1, their sum elsewhere."""
    reduction = chosen("hinge_embedding_loss", size_average, reduce, reduction)
    far: Any = where(target != 1, (margin - input).clamp(min=0.0), 0.0)
    return reduced(far + where(target != -1, input, 0.0), reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-y x)) for y of 1 or -1."""
    reduction = chosen("soft_margin_loss", size_average, reduce, reduction)
    return reduced(apply1(_SOFTPLUS, -(target * input)), reduction)
