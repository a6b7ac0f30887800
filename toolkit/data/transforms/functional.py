"""Geometry of images by torchvision's names: sizes, parts, turns. Colours are in `colors.py`.

A Pillow image is changed by Pillow. Tensors (..., C, H, W) are changed by the tensor's own
operations, so what has sizes that are known can be traced into a model.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit.data.transforms.colors import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    rgb_to_grayscale,
)
from toolkit.data.transforms.conversion import (
    normalize,
    pil_to_tensor,
    to_dtype,
    to_image,
    to_pil_image,
    to_tensor,
)
from toolkit.data.transforms.kinds import (
    InterpolationMode,
    interpolation_of,
    is_pil,
    pair,
    pillow_resampling,
    require_image,
    require_tensor,
    sides,
    size_of,
)
from toolkit.errors import InvalidArgumentError

__all__ = [
    "InterpolationMode",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "center_crop",
    "crop",
    "erase",
    "gaussian_blur",
    "hflip",
    "horizontal_flip",
    "normalize",
    "pad",
    "pil_to_tensor",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "to_dtype",
    "to_image",
    "to_pil_image",
    "to_tensor",
    "vertical_flip",
    "vflip",
]

_BILINEAR, _NEAREST = InterpolationMode.BILINEAR, InterpolationMode.NEAREST


def resize(
    image: Any,
    size: Any,
    interpolation: Any = _BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """The image at another size.

    Args:
        image: a Pillow image or a tensor.
        size: height and width; one number is the shorter side's, and the shape stays.
        interpolation: see `InterpolationMode`.
        max_size: the longer side is at most this; with `size=None` it is exactly this.
        antialias: widen the filter where the image becomes smaller; Pillow always does.
    """
    require_image("resize", image)
    mode = interpolation_of(interpolation)
    height, width = output_size(size_of(image), size, max_size)
    if is_pil(image):
        return image.resize((width, height), pillow_resampling(mode))
    if (height, width) == size_of(image):
        return image
    if mode not in (
        _BILINEAR,
        InterpolationMode.BICUBIC,
        _NEAREST,
        InterpolationMode.NEAREST_EXACT,
    ):
        raise InvalidArgumentError(
            "resize: nearest, nearest-exact, bilinear or bicubic is required of a tensor, got "
            f"{mode.value}."
        )
    from toolkit.nn import functional as F

    smooth = mode in (_BILINEAR, InterpolationMode.BICUBIC)
    options = {"antialias": bool(antialias)} if smooth else {}

    def work(x: Any) -> Any:
        return F.interpolate(x, size=(height, width), mode=mode.value, **options)

    return as_batch(image, work, exact=not smooth)


def output_size(old: tuple[Any, Any], size: Any, max_size: int | None) -> tuple[int, int]:
    """Height and width that `resize` gives."""
    if size is not None and not isinstance(size, int) and len(size) == 2:
        if max_size is not None:
            raise InvalidArgumentError(
                "resize: max_size=None is required with a size of 2 numbers."
            )
        return pair("resize", size)
    height, width = old
    shorter, longer = sorted((height, width))
    if size is None:
        if max_size is None:
            raise InvalidArgumentError("resize: size or max_size is required, got neither.")
        new_short, new_long = int(max_size * shorter / longer), max_size
    else:
        new_short = pair("resize", size)[0]
        if max_size is not None and max_size <= new_short:
            raise InvalidArgumentError(
                f"resize: max_size above size {new_short} is required, got {max_size}."
            )
        new_long = int(new_short * longer / shorter)
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)


def as_batch(image: Any, work: Any, exact: bool = False) -> Any:
    """Runs `work` on (N, C, H, W) floats; integers are rounded and clipped afterwards."""
    dtype, shape = image.dtype, image.shape
    x = image if dtype.is_floating_point else image.to(_float32())
    x = x.reshape(1, 1, *shape) if image.dim() == 2 else x
    x = x.unsqueeze(0) if x.dim() == 3 else x.flatten(0, -4) if x.dim() > 4 else x
    y = work(x)
    y = y.reshape(*shape[:-2], y.shape[-2], y.shape[-1]) if image.dim() != 4 else y
    if dtype.is_floating_point:
        return y
    if not exact:
        limits = np.iinfo(dtype.numpy)
        y = y.round().clamp(int(limits.min), int(limits.max))
    return y.to(dtype)


def _float32() -> Any:
    from toolkit.dtypes import float32

    return float32


def pad(image: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """Borders around the image.

    Args:
        image: a Pillow image or a tensor.
        padding: one number, (left and right, top and bottom), or (left, top, right, bottom).
        fill: a number, or one for each channel.
        padding_mode: "constant", "edge", "reflect" (without the edge) or "symmetric" (with it).
    """
    require_image("pad", image)
    left, top, right, bottom = sides(padding)
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise InvalidArgumentError(
            "pad: constant, edge, reflect or symmetric is required as padding_mode, got "
            f"{padding_mode!r}."
        )
    if is_pil(image):
        return _pad_pil(image, (left, top, right, bottom), fill, padding_mode)
    if padding_mode != "constant":
        rows = np.pad(np.arange(image.shape[-2]), (top, bottom), padding_mode)  # type: ignore[call-overload]
        columns = np.pad(np.arange(image.shape[-1]), (left, right), padding_mode)  # type: ignore[call-overload]
        return _taken(_taken(image, -2, rows), -1, columns)
    from toolkit.nn import functional as F
    from toolkit.tensor import cat

    around = (left, right, top, bottom)
    fills = list(fill) if isinstance(fill, (list, tuple)) else [0 if fill is None else fill]
    if len(fills) == 1:
        return F.pad(image, around, value=fills[0])
    planes = [F.pad(image[..., i : i + 1, :, :], around, value=f) for i, f in enumerate(fills)]
    return cat(planes, -3)


def _taken(image: Any, dim: int, index: Any) -> Any:
    from toolkit.tensor import from_numpy

    return image.index_select(image.dim() + dim, from_numpy(index.astype(np.int64)))


def _pad_pil(image: Any, around: tuple[int, int, int, int], fill: Any, mode: str) -> Any:
    from PIL import Image, ImageOps

    if mode == "constant":
        color = tuple(fill) if isinstance(fill, list) else 0 if fill is None else fill
        if isinstance(color, (int, float)):
            bands = len(image.getbands())
            color = int(color) if bands == 1 else (int(color),) * bands
        return ImageOps.expand(image, around, color)
    left, top, right, bottom = around
    pixels = np.asarray(image)
    widths = ((top, bottom), (left, right)) + ((0, 0),) * (pixels.ndim - 2)
    made = Image.fromarray(np.pad(pixels, widths, mode))  # type: ignore[call-overload]
    if image.mode == "P":
        made.putpalette(image.getpalette())
    return made


def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image; zeros where it reaches beyond."""
    require_image("crop", image)
    if is_pil(image):
        return image.crop((left, top, left + width, top + height))
    rows, columns = size_of(image)
    over = (
        max(-left, 0),
        max(-top, 0),
        max(left + width - columns, 0),
        max(top + height - rows, 0),
    )
    if any(over):
        image, top, left = pad(image, over), max(top, 0), max(left, 0)
    return image[..., top : top + height, left : left + width]


