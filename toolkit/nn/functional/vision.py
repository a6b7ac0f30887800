"""Resampling, sampling grids, sliding blocks and pixel shuffles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit._tensor.factories import arange, as_tensor
from toolkit._tensor.shapes import as_shape, shape_operand
from toolkit._tensor.symint import SymInt
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.functional.adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
)
from toolkit.nn.functional.conv import Ints, _batched, ntuple
from toolkit.nn.functional.reduction import may_equal
from toolkit.ops.dispatch import apply, as_operands, handle
from toolkit.tensor import Tensor

_SMOOTH = {"linear": (3, "linear"), "bilinear": (4, "linear"), "bicubic": (4, "cubic"),
           "trilinear": (5, "linear")}  # fmt: skip
_MODES = ("nearest", "nearest-exact", *_SMOOTH, "area")


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resizes the spatial dimensions of (N, C, *spatial).

    Args:
        input: three to five dimensions.
        size: the new sizes, an integer or one for each spatial dimension.
        scale_factor: in place of `size`, how much larger; sizes are rounded down.
        mode: "nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear" or "area".
        align_corners: whether the corners' centres stay where they are, else the corners; for the
            modes that interpolate.
        recompute_scale_factor: take the factor that the rounded sizes have, not the given one.
        antialias: average over what an output element covers when shrinking; modes "bilinear" and
            "bicubic", without `align_corners`.
    """
    n = input.dim() - 2
    _check_interpolate(input, size, scale_factor, mode, align_corners, antialias)
    if size is not None:
        sizes: list[Any] | None = list(ntuple(size, n, "interpolate: size"))
        scales = None
    else:
        factors = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor,) * n
        if len(factors) != n:
            raise InvalidArgumentError(
                f"interpolate: {n} scale factors are required, got {scale_factor}."
            )
        scales = [float(f) for f in factors]
        sizes = _sizes(input, scales, bool(align_corners or recompute_scale_factor))
        if mode == "area":
            sizes = [_scaled(d, s) for d, s in zip(input.shape[2:], scales, strict=True)]
    if mode == "area":
        pools = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)
        return pools[n - 1](input, sizes)
    h = handle("Resize", axes=tuple(range(2, n + 2)), **_how(mode, align_corners, antialias))
    if sizes is not None:
        return apply(h, *as_operands("interpolate", (input, None, None, [int(s) for s in sizes])))
    return apply(h, *as_operands("interpolate", (input, None, np.array(scales, np.float32))))


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The old name of `interpolate`."""
    _old("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of `interpolate` by the nearest element."""
    _old("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of bilinear `interpolate` with aligned corners."""
    _old("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)


def _old(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=3,
    )


def _check_interpolate(
    input: Tensor, size: Any, scale_factor: Any, mode: str, align_corners: Any, antialias: bool
) -> None:
    if not 3 <= input.dim() <= 5:
        raise ShapeError(
            f"interpolate: three to five dimensions are required, got {list(input.shape)}."
        )
    if mode not in _MODES:
        raise InvalidArgumentError(f"interpolate: one of {_MODES} is required, got mode {mode!r}.")
    if (size is None) == (scale_factor is None):
        got = "neither" if size is None else "both"
        raise InvalidArgumentError(
            f"interpolate: one of size and scale_factor is required, got {got}."
        )
    if mode in _SMOOTH and input.dim() != _SMOOTH[mode][0]:
        raise ShapeError(
            f"interpolate: {_SMOOTH[mode][0]} dimensions are required by mode {mode!r}, got "
            f"{list(input.shape)}."
        )
    if mode not in _SMOOTH and align_corners is not None:
        raise InvalidArgumentError(
            f"interpolate: no align_corners is taken by mode {mode!r}, got {align_corners}."
        )
    if antialias and (mode not in ("bilinear", "bicubic") or align_corners):
        raise InvalidArgumentError(
            f"interpolate: antialias requires mode 'bilinear' or 'bicubic' without align_corners, "
            f"got mode {mode!r}, align_corners {align_corners}."
        )


def _sizes(input: Tensor, scales: list[float], recompute: bool) -> list[int] | None:
    """The output's sizes where these say what the scales do; None to go by the scales."""
    dims = input.shape[2:]
    if not all(isinstance(d, int) for d in dims):
        return None
    sizes = [math.floor(d * s) for d, s in zip(dims, scales, strict=True)]
    exact = all(d * s == out for d, s, out in zip(dims, scales, sizes, strict=True))
    # Resize holds scales in float32.
    narrow = [math.floor(np.float32(d) * np.float32(s)) for d, s in zip(dims, scales, strict=True)]
    return sizes if recompute or exact or narrow != sizes else None


def _scaled(size: Any, scale: float) -> Any:
    """floor(size * scale)."""
    if isinstance(size, int):
        return math.floor(size * scale)
    if scale == int(scale):
        return size * int(scale)
    if scale and 1 / scale == int(1 / scale):
        return size // int(1 / scale)
    raise InvalidArgumentError(
        f"interpolate: a scale that is an integer, or 1 over one, is required by mode 'area' and "
        f"the dynamic dimension '{size}', got {scale}."
    )


def _how(mode: str, align_corners: bool | None, antialias: bool) -> dict[str, Any]:
    if mode in ("nearest", "area"):
        return {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if mode == "nearest-exact":
        return {
            "coordinate_transformation_mode": "half_pixel",
            "nearest_mode": "round_prefer_ceil",
        }
    how: dict[str, Any] = {
        "mode": _SMOOTH[mode][1],
        "coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel",
    }
    if antialias:
        how |= {"antialias": 1, "exclude_outside": 1}
        if mode == "bicubic":
            how["cubic_coeff_a"] = -0.5
    return how


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Reads `input` at the positions of `grid`.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W).
        grid: (N, *out, 2 or 3): x, y and z in [-1, 1].
        mode: "bilinear", "nearest" or "bicubic" (4 dimensions).
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner elements, else their edges.
    """
    modes = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    if mode not in modes or padding_mode not in ("zeros", "border", "reflection"):
        raise InvalidArgumentError(
            f"grid_sample: mode of {list(modes)} and padding_mode 'zeros', 'border' or "
            f"'reflection' are required, got {mode!r} and {padding_mode!r}."
        )
    if input.dim() not in (4, 5) or (mode == "bicubic" and input.dim() == 5):
        raise ShapeError(
            f"grid_sample: four dimensions, or five without bicubic, are required, got "
            f"{list(input.shape)}."
        )
    h = handle(
        "GridSample",
        mode=modes[mode],
        padding_mode=padding_mode,
        align_corners=int(bool(align_corners)),
    )
    return apply(h, input, grid)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid of positions (N, *spatial, 2 or 3) that an affine map takes positions to.

    Args:
        theta: (N, 2, 3) or (N, 3, 4).
        size: (N, C, H, W) or (N, C, D, H, W).
        align_corners: as `grid_sample`.
    """
    sizes = as_shape((tuple(size),))
    space = len(sizes) - 2
    if space not in (2, 3) or not may_equal(theta.shape, (sizes[0], space, space + 1)):
        raise ShapeError(
            f"affine_grid: theta (N, {space}, {space + 1}) is required by size {sizes}, got "
            f"{list(theta.shape)}."
        )
    if any(type(n) is SymInt for n in sizes):
        h = handle("AffineGrid", align_corners=int(bool(align_corners)))
        return apply(h, theta, shape_operand(sizes))
    if align_corners and 1 in sizes[2:]:
        # An axis of one element is at 0, where ONNX has no position.
        place = [i for i, n in enumerate(reversed(sizes[2:])) if n == 1]
        keep = [0.0 if i in place else 1.0 for i in range(space)] + [1.0]
        theta = theta * as_tensor(np.array(keep)).to(theta.dtype)
        sizes = tuple(n if i < 2 or n > 1 else 2 for i, n in enumerate(sizes))
        grid = affine_grid(theta, sizes, True)
        for i, n in enumerate(size):
            if i >= 2 and n == 1:
                grid = grid.narrow(i - 1, 0, 1)
        return grid
    h = handle("AffineGrid", align_corners=int(bool(align_corners)))
    return apply(h, *as_operands("affine_grid", (theta, list(sizes))))


def _window(where: str, n: int, dilation: Ints, padding: Ints, stride: Ints) -> dict[str, Any]:
    pads = ntuple(padding, n, f"{where}: padding")
    return {
        "dilations": ntuple(dilation, n, f"{where}: dilation"),
        "pads": pads * 2,
        "strides": ntuple(stride, n, f"{where}: stride"),
    }


def fold(
    input: Tensor,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Tensor:
    """Adds up sliding blocks (N, C * kernel, L) into images (N, C, *output_size)."""
    if input.dim() not in (2, 3):
        raise ShapeError(
            f"fold: (N, C * kernel, L) or (C * kernel, L) is required, got {list(input.shape)}."
        )
    single = input.dim() == 2
    x = input.unsqueeze(0) if single else input
    sizes = ntuple(output_size, 2, "fold: output_size")
    kernel = ntuple(kernel_size, 2, "fold: kernel_size")
    h = handle("Col2Im", **_window("fold", 2, dilation, padding, stride))
    y = apply(h, *as_operands("fold", (x, list(sizes), list(kernel))))
    return y.squeeze(0) if single else y


def unfold(
    input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Tensor:
    """The sliding blocks of images (N, C, H, W) as columns (N, C * kernel, L)."""
    x, single = _batched("unfold", 2, input)
    kernel = ntuple(kernel_size, 2, "unfold: kernel_size")
    h = handle("Im2Col", "toolkit.nn", **_window("unfold", 2, dilation, padding, stride))
    y = apply(h, *as_operands("unfold", (x, list(kernel))))
    return y.squeeze(0) if single else y


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r², H, W) to (*, C, H r, W r)."""
    r = _factor("pixel_shuffle", input, upscale_factor)
    channels, height, width = input.shape[-3:]
    if isinstance(channels, int) and channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle: channels divisible by {r * r} are required, got {channels}."
        )
    lead = input.shape[:-3]
    x = input if input.dim() == 4 else _planes(input, channels, height, width)
    y = apply(handle("DepthToSpace", blocksize=r, mode="CRD"), x)
    return y if input.dim() == 4 else y.reshape(*lead, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) to (*, C r², H, W)."""
    r = _factor("pixel_unshuffle", input, downscale_factor)
    channels, height, width = input.shape[-3:]
    if any(isinstance(n, int) and n % r for n in (height, width)):
        raise ShapeError(
            f"pixel_unshuffle: height and width divisible by {r} are required, got "
            f"{list(input.shape)}."
        )
    lead = input.shape[:-3]
    y = _planes(input, channels, height // r, r, width // r, r).permute(0, 1, 3, 5, 2, 4)
    return y.reshape(*lead, channels * r * r, height // r, width // r)


def _planes(input: Tensor, *sizes: Any) -> Tensor:
    """All leading dimensions as one, and `sizes` behind it."""
    lead = input.shape[:-3]
    known = all(isinstance(d, int) for d in lead)
    return input.reshape(lead.numel() if known else -1, *sizes)


def _factor(where: str, input: Tensor, factor: int) -> int:
    if input.dim() < 3 or factor < 1:
        raise InvalidArgumentError(
            f"{where}: three dimensions or more and a positive factor are required, got "
            f"{list(input.shape)} and {factor}."
        )
    return factor


def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    output_size: Sequence[int] | None,
) -> Tensor:
    where = f"max_unpool{n}d"
    x, single = _batched(where, n, input)
    kernel = ntuple(kernel_size, n, f"{where}: kernel_size")
    strides = kernel if stride in (None, ()) else ntuple(stride, n, f"{where}: stride")
    pads = ntuple(padding, n, f"{where}: padding")
    natural = [
        (d - 1) * s - 2 * p + k
        for d, s, p, k in zip(x.shape[2:], strides, pads, kernel, strict=True)
    ]
    wanted, reach = natural, kernel
    if output_size is not None:
        wanted = [int(d) for d in output_size][-n:]
        if any(not -s < w - d < s for d, s, w in zip(natural, strides, wanted, strict=True)):
            raise ShapeError(
                f"{where}: an output size within a stride of {natural} is required, got {wanted}."
            )
        # A kernel of the right size gives the wanted output.
        reach = tuple(k + w - d for k, w, d in zip(kernel, wanted, natural, strict=True))
    # ONNX counts through the whole tensor.
    plane = math.prod(wanted)
    planes = arange(math.prod(x.shape[:2])) * (plane.tensor() if type(plane) is SymInt else plane)
    at = indices.unsqueeze(0) if single else indices
    h = handle("MaxUnpool", kernel_shape=reach, strides=strides, pads=pads * 2)
    y = apply(h, x, at + planes.reshape(*x.shape[:2], *[1] * n))
    return y.squeeze(0) if single else y


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Puts the maxima of `max_pool1d` back in their places among zeros."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Puts the maxima of `max_pool2d` back in their places among zeros."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Puts the maxima of `max_pool3d` back in their places among zeros."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
