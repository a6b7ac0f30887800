"""The connectionist temporal classification loss."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.nn.functional.reduction import chosen, reduced
from toolkit.ops.dispatch import apply, handle
from toolkit.tensor import Tensor, as_tensor

_INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of each target, over all its alignments with the input.

    The gradient is that of `log_probs` themselves; PyTorch's has the softmax's own part in it. Both
    agree for what comes before a log_softmax.

    Args:
        log_probs: (T, N, C), or (T, C) for one sample.
        targets: int (N, S), padded; or all targets one after the other, (sum of target_lengths,).
        input_lengths: (N,), how many steps belong to each sample; a tensor or integers.
        target_lengths: (N,), how many labels each target has.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target's length (at least 1) first.
        zero_infinity: whether losses of targets longer than their input are 0, as are gradients.

    Raises:
        DTypeError: lengths or targets are no integers.
        ShapeError: the shapes do not fit.
    """
    chosen("ctc_loss", None, None, reduction)
    if log_probs.dim() not in (2, 3):
        raise ShapeError(
            f"ctc_loss: log_probs (T, N, C) or (T, C) are required, got {list(log_probs.shape)}."
        )
    if not blank >= 0 or (isinstance(log_probs.shape[-1], int) and blank >= log_probs.shape[-1]):
        raise InvalidArgumentError(
            f"ctc_loss: blank must be in label range [0, {log_probs.shape[-1]}), got {blank}."
        )
    single = log_probs.dim() == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    y = _integers("targets", targets)
    y = y.reshape(1, -1) if single else y
    steps = _integers("input_lengths", input_lengths).reshape(-1)
    lengths = _integers("target_lengths", target_lengths).reshape(-1)
    loss = apply(handle("CTCLoss", "toolkit.nn", blank=int(blank)), x, y, steps, lengths)
    if zero_infinity:
        loss = where(loss == float("inf"), 0.0, loss)
    if reduction == "mean":
        loss = loss / lengths.clamp(min=1).to(loss.dtype)
    return reduced(loss.squeeze(0) if single and reduction == "none" else loss, reduction)


def _integers(name: str, value: Any) -> Tensor:
    found = as_tensor(value)
    if found.dtype.name not in _INTEGERS:
        raise DTypeError(f"ctc_loss: {name} must be integral, got {found.dtype.name}.")
    longs: Tensor = found.long()
    return longs
