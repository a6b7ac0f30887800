"""Pooling. Layouts: input (N, C, *spatial), or (C, *spatial) without a batch."""

from __future__ import annotations

import math
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.functional.conv import Ints, _batched, ntuple
from toolkit.ops.dispatch import apply1, apply_many, handle
from toolkit.tensor import Tensor


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
    where = f"max_pool{n}d"
    x, single = _batched(where, n, input)
    kernel = ntuple(kernel_size, n, f"{where}: kernel_size")
    pads = ntuple(padding, n, f"{where}: padding")
    _check_padding(where, kernel, pads)
    h = handle(
        "MaxPool",
        kernel_shape=kernel,
        strides=kernel if stride in (None, ()) else ntuple(stride, n, f"{where}: stride"),
        pads=pads * 2,
        dilations=ntuple(dilation, n, f"{where}: dilation"),
        ceil_mode=int(ceil_mode),
    )
    if not return_indices:
        y = apply1(h, x)
        return y.squeeze(0) if single else y
    y, indices = apply_many(h, (x,), 2)
    plane = math.prod(int(d) for d in x.shape[2:])  # ONNX counts through the whole tensor.
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
    if divisor_override is not None and (divisor_override == 0 or ceil_mode):
        raise InvalidArgumentError(
            f"{where}: a divisor_override other than 0, and no ceil_mode with it, are required."
        )
    h = handle(
        "AveragePool",
        kernel_shape=kernel,
        strides=kernel if stride in (None, ()) else ntuple(stride, n, f"{where}: stride"),
        pads=pads * 2,
        ceil_mode=int(ceil_mode),
        count_include_pad=int(count_include_pad or divisor_override is not None),
    )
    y = apply1(h, x)
    if divisor_override is not None:
        y = y * (math.prod(kernel) / divisor_override)
    return y.squeeze(0) if single else y


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


def _adaptive(n: int, kind: str, input: Tensor, output_size: Any) -> Tensor:
    """Windows that divide the input evenly; an output size of 1 takes any input size."""
    where = f"adaptive_{kind}_pool{n}d"
    x, single = _batched(where, n, input)
    if output_size is None or isinstance(output_size, int):
        output_size = (output_size,) * n
    if len(output_size) != n:
        raise InvalidArgumentError(f"{where}: {n} sizes are required, got {output_size}.")
    sizes = x.shape[2:]
    wanted = [s if o is None else o for s, o in zip(sizes, output_size, strict=True)]
    if all(o == 1 for o in wanted):
        dims = tuple(range(2, n + 2))
        y = x.mean(dims, keepdim=True) if kind == "avg" else apply1(handle("GlobalMaxPool"), x)
        return y.squeeze(0) if single else y
    fits = all(
        isinstance(s, int) and o > 0 and s % o == 0 for s, o in zip(sizes, wanted, strict=True)
    )
    if not fits:
        raise InvalidArgumentError(
            f"{where}: output sizes that divide the input's, or 1, are required, got {wanted} "
            f"for {list(sizes)}."
        )
    kernel = tuple(s // o for s, o in zip(sizes, wanted, strict=True))
    if kind == "avg":
        y = _avg_pool(n, x, kernel, None, 0, False, True)
    else:
        y = _max_pool(n, x, kernel, None, 0, 1, False, False)
    return y.squeeze(0) if single else y


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many equal windows as `output_size` says."""
    return _adaptive(1, "avg", input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many equal windows as `output_size` says."""
    return _adaptive(2, "avg", input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many equal windows as `output_size` says."""
    return _adaptive(3, "avg", input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Maxima of as many equal windows as `output_size` says."""
    return _adaptive(1, "max", input, output_size)


def adaptive_max_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Maxima of as many equal windows as `output_size` says."""
    return _adaptive(2, "max", input, output_size)


def adaptive_max_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Maxima of as many equal windows as `output_size` says."""
    return _adaptive(3, "max", input, output_size)
