"""Pooling. Layouts: input (N, C, *spatial), or (C, *spatial) without a batch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.functional.conv import Ints, _batched, hashable, ntuple
from toolkit.nn.functional.shape import pad
from toolkit.ops.dispatch import apply1, apply_many, handle
from toolkit.tensor import Tensor


@lru_cache(maxsize=512, typed=True)
def _max_pool_handle(
    n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    where = f"max_pool{n}d"
    kernel = ntuple(kernel_size, n, f"{where}: kernel_size")
    pads = ntuple(padding, n, f"{where}: padding")
    _check_padding(where, kernel, pads)
    return handle(
        "MaxPool",
        kernel_shape=kernel,
        strides=kernel if stride in (None, ()) else ntuple(stride, n, f"{where}: stride"),
        pads=pads * 2,
        dilations=ntuple(dilation, n, f"{where}: dilation"),
        ceil_mode=int(ceil_mode),
    )


def _max_pool(
    n: int,
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x, single = _batched("max_pool", n, input)
    sizes = (kernel_size, stride, padding, dilation)
    h = _max_pool_handle(n, *map(hashable, sizes), bool(ceil_mode))
    if not return_indices:
        y = apply1(h, x)
        return y.squeeze(0) if single else y
    y, indices = apply_many(h, (x,), 2)
    plane = math.prod(x.shape[2:])  # ONNX counts through the whole tensor.
    indices = indices % plane
    return (y.squeeze(0), indices.squeeze(0)) if single else (y, indices)


def _check_padding(where: str, kernel: tuple[int, ...], pads: tuple[int, ...]) -> None:
    if any(p > k // 2 or p < 0 for p, k in zip(pads, kernel, strict=True)):
        raise InvalidArgumentError(
            f"{where}: padding of at most half the kernel size is required, got padding {pads} "
            f"for kernel {kernel}."
        )


def max_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window; `return_indices`: and where it is in its plane."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window; `return_indices`: and where it is in its plane."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window; `return_indices`: and where it is in its plane."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool(
    n: int,
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:
    where = f"avg_pool{n}d"
    x, single = _batched(where, n, input)
    kernel = ntuple(kernel_size, n, f"{where}: kernel_size")
    pads = ntuple(padding, n, f"{where}: padding")
    _check_padding(where, kernel, pads)
    strides = kernel if stride in (None, ()) else ntuple(stride, n, f"{where}: stride")
    if divisor_override is not None:
        if divisor_override == 0:
            raise InvalidArgumentError(f"{where}: divisor must be not zero")
        x, pads = _whole_windows(x, kernel, strides, pads, ceil_mode), (0,) * n
        ceil_mode = False
    h = handle(
        "AveragePool",
        kernel_shape=kernel,
        strides=strides,
        pads=pads * 2,
        ceil_mode=int(ceil_mode),
        count_include_pad=int(count_include_pad or divisor_override is not None),
    )
    y = apply1(h, x)
    if divisor_override is not None:
        y = y * (math.prod(kernel) / divisor_override)
    return y.squeeze(0) if single else y


def _whole_windows(x: Tensor, kernel: Any, strides: Any, pads: Any, ceil_mode: bool) -> Tensor:
    """The input with zeros around it, also where the last windows reach beyond the padding."""
    widths = []
    for size, k, s, p in zip(x.shape[2:], kernel, strides, pads, strict=True):
        more: Any = 0
        if ceil_mode:
            more = s - 1 - (size + 2 * p - k + s - 1) % s
            last = size + 2 * p + more - k  # Where the last window begins; not in the padding.
            more = more if not isinstance(last, int) or last < size + p else 0
        widths.append((p, p + more))
    flat = [w for pair in reversed(widths) for w in pair]
    return pad(x, flat) if any(not isinstance(w, int) or w for w in flat) else x


def avg_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window."""
    return _avg_pool(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window."""
    return _avg_pool(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _with_indices(n: int) -> Any:
    pool = (max_pool1d, max_pool2d, max_pool3d)[n - 1]

    def function(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    function.__name__ = function.__qualname__ = f"max_pool{n}d_with_indices"
    function.__doc__ = "The largest value of each window, and where it is in its plane."
    return function


max_pool1d_with_indices = _with_indices(1)
max_pool2d_with_indices = _with_indices(2)
max_pool3d_with_indices = _with_indices(3)


def _lp_pool(
    n: int, x: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None, ceil_mode: bool
) -> Tensor:
    """The norm of each window: (sum of x^p)^(1/p), where the sum is above zero."""
    if abs(norm_type) == math.inf:
        size = -x.abs() if norm_type < 0 else x.abs()
        largest: Any = _max_pool(n, size, kernel_size, stride, 0, 1, ceil_mode, False)
        return -largest if norm_type < 0 else largest  # type: ignore[no-any-return]
    kernel = ntuple(kernel_size, n, f"lp_pool{n}d: kernel_size")
    y: Any = _avg_pool(n, x.pow(norm_type), kernel_size, stride, 0, ceil_mode, True)
    return (y.sign() * y.abs().relu() * math.prod(kernel)).pow(1.0 / norm_type)  # type: ignore[no-any-return]


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window of (N, C, L)."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window of (N, C, H, W)."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window of (N, C, D, H, W)."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)
