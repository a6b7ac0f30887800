"""Normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.functional.pooling import avg_pool2d
from toolkit.nn.functional.shape import pad
from toolkit.ops.dispatch import apply, apply1, apply_many, handle
from toolkit.tensor import Tensor, ones, zeros


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes each channel (dimension 1) over all other dimensions.

    Training takes the batch's mean and biased variance, and moves the running statistics towards
    the batch's (`momentum` weighs the new value; the variance there is the unbiased one).

    Raises:
        ShapeError: an input without a channel dimension, or one value a channel in training.
        InvalidArgumentError: no running statistics in evaluation.
    """
    if input.dim() < 2:
        raise ShapeError(f"batch_norm: an input (N, C, ...) is required, got {list(input.shape)}.")
    channels = (running_mean if weight is None else weight) if weight is not None or (
        running_mean is not None
    ) else None  # fmt: skip
    n = int(input.shape[1]) if channels is None else channels.shape[0]
    weight = ones(n, dtype=input.dtype) if weight is None else weight
    bias = zeros(n, dtype=input.dtype) if bias is None else bias
    if not training:
        if running_mean is None or running_var is None:
            raise InvalidArgumentError(
                "batch_norm: running_mean and running_var are required in evaluation mode."
            )
        # A file that is trained further wants to know; 0.9 is the default there.
        moves = {} if momentum in (0.0, 0.1) else {"momentum": 1.0 - momentum}
        h = handle("BatchNormalization", epsilon=float(eps), **moves)
        return apply(h, input, weight, bias, running_mean, running_var)
    shape = input.shape
    if all(isinstance(d, int) for d in shape) and input.numel() == shape[1]:
        raise ShapeError(
            f"Expected more than 1 value per channel when training, got input size {list(shape)}."
        )
    mean = zeros(n, dtype=input.dtype) if running_mean is None else running_mean
    var = ones(n, dtype=input.dtype) if running_var is None else running_var
    h = handle("BatchNormTraining", "toolkit.nn", epsilon=float(eps), momentum=float(momentum))
    y, new_mean, new_var = apply_many(h, (input, weight, bias, mean, var), 3)
    with no_grad():
        if running_mean is not None:
            running_mean.copy_(new_mean.detach())
        if running_var is not None:
            running_var.copy_(new_var.detach())
    return y  # type: ignore[no-any-return]


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes over the last dimensions, which are `normalized_shape`."""
    axis = _trailing("layer_norm", input, normalized_shape)
    h = handle("LayerNormalization", axis=axis, epsilon=float(eps))
    scale = ones(*normalized_shape, dtype=input.dtype) if weight is None else weight
    return apply(h, input, scale) if bias is None else apply(h, input, scale, bias)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """`x / sqrt(mean(x^2) + eps)` over the last dimensions (Zhang and Sennrich, 2019).

    eps None: the smallest step of the element type at 1.
    """
    import ml_dtypes

    axis = _trailing("rms_norm", input, normalized_shape)
    if eps is None:
        limits: Any = ml_dtypes.finfo
        eps = float(limits(input.dtype.numpy).eps)
    scale = ones(*normalized_shape, dtype=input.dtype) if weight is None else weight
    return apply(handle("RMSNormalization", axis=axis, epsilon=float(eps)), input, scale)


def _trailing(where: str, input: Tensor, normalized_shape: Sequence[int]) -> int:
    """The (negative) axis at which `normalized_shape` begins."""
    n = len(normalized_shape)
    tail = tuple(input.shape)[input.dim() - n :] if n <= input.dim() else ()
    if n == 0 or len(tail) != n or any(
        isinstance(a, int) and a != b for a, b in zip(tail, normalized_shape, strict=True)
    ):  # fmt: skip
        raise ShapeError(
            f"{where}: an input whose last dimensions are {list(normalized_shape)} is required, "
            f"got {list(input.shape)}."
        )
    return -n


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes each sample's groups of channels; weight and bias (C,)."""
    channels = int(input.shape[1])
    if channels % num_groups:
        raise ShapeError(
            f"group_norm: channels that are a multiple of num_groups {num_groups} are required, "
            f"got {list(input.shape)}."
        )
    scale = ones(channels, dtype=input.dtype) if weight is None else weight
    shift = zeros(channels, dtype=input.dtype) if bias is None else bias
    h = handle("GroupNormalization", num_groups=int(num_groups), epsilon=float(eps))
    return apply(h, input, scale, shift)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes each channel of each sample over its spatial dimensions."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    channels = int(input.shape[1])
    scale = ones(channels, dtype=input.dtype) if weight is None else weight
    shift = zeros(channels, dtype=input.dtype) if bias is None else bias
    if running_mean is not None and running_var is not None:
        _update_instance_stats(input, running_mean, running_var, momentum)
    return apply(handle("InstanceNormalization", epsilon=float(eps)), input, scale, shift)


def _update_instance_stats(input: Tensor, mean: Tensor, var: Tensor, momentum: float) -> None:
    """Moves the running statistics towards the batch mean of each sample's statistics."""
    dims = tuple(range(2, input.dim()))
    with no_grad():
        x: Any = input.detach()
        batch_mean, batch_var = x.mean(dims).mean(0), x.var(dims).mean(0)
        mean.copy_(mean * (1 - momentum) + batch_mean * momentum)
        var.copy_(var * (1 - momentum) + batch_var * momentum)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """`x / (k + alpha mean(x^2 over size channels))^beta` (Krizhevsky et al., 2012)."""
    if input.dim() < 3:
        raise ShapeError(
            f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)"
        )
    x: Any = input if input.dim() == 4 else input.flatten(2).unsqueeze(3)
    if size % 2:
        h = handle("LRN", size=int(size), alpha=float(alpha), beta=float(beta), bias=float(k))
        y: Any = apply1(h, x)
    else:  # LRN has the odd neighbour behind, this one before.
        plane = (x * x).flatten(2).unsqueeze(1)
        plane = pad(plane, (0, 0, size // 2, (size - 1) // 2))
        mean: Any = avg_pool2d(plane, (size, 1), 1).squeeze(1).reshape(x.shape)
        y = x / (mean * alpha + k).pow(beta)
    return y if input.dim() == 4 else y.reshape(input.shape)  # type: ignore[no-any-return]