def center_crop(image: Any, output_size: Any) -> Any:
    """The middle of the image; zeros around where it is smaller."""
    require_image("center_crop", image)
    height, width = pair("center_crop", output_size, "output_size")
    rows, columns = size_of(image)
    if height > rows or width > columns:
        left, top = max((width - columns) // 2, 0), max((height - rows) // 2, 0)
        right, bottom = max((width - columns + 1) // 2, 0), max((height - rows + 1) // 2, 0)
        image = pad(image, [left, top, right, bottom])
        rows, columns = size_of(image)
    return crop(image, round((rows - height) / 2), round((columns - width) / 2), height, width)


def resized_crop(
    image: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Any,
    interpolation: Any = _BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A part of the image at another size."""
    part = crop(image, top, left, height, width)
    return resize(part, size, interpolation, antialias=antialias)


def horizontal_flip(image: Any) -> Any:
    """Left and right exchanged."""
    require_image("horizontal_flip", image)
    if is_pil(image):
        from PIL import Image

        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.flip(-1)


def vertical_flip(image: Any) -> Any:
    """Top and bottom exchanged."""
    require_image("vertical_flip", image)
    if is_pil(image):
        from PIL import Image

        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image.flip(-2)


hflip, vflip = horizontal_flip, vertical_flip


def rotate(
    image: Any,
    angle: float,
    interpolation: Any = _NEAREST,
    expand: bool = False,
    center: Any = None,
    fill: Any = None,
) -> Any:
    """The image turned about its center.

    Args:
        image: a Pillow image or a tensor.
        angle: degrees, counter-clockwise.
        interpolation: nearest, bilinear; bicubic of a Pillow image only.
        expand: make the image large enough for all of it; the center is then the middle.
        center: (x, y) in pixels; None: the middle.
        fill: what stands where nothing was: a number or one a channel; None: 0.
    """
    require_image("rotate", image)
    mode = interpolation_of(interpolation)
    if is_pil(image):
        color = tuple(fill) if isinstance(fill, list) else fill
        if isinstance(color, (int, float)):
            bands = len(image.getbands())
            color = int(color) if bands == 1 else (int(color),) * bands
        return image.rotate(angle, pillow_resampling(mode), expand, center, fillcolor=color)
    if mode not in (_NEAREST, _BILINEAR):
        raise InvalidArgumentError(
            f"rotate: nearest or bilinear is required of a tensor, got {mode.value}."
        )
    grid = _rotated_grid(size_of(image), angle, expand, center)
    return _sampled(image, grid, mode.value, fill)


def _rotated_grid(size: Any, angle: float, expand: bool, center: Any) -> Any:
    """Where each pixel of the result comes from, in [-1, 1] from edge to edge: (H, W, 2)."""
    height, width = (int(n) for n in size)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows, columns = height, width
    if expand:
        across = abs(width * cos) + abs(height * sin)
        down = abs(width * sin) + abs(height * cos)
        rows, columns = math.ceil(down - 1e-6), math.ceil(across - 1e-6)
    cx, cy = (width / 2, height / 2) if center is None else (float(v) for v in center)
    ox, oy = (columns / 2, rows / 2) if expand else (cx, cy)
    y, x = np.meshgrid(np.arange(rows) + 0.5 - oy, np.arange(columns) + 0.5 - ox, indexing="ij")
    source_x, source_y = cos * x - sin * y + cx, sin * x + cos * y + cy
    grid = np.stack([source_x * 2 / width - 1, source_y * 2 / height - 1], -1)
    return grid.astype(np.float32)


def _sampled(image: Any, grid: Any, mode: str, fill: Any) -> Any:
    from toolkit.nn import functional as F
    from toolkit.tensor import from_numpy, ones_like, tensor

    def work(x: Any) -> Any:
        at = from_numpy(grid).to(x.dtype).unsqueeze(0).expand(x.shape[0], -1, -1, -1)
        y = F.grid_sample(x, at, mode=mode, padding_mode="zeros", align_corners=False)
        if fill is None or not np.any(fill):
            return y
        inside = F.grid_sample(ones_like(x[:, :1]), at, mode=mode, align_corners=False)
        color = tensor(fill, dtype=x.dtype).reshape(1, -1, 1, 1)
        if mode == "nearest":
            inside = (inside >= 0.5).to(x.dtype)
            return y * inside + color * (1 - inside)
        return y + color * (1 - inside)

    return as_batch(image, work)


def erase(image: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Any:
    """A tensor with rows i to i + h and columns j to j + w set to `v`."""
    require_tensor("erase", image)
    image = image if inplace else image.clone()
    image[..., i : i + h, j : j + w] = v
    return image


def gaussian_blur(image: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """The image under a Gaussian window; borders are reflected.

    Args:
        image: a Pillow image or a tensor.
        kernel_size: width and height of the window, odd; one number for both.
        sigma: in pixels, one or (x, y); None: 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8.
    """
    require_image("gaussian_blur", image)
    width, height = pair("gaussian_blur", kernel_size, "kernel_size")
    if width % 2 == 0 or height % 2 == 0 or min(width, height) < 1:
        raise InvalidArgumentError(
            f"gaussian_blur: odd sizes are required as kernel_size, got {kernel_size}."
        )
    given = [sigma] * 2 if isinstance(sigma, (int, float)) else sigma
    sx, sy = given or [0.3 * ((n - 1) * 0.5 - 1) + 0.8 for n in (width, height)]
    if min(sx, sy) <= 0:
        raise InvalidArgumentError(f"gaussian_blur: sigma > 0 is required, got {sigma}.")
    if is_pil(image):
        return to_pil_image(gaussian_blur(to_image(image), kernel_size, sigma), image.mode)
    from toolkit.nn import functional as F
    from toolkit.tensor import from_numpy

    window = np.outer(_gauss(height, sy), _gauss(width, sx)).astype(np.float32)

    def work(x: Any) -> Any:
        planes = x.reshape(-1, 1, x.shape[-2], x.shape[-1])
        around = (width // 2, width // 2, height // 2, height // 2)
        planes = F.pad(planes, around, mode="reflect")
        y = F.conv2d(planes, from_numpy(window[None, None]).to(x.dtype))
        return y.reshape(x.shape)

    return as_batch(image, work)


def _gauss(size: int, sigma: float) -> Any:
    x = np.arange(size) - (size - 1) / 2
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    return weights / weights.sum()
