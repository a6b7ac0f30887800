"""Transforms that draw nothing: conversion, sizes, normalization; of tensors they can be traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit.data.transforms import functional as F
from toolkit.data.transforms.base import Transform
from toolkit.data.transforms.conversion import check_statistics, per_channel
from toolkit.data.transforms.kinds import InterpolationMode, interpolation_of, is_pil, pair, sides
from toolkit.dtypes import float32

_BILINEAR = InterpolationMode.BILINEAR


class _FromPixels(Transform):
    """Takes all Pillow images and arrays of a sample."""

    def wanted(self, flat: list[Any]) -> list[int]:
        return [i for i, v in enumerate(flat) if is_pil(v) or isinstance(v, np.ndarray)]


class ToImage(_FromPixels):
    """A tensor (C, H, W) of a Pillow image or an array (H, W, C); the type stays."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.to_image(inpt)

    def wanted(self, flat: list[Any]) -> list[int]:
        return super().wanted(flat) or [i for i, v in enumerate(flat) if isinstance(v, TensorBase)]


class PILToTensor(Transform):
    """A tensor (C, H, W) of a Pillow image; the type stays."""

    def wanted(self, flat: list[Any]) -> list[int]:
        return [i for i, v in enumerate(flat) if is_pil(v)]

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.pil_to_tensor(inpt)


class ToTensor(_FromPixels):
    """A float32 tensor (C, H, W) in [0, 1] of a Pillow image or an array (H, W, C) of bytes."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.to_tensor(inpt)


class ToPILImage(Transform):
    """A Pillow image of a tensor (C, H, W) or an array (H, W, C)."""

    def __init__(self, mode: str | None = None) -> None:
        super().__init__()
        self.mode = mode

    def wanted(self, flat: list[Any]) -> list[int]:
        return [i for i, v in enumerate(flat) if isinstance(v, (TensorBase, np.ndarray))][:1]

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.to_pil_image(inpt, self.mode)


class ToDtype(Transform):
    """A tensor of another type; `scale` takes white to white, as 255 to 1."""

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        super().__init__()
        self.dtype, self.scale = dtype, scale

    def wanted(self, flat: list[Any]) -> list[int]:
        return [i for i, v in enumerate(flat) if isinstance(v, TensorBase)][:1]

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.to_dtype(inpt, self.dtype, self.scale)


class ConvertImageDtype(ToDtype):
    """A tensor of another type, white to white."""

    def __init__(self, dtype: Any = None) -> None:
        super().__init__(dtype, scale=True)


class Normalize(Transform):
    """(image - mean) / std for each channel of a float tensor (..., C, H, W)."""

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        super().__init__()
        self.mean, self.std = check_statistics(mean, std)
        self.inplace = inplace
        self._center = per_channel(self.mean, float32)
        self._spread = per_channel(self.std, float32)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, TensorBase) and inpt.dtype == float32:
            return F.normalize(inpt, self._center, self._spread, self.inplace)
        return F.normalize(inpt, self.mean, self.std, self.inplace)

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}"


class Resize(Transform):
    """Another size: height and width, or one number for the shorter side.

    Args:
        size: two numbers, or one; None with `max_size` sets the longer side.
        interpolation: see `InterpolationMode`.
        max_size: the most that the longer side may have.
        antialias: widen the filter where an image becomes smaller; Pillow always does.
    """

    def __init__(
        self,
        size: Any,
        interpolation: Any = _BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        F.output_size((8, 8), size, max_size)
        self.size, self.max_size, self.antialias = size, max_size, antialias
        self.interpolation = interpolation_of(interpolation)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.resize(inpt, self.size, self.interpolation, self.max_size, self.antialias)

    def extra_repr(self) -> str:
        return f"size={self.size}, interpolation={self.interpolation.value}"


class CenterCrop(Transform):
    """The middle of an image; zeros around where it is smaller."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = pair("CenterCrop", size)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.center_crop(inpt, self.size)


class Pad(Transform):
    """Borders around an image; see `functional.pad`."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        sides(padding)
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.pad(inpt, self.padding, self.fill, self.padding_mode)


class Grayscale(Transform):
    """The luma of an RGB image, in one channel or in three equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.rgb_to_grayscale(inpt, self.num_output_channels)
