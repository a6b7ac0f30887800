"""From Pillow and numpy to tensors and back; element types; normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit.data.transforms.kinds import is_pil, is_tensor, largest_value
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError


def _pixels(where: str, image: Any) -> Any:
    """An array (H, W, C) of a Pillow image or of an array (H, W) or (H, W, C)."""
    if is_pil(image):
        if image.mode == "1":
            image = image.convert("L")
        pixels = np.asarray(image)
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise DTypeError(
            f"{where}: a Pillow image or an array is required, got {type(image).__name__}."
        )
    if pixels.ndim not in (2, 3):
        raise ShapeError(f"{where}: 2 or 3 dimensions are required, got {pixels.ndim}.")
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _planes(where: str, image: Any) -> Any:
    """An array (C, H, W) with memory of its own."""
    if is_pil(image) and image.mode in (
        "RGB",
        "RGBA",
    ):  # Pillow takes bands apart faster than numpy.
        bands = image.split()
        planes = np.empty((len(bands), image.height, image.width), np.uint8)
        for plane, band in zip(planes, bands, strict=True):
            plane[...] = np.asarray(band)
        return planes
    return np.array(_pixels(where, image).transpose(2, 0, 1), order="C")


def to_image(image: Any) -> Any:
    """A tensor (C, H, W) of the type that the pixels have."""
    from toolkit.tensor import from_numpy

    if is_tensor(image):
        return image
    return from_numpy(_planes("to_image", image))


def pil_to_tensor(image: Any) -> Any:
    """A tensor (C, H, W) of a Pillow image, of the type that the pixels have."""
    if not is_pil(image):
        raise DTypeError(f"pil_to_tensor: a Pillow image is required, got {type(image).__name__}.")
    return to_image(image)


def to_tensor(image: Any) -> Any:
    """A float32 tensor (C, H, W), bytes scaled to [0, 1]; other types keep their numbers."""
    from toolkit.tensor import from_numpy

    planes = from_numpy(_planes("to_tensor", image))
    return planes.to(dtypes.float32) / 255 if planes.dtype == dtypes.uint8 else planes


def to_pil_image(image: Any, mode: str | None = None) -> Any:
    """A Pillow image of a tensor (C, H, W) or an array (H, W, C); floats in [0, 1] become bytes."""
    from PIL import Image

    if is_tensor(image):
        if image.dim() not in (2, 3):
            raise ShapeError(f"to_pil_image: 2 or 3 dimensions are required, got {image.dim()}.")
        pixels = image.detach().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels[:, :, None]
        if pixels.dtype.kind == "f" and mode != "F":
            pixels = (pixels * 255).astype(np.uint8)
    elif isinstance(image, np.ndarray):
        pixels = _pixels("to_pil_image", image)
    else:
        raise DTypeError(
            f"to_pil_image: a tensor or an array is required, got {type(image).__name__}."
        )
    channels = pixels.shape[2]
    if channels > 4:
        raise ShapeError(f"to_pil_image: at most 4 channels are required, got {channels}.")
    if channels == 1:
        made = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0]))
    else:
        if pixels.dtype != np.uint8:
            raise DTypeError(f"to_pil_image: uint8 is required of colours, got {pixels.dtype}.")
        made = Image.fromarray(np.ascontiguousarray(pixels))
    if mode is None or mode == made.mode:
        return made
    if mode in ("CMYK", "HSV", "YCbCr", "RGBX") and len(made.getbands()) == channels:
        return Image.frombytes(mode, made.size, made.tobytes())
    return made.convert(mode)


def to_dtype(image: Any, dtype: Any = None, scale: bool = False) -> Any:
    """A tensor of another type; `scale` takes white to white (255 to 1, and so on)."""
    if not is_tensor(image):
        raise DTypeError(f"to_dtype: a tensor is required, got {type(image).__name__}.")
    dtype = dtypes.float32 if dtype is None else dtype
    old = image.dtype
    if old == dtype or not scale:
        return image.to(dtype)
    if old.is_floating_point:
        if dtype.is_floating_point:
            return image.to(dtype)
        # As torchvision: every integer gets an equal share of [0, 1].
        return (image * (largest_value(dtype) + 1.0 - 1e-3)).to(dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / largest_value(old)
    before, after = (int(largest_value(t)).bit_length() for t in (old, dtype))
    if before > after:
        return (image >> (before - after)).to(dtype)
    return image.to(dtype) << (after - before)


def normalize(image: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
    """(image - mean) / std for each channel of a float tensor (..., C, H, W)."""
    if not is_tensor(image) or not image.dtype.is_floating_point:
        got = image.dtype if is_tensor(image) else type(image).__name__
        raise DTypeError(
            f"normalize: a float tensor is required, got {got}. Put ToDtype before it."
        )
    if image.dim() < 3:
        raise ShapeError(
            f"normalize: a tensor (..., C, H, W) is required, got shape {tuple(image.shape)}."
        )
    center, spread = (per_channel(v, image.dtype) for v in (mean, std))
    if inplace:
        return image.sub_(center).div_(spread)
    return (image - center) / spread


def per_channel(values: Any, dtype: Any) -> Any:
    """A tensor (C, 1, 1) of numbers; a tensor is one already."""
    from toolkit.tensor import as_tensor

    if is_tensor(values) and values.dtype == dtype and values.dim() == 3:
        return values
    return as_tensor(values, dtype=dtype).reshape(-1, 1, 1)


def check_statistics(mean: Any, std: Any) -> tuple[list[float], list[float]]:
    """Mean and deviation as lists; a deviation of 0 is refused."""
    lists = []
    for name, values in (("mean", mean), ("std", std)):
        found = [float(v) for v in (values if hasattr(values, "__iter__") else [values])]
        if not found or (name == "std" and 0.0 in found):
            raise InvalidArgumentError(
                f"Normalize: a number a channel (no 0 in std) is required as {name}, got {values}."
            )
        lists.append(found)
    return lists[0], lists[1]
