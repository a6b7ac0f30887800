"""Losses as `torch.` itself has them: the reduction is a number, 0 none, 1 mean, 2 sum.

Their default is 0, as PyTorch computes it (its signatures read Mean).
"""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.functional import ctc, distance, loss
from toolkit.nn.functional.reduction import REDUCTIONS
from toolkit.tensor import Tensor

__all__ = [
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "ctc_loss",
    "hinge_embedding_loss",
    "kl_div",
    "margin_ranking_loss",
    "poisson_nll_loss",
    "triplet_margin_loss",
]


def _named(reduction: int) -> str:
    if reduction not in (0, 1, 2):
        raise InvalidArgumentError(
            f"reduction: 0 (none), 1 (mean) or 2 (sum) is required, got {reduction!r}."
        )
    return REDUCTIONS[reduction]


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: int = 0, zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """`nn.functional.ctc_loss`."""
    return ctc.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank,
                        _named(reduction), zero_infinity)  # fmt: skip


def kl_div(
    input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False
) -> Tensor:
    """`nn.functional.kl_div`."""
    return loss.kl_div(input, target, reduction=_named(reduction), log_target=log_target)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int
) -> Tensor:
    """`nn.functional.poisson_nll_loss`."""
    return loss.poisson_nll_loss(input, target, log_input, full, None, eps, None,
                                 _named(reduction))  # fmt: skip


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 0
) -> Tensor:
    """`nn.functional.hinge_embedding_loss`."""
    return loss.hinge_embedding_loss(input, target, margin, reduction=_named(reduction))


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None,
    reduction: int = 0,
) -> Tensor:  # fmt: skip
    """`nn.functional.binary_cross_entropy_with_logits`."""
    return loss.binary_cross_entropy_with_logits(
        input, target, weight, reduction=_named(reduction), pos_weight=pos_weight
    )


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """`nn.functional.cosine_embedding_loss`."""
    return distance.cosine_embedding_loss(input1, input2, target, margin,
                                          reduction=_named(reduction))  # fmt: skip


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """`nn.functional.margin_ranking_loss`."""
    return distance.margin_ranking_loss(input1, input2, target, margin,
                                        reduction=_named(reduction))  # fmt: skip


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, reduction: int = 0,
) -> Tensor:  # fmt: skip
    """`nn.functional.triplet_margin_loss`."""
    return distance.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap,
                                        reduction=_named(reduction))  # fmt: skip
