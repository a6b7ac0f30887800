"""Linear maps and look-ups."""

from __future__ import annotations

import math

from toolkit._tensor.elementwise import where
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply, apply1, apply2, handle
from toolkit.tensor import Tensor

_GEMM = handle("Gemm", transB=1)
_MATMUL = handle("MatMul")
_ADD = handle("Add")
_TRANSPOSE = handle("Transpose", perm=[1, 0])
_GATHER = handle("Gather", axis=0)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x weight^T + bias`.

    Args:
        input: (..., in).
        weight: (out, in), or (in,) for one output without its dimension.
        bias: (out,).
    """
    if weight.dim() == 1:
        y = apply2(_MATMUL, input, weight)
    elif input.dim() == 2:
        return apply(_GEMM, input, weight) if bias is None else apply(_GEMM, input, weight, bias)
    else:
        y = apply2(_MATMUL, input, apply1(_TRANSPOSE, weight))
    return y if bias is None else apply2(_ADD, y, bias)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = x1^T weight_k x2 + bias_k; weight (out, in1, in2)."""
    out, in1, in2 = weight.shape
    flat = weight.permute(1, 0, 2).reshape(in1, out * in2)
    partial = (input1 @ flat).reshape(*input1.shape[:-1], out, in2)
    y = (partial * input2.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (V, D) by integer indices (...): (..., D).

    The row `padding_idx` gets no gradient.

    Raises:
        InvalidArgumentError: `max_norm`, `scale_grad_by_freq` or `sparse` is asked for.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise InvalidArgumentError(
            "embedding: max_norm, scale_grad_by_freq and sparse are not available."
        )
    if padding_idx is None or not weight.requires_grad:
        return apply2(_GATHER, weight, input)
    rows = apply2(_GATHER, weight, input)
    kept = (input != padding_idx % weight.shape[0]).unsqueeze(-1)
    return where(kept, rows, rows.detach())  # type: ignore[no-any-return]


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at each index, 0 elsewhere; num_classes -1: the largest + 1."""
    if num_classes == -1:
        num_classes = int(tensor.max().item()) + 1
    if num_classes <= 0:
        raise InvalidArgumentError(f"one_hot: num_classes > 0 is required, got {num_classes}.")
    from toolkit.tensor import arange

    return (tensor.unsqueeze(-1) == arange(num_classes)).to(tensor.dtype)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """`x / max(norm_p(x), eps)` along `dim`."""
    if p == 2:
        norm = input.square().sum(dim, keepdim=True).sqrt()
    elif p == 1:
        norm = input.abs().sum(dim, keepdim=True)
    elif p == math.inf:
        norm = input.abs().amax(dim, keepdim=True)
    else:
        norm = input.abs().pow(p).sum(dim, keepdim=True).pow(1.0 / p)
    return input / norm.clamp(min=eps)  # type: ignore[no-any-return]
