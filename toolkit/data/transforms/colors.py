"""Colours of images by torchvision's names; Pillow's images are changed by Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.data.transforms.kinds import (
    channels_of,
    is_pil,
    largest_value,
    require_image,
)
from toolkit.errors import InvalidArgumentError, ShapeError

_LUMA = (0.2989, 0.587, 0.114)  # Of R, G, B (ITU-R 601-2), as torchvision rounds them.


def rgb_to_grayscale(image: Any, num_output_channels: int = 1) -> Any:
    """The luma of an RGB image, in one channel or in three equal ones."""
    require_image("rgb_to_grayscale", image)
    if num_output_channels not in (1, 3):
        raise InvalidArgumentError(
            f"rgb_to_grayscale: 1 or 3 channels are required, got {num_output_channels}."
        )
    if is_pil(image):
        gray = image.convert("L")
        if num_output_channels == 1:
            return gray
        from PIL import Image

        return Image.merge("RGB", [gray] * 3)
    from toolkit.tensor import cat

    one = channels_of(image) == 1
    gray = image if one else _luma("rgb_to_grayscale", image).to(image.dtype)
    return gray if num_output_channels == 1 else cat([gray] * 3, -3)


def _luma(where: str, image: Any) -> Any:
    """Floats (..., 1, H, W); of integers not yet rounded."""
    if channels_of(image) != 3:
        raise ShapeError(f"{where}: 1 or 3 channels are required, got {channels_of(image)}.")
    r, g, b = (image[..., i : i + 1, :, :] for i in range(3))
    if not image.dtype.is_floating_point:
        r, g, b = (_floats(v) for v in (r, g, b))
    return r * _LUMA[0] + g * _LUMA[1] + b * _LUMA[2]


def _floats(image: Any) -> Any:
    from toolkit.dtypes import float32

    return image if image.dtype.is_floating_point else image.to(float32)


def _require_factor(where: str, factor: float) -> None:
    if factor < 0:
        raise InvalidArgumentError(f"{where}: a factor >= 0 is required, got {factor}.")


def _blend(image: Any, other: Any, factor: float) -> Any:
    """The mixture factor * image + (1 - factor) * other, clipped to what the type can hold."""
    mixed = _floats(image) * factor + other * (1.0 - factor)
    return mixed.clamp(0, largest_value(image.dtype)).to(image.dtype)


def adjust_brightness(image: Any, brightness_factor: float) -> Any:
    """0 is black, 1 the image itself, 2 twice as bright."""
    require_image("adjust_brightness", image)
    _require_factor("adjust_brightness", brightness_factor)
    if is_pil(image):
        from PIL import ImageEnhance

        return ImageEnhance.Brightness(image).enhance(brightness_factor)
    x = _floats(image) * brightness_factor
    return x.clamp(0, largest_value(image.dtype)).to(image.dtype)


def adjust_contrast(image: Any, contrast_factor: float) -> Any:
    """0 is even gray, 1 the image itself."""
    require_image("adjust_contrast", image)
    _require_factor("adjust_contrast", contrast_factor)
    if is_pil(image):
        from PIL import ImageEnhance

        return ImageEnhance.Contrast(image).enhance(contrast_factor)
    gray = _floats(image) if channels_of(image) == 1 else _luma("adjust_contrast", image)
    if not image.dtype.is_floating_point:
        gray = gray.floor()
    return _blend(image, gray.mean((-3, -2, -1), keepdim=True), contrast_factor)


def adjust_saturation(image: Any, saturation_factor: float) -> Any:
    """0 is gray, 1 the image itself."""
    require_image("adjust_saturation", image)
    _require_factor("adjust_saturation", saturation_factor)
    if is_pil(image):
        from PIL import ImageEnhance

        return ImageEnhance.Color(image).enhance(saturation_factor)
    if channels_of(image) == 1:
        return image
    gray = _luma("adjust_saturation", image)
    if not image.dtype.is_floating_point:
        gray = gray.floor()
    return _blend(image, gray, saturation_factor)


def adjust_hue(image: Any, hue_factor: float) -> Any:
    """Hues moved round the circle by a share of it in [-0.5, 0.5]."""
    require_image("adjust_hue", image)
    if not -0.5 <= hue_factor <= 0.5:
        raise InvalidArgumentError(f"adjust_hue: [-0.5, 0.5] is required, got {hue_factor}.")
    if is_pil(image):
        if image.mode in ("L", "1", "I", "F"):
            return image
        from PIL import Image

        h, s, v = image.convert("HSV").split()
        moved = (np.asarray(h).astype(np.int32) + int(hue_factor * 255)) % 256
        h = Image.fromarray(moved.astype(np.uint8))
        return Image.merge("HSV", (h, s, v)).convert(image.mode)
    if channels_of(image) == 1 or hue_factor == 0:
        return image
    if channels_of(image) != 3:
        raise ShapeError(f"adjust_hue: 1 or 3 channels are required, got {channels_of(image)}.")
    from toolkit.data.transforms.conversion import to_dtype
    from toolkit.dtypes import float32

    x = image if image.dtype.is_floating_point else to_dtype(image, float32, scale=True)
    return to_dtype(_turned(x, hue_factor), image.dtype, scale=True)


def _turned(x: Any, turn: float) -> Any:
    """RGB to HSV, the hue turned, and back (Smith 1978)."""
    from toolkit.tensor import cat

    r, g, b = (x[..., i : i + 1, :, :] for i in range(3))
    value, least = x.amax(-3, keepdim=True), x.amin(-3, keepdim=True)
    chroma = value - least
    flat = chroma == 0
    safe = chroma.masked_fill(flat, 1.0)
    rc, gc, bc = ((value - c) / safe for c in (r, g, b))
    hue = (bc - gc).where(value == r, (2.0 + rc - bc).where(value == g, 4.0 + gc - rc))
    hue = hue.masked_fill(flat, 0.0) / 6.0 + turn
    hue = (hue - hue.floor()) * 6.0
    # Channel n of f(n) = v - c * max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6.
    planes = []
    for n in (5.0, 3.0, 1.0):
        k = hue + n
        k = k - (k / 6.0).floor() * 6.0
        share = k.minimum(4.0 - k).clamp(0.0, 1.0)
        planes.append(value - chroma * share)
    return cat(planes, -3)
