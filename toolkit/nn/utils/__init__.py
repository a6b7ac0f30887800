"""Gradient clipping, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable

from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import Tensor, cat, stack, tensor


def _with_grad(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p for p in params if p.grad is not None]


def get_total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """The norm of all tensors as one vector; 0-dim."""
    tensors = list(tensors)
    if not tensors:
        return tensor(0.0)
    if norm_type == math.inf:
        return stack([t.abs().max() for t in tensors]).max()  # type: ignore[no-any-return]
    if norm_type == 2.0:
        return stack([(t * t).sum() for t in tensors]).sum().sqrt()  # type: ignore[no-any-return]
    norms = stack([t.abs().pow(norm_type).sum() for t in tensors])
    return norms.sum().pow(1.0 / norm_type)


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
        total = get_total_norm([p.grad for p in params], float(norm_type))
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise InvalidArgumentError(
                f"clip_grad_norm_: a finite gradient norm is required, got {total.item()}."
            )
        factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for p in params:
            p.grad.copy_(p.grad * factor.to(p.grad.dtype))
    return total


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limits each element of the gradients to [-clip_value, clip_value]."""
    with no_grad():
        for p in _with_grad(parameters):
            p.grad.copy_(p.grad.clamp(-float(clip_value), float(clip_value)))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened, one after the other."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copies the pieces of a vector into the parameters.

    Raises:
        InvalidArgumentError: the vector's length is not the parameters' total.
    """
    params = list(parameters)
    need = sum(p.numel() for p in params)
    if tuple(vec.shape) != (need,):
        raise InvalidArgumentError(
            f"vector_to_parameters: a vector of {need} elements is required, got {list(vec.shape)}."
        )
    start = 0
    with no_grad():
        for p in params:
            p.copy_(vec[start : start + p.numel()].reshape(*p.shape))
            start += p.numel()
