"""Gradient clipping."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.nn.functional.linear import vector_norm
from toolkit.tensor import Tensor, stack, tensor


def _with_grad(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p for p in params if p.grad is not None]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors as one vector; 0-dim.

    Raises:
        InvalidArgumentError: it is not finite, and `error_if_nonfinite`.
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not given:
        return tensor(0.0)
    norms = stack([vector_norm(t.reshape(-1), norm_type, 0).reshape(()) for t in given])
    total: Any = vector_norm(norms, norm_type, 0).reshape(())
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise InvalidArgumentError(
            f"clip_grad_norm_: a finite gradient norm is required, got {total.item()}: the total "
            f"norm of order {norm_type} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped."
        )
    return total  # type: ignore[no-any-return]


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scales the gradients as `clip_grad_norm_`, for a norm that is known."""
    with no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for p in _with_grad(parameters):
            p.grad.copy_(p.grad * factor.to(p.grad.dtype))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients so that their norm, taken together, is at most `max_norm`.

    Returns:
        The norm before scaling.

    Raises:
        InvalidArgumentError: the norm is not finite, and `error_if_nonfinite`.
    """
    params = _with_grad(parameters)
    with no_grad():
        total = get_total_norm(
            [p.grad for p in params], float(norm_type), error_if_nonfinite, foreach
        )
    clip_grads_with_norm_(params, max_norm, total, foreach)
    return total


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limits each element of the gradients to [-clip_value, clip_value]."""
    with no_grad():
        for p in _with_grad(parameters):
            p.grad.copy_(p.grad.clamp(-float(clip_value), float(clip_value)))


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    warnings.warn(
        "nn.utils.clip_grad_norm is now deprecated in favor of nn.utils.clip_grad_norm_.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
