"""Linear maps and look-ups."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.autocast import narrowed
from toolkit._tensor.state import STATE
from toolkit.dtypes import int32, int64
from toolkit.errors import DTypeError, InvalidArgumentError
from toolkit.ops.dispatch import apply, apply1, apply2, handle
from toolkit.tensor import Tensor

_GEMM = handle("Gemm", transB=1)
_MATMUL = handle("MatMul")
_ADD = handle("Add")
_TRANSPOSE = handle("Transpose", perm=[1, 0])


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x weight^T + bias`.

    Args:
        input: (..., in).
        weight: (out, in), or (in,) for one output without its dimension.
        bias: (out,).
    """
    if STATE.autocast is not None:
        input, weight, bias = narrowed(input, weight, bias)
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


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at each index, 0 elsewhere; num_classes -1: the largest + 1."""
    if tensor.dtype not in (int32, int64):
        raise DTypeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}."
        )
    if num_classes == -1 and STATE.trace is not None:
        raise InvalidArgumentError(
            "one_hot: num_classes is required in a graph, got none: the largest index is not known "
            "while it is recorded."
        )
    if num_classes == -1:
        num_classes = int(tensor.max().item()) + 1
    if num_classes <= 0:
        raise InvalidArgumentError(f"one_hot: num_classes > 0 is required, got {num_classes}.")
    if STATE.trace is None and tensor.numel():
        low, high = int(tensor.min().item()), int(tensor.max().item())
        if low < 0 or high >= num_classes:
            raise InvalidArgumentError(
                f"Class values must be smaller than num_classes, {num_classes}, and non-negative, "
                f"got {low} to {high}."
            )
    from toolkit.tensor import arange

    return (tensor.unsqueeze(-1) == arange(num_classes)).to(tensor.dtype)


def vector_norm(x: Any, p: float, dim: Any) -> Any:
    """norm_p along `dim`, which stays as 1."""
    if p == 2:
        return x.square().sum(dim, keepdim=True).sqrt()
    if p == 1:
        return x.abs().sum(dim, keepdim=True)
    if p == math.inf:
        return x.abs().amax(dim, keepdim=True)
    if p == -math.inf:
        return x.abs().amin(dim, keepdim=True)
    if p == 0:
        return (x != 0).to(x.dtype).sum(dim, keepdim=True)
    return x.abs().pow(p).sum(dim, keepdim=True).pow(1.0 / p)


def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    """`x / max(norm_p(x), eps)` along `dim`."""
    y = input / vector_norm(input, p, dim).clamp(min=eps)
    return y if out is None else out.copy_(y)  # type: ignore[no-any-return]
