"""Convolutions. Layouts: input (N, C, *spatial), or (C, *spatial) without a batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from toolkit._tensor.autocast import lower
from toolkit._tensor.shapes import dims
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, handle
from toolkit.tensor import Tensor

Ints = int | Sequence[int]


def ntuple(value: Any, n: int, where: str) -> tuple[int, ...]:
    """`n` integers of one integer or a sequence of `n`."""
    if isinstance(value, int):
        return (value,) * n
    values = tuple(value)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise InvalidArgumentError(f"{where}: {n} integers are required, got {values}.")
    return values


def hashable(value: Any) -> Any:
    """A size that can be looked up: lists as tuples."""
    return value if value is None or isinstance(value, (int, str)) else tuple(value)


def same_pads(kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """ONNX pads of padding='same': the odd one comes at the end."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    before = [t // 2 for t in total]
    return before + [t - b for t, b in zip(total, before, strict=True)]


def _pads(
    where: str, padding: Any, n: int, kernel: Sequence[int], stride: Any, dilation: Any
) -> list[int]:
    if not isinstance(padding, str):
        return list(ntuple(padding, n, f"{where}: padding")) * 2
    if padding == "valid":
        return [0] * (2 * n)
    if padding != "same":
        raise InvalidArgumentError(
            f"{where}: padding 'same', 'valid' or integers are required, got {padding!r}."
        )
    if any(s != 1 for s in stride):
        raise InvalidArgumentError(
            f"{where}: stride 1 is required by padding='same', got {stride}."
        )
    return same_pads(kernel, dilation)


def _batched(where: str, n: int, x: Tensor) -> tuple[Tensor, bool]:
    rank = x.dim()
    if rank == n + 2:
        return x, False
    if rank == n + 1:
        return x.unsqueeze(0), True
    where = where if where[-1] == "d" else f"{where}{n}d"
    raise ShapeError(
        f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {where}, but got input of "
        f"size: {list(x.shape)}."
    )


@lru_cache(maxsize=512, typed=True)
def _conv_handle(
    n: int, kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    where = f"conv{n}d"
    strides = ntuple(stride, n, f"{where}: stride")
    dilations = ntuple(dilation, n, f"{where}: dilation")
    return handle(
        "Conv",
        strides=strides,
        pads=_pads(where, padding, n, kernel, strides, dilations),
        dilations=dilations,
        group=groups,
        kernel_shape=kernel,
    )


def _conv(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: str | Ints,
    dilation: Ints,
    groups: int,
) -> Tensor:
    x, single = _batched("conv", n, input)
    channels, shape = dims(x)[1], dims(weight)
    if isinstance(channels, int) and channels != shape[1] * groups:
        raise ShapeError(
            f"conv{n}d: Given groups={groups}, weight of size {list(shape)}, expected "
            f"input{list(x.shape)} to have {shape[1] * groups} channels, but got {channels} "
            "channels instead."
        )
    sizes = map(hashable, (stride, padding, dilation))
    h = _conv_handle(n, tuple(shape[2:]), *sizes, groups)
    y = apply(h, x, weight) if bias is None else apply(h, x, weight, bias)
    return y.squeeze(0) if single else y


@lower
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, L) with a weight (O, C / groups, K)."""
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


@lower
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, H, W) with a weight (O, C / groups, KH, KW)."""
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


@lower
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, D, H, W) with a weight (O, C / groups, KD, KH, KW)."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def _conv_transpose(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Tensor:
    where = f"conv_transpose{n}d"
    x, single = _batched(where, n, input)
    strides = ntuple(stride, n, f"{where}: stride")
    dilations = ntuple(dilation, n, f"{where}: dilation")
    extra = ntuple(output_padding, n, f"{where}: output_padding")
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise InvalidArgumentError(
            f"{where}: output_padding smaller than stride or dilation is required, got {extra} "
            f"for stride {strides} and dilation {dilations}."
        )
    h = handle(
        "ConvTranspose",
        strides=strides,
        pads=list(ntuple(padding, n, f"{where}: padding")) * 2,
        output_padding=extra,
        dilations=dilations,
        group=groups,
        kernel_shape=tuple(weight.shape[2:]),
    )
    y = apply(h, x, weight) if bias is None else apply(h, x, weight, bias)
    return y.squeeze(0) if single else y


@lower
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The adjoint of `conv1d`; weight (C, O / groups, K)."""
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@lower
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The adjoint of `conv2d`; weight (C, O / groups, KH, KW)."""
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@lower
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The adjoint of `conv3d`; weight (C, O / groups, KD, KH, KW)."""
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over time of (T, N, C) with a weight (K, C, O) and a bias (O,): (T', N, O)."""
    if input.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise ShapeError(
            "conv_tbc: input (T, N, C), weight (K, C, O) and bias (O,) are required, got "
            f"{list(input.shape)}, {list(weight.shape)} and {list(bias.shape)}."
        )
    y = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return y.permute(2, 0, 1)
