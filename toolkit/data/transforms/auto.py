"""`RandAugment` (Cubuk et al. 2019): a few operations of a list, all of one strength."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.data.transforms import functional as F
from toolkit.data.transforms.base import Transform, chance, integer
from toolkit.data.transforms.kinds import (
    InterpolationMode,
    interpolation_of,
    is_pil,
    pillow_resampling,
    size_of,
)
from toolkit.errors import InvalidArgumentError

# Operation -> (strength of bin b of n for height h and width w, whether the sign is drawn).
_STRENGTHS: dict[str, Any] = {
    "Identity": (lambda b, n, h, w: 0.0, False),
    "ShearX": (lambda b, n, h, w: 0.3 * b / (n - 1), True),
    "ShearY": (lambda b, n, h, w: 0.3 * b / (n - 1), True),
    "TranslateX": (lambda b, n, h, w: 150.0 / 331.0 * w * b / (n - 1), True),
    "TranslateY": (lambda b, n, h, w: 150.0 / 331.0 * h * b / (n - 1), True),
    "Rotate": (lambda b, n, h, w: 30.0 * b / (n - 1), True),
    "Brightness": (lambda b, n, h, w: 0.9 * b / (n - 1), True),
    "Color": (lambda b, n, h, w: 0.9 * b / (n - 1), True),
    "Contrast": (lambda b, n, h, w: 0.9 * b / (n - 1), True),
    "Sharpness": (lambda b, n, h, w: 0.9 * b / (n - 1), True),
    "Posterize": (lambda b, n, h, w: 8 - round(b / ((n - 1) / 4)), False),
    "Solarize": (lambda b, n, h, w: 1.0 - b / (n - 1), False),
    "AutoContrast": (lambda b, n, h, w: 0.0, False),
    "Equalize": (lambda b, n, h, w: 0.0, False),
}


class RandAugment(Transform):
    """Operations drawn from geometry and colours, on Pillow images or uint8 tensors.

    Args:
        num_ops: how many are applied, one after the other.
        magnitude: their strength, a bin below `num_magnitude_bins`.
        num_magnitude_bins: how many strengths there are.
        interpolation: of the geometric ones.
        fill: what stands where nothing was.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        if not 0 <= magnitude < num_magnitude_bins or num_magnitude_bins < 2:
            raise InvalidArgumentError(
                f"RandAugment: a magnitude in [0, {num_magnitude_bins}) is required, got "
                f"{magnitude}."
            )
        self.num_ops, self.magnitude, self.num_magnitude_bins = (
            num_ops,
            magnitude,
            num_magnitude_bins,
        )
        self.interpolation, self.fill = interpolation_of(interpolation), fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if not flat_inputs:
            return {}
        height, width = size_of(flat_inputs[0])
        names, drawn = list(_STRENGTHS), []
        for _ in range(self.num_ops):
            name = names[integer(0, len(names))]
            strength, signed = _STRENGTHS[name]
            value = float(strength(self.magnitude, self.num_magnitude_bins, height, width))
            drawn.append((name, -value if signed and chance(0.5) else value))
        return {"ops": drawn}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        image = inpt if is_pil(inpt) else F.to_pil_image(self._bytes(inpt))
        for name, value in params["ops"]:
            image = augment(image, name, value, self.interpolation, self.fill)
        return image if is_pil(inpt) else F.to_image(image)

    def _bytes(self, image: Any) -> Any:
        if image.dtype.numpy != np.uint8:
            raise InvalidArgumentError(
                f"RandAugment: uint8 is required of a tensor, got {image.dtype}."
            )
        return image


def augment(image: Any, name: str, value: float, interpolation: Any, fill: Any) -> Any:
    """One operation of the list on a Pillow image."""
    from PIL import Image, ImageEnhance, ImageOps

    moves = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, -int(value), 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, -int(value)),
    }
    enhance = {
        "Brightness": ImageEnhance.Brightness,
        "Color": ImageEnhance.Color,
        "Contrast": ImageEnhance.Contrast,
        "Sharpness": ImageEnhance.Sharpness,
    }
    if name in moves:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            moves[name],
            pillow_resampling(interpolation),
            fillcolor=tuple(fill) if isinstance(fill, list) else fill,
        )
    if name == "Rotate":
        return F.rotate(image, value, interpolation, fill=fill)
    if name in enhance:
        return enhance[name](image).enhance(1.0 + value)
    if name == "Posterize":
        return ImageOps.posterize(image, int(value))
    if name == "Solarize":
        return ImageOps.solarize(image, int(value * 255))
    if name == "AutoContrast":
        return ImageOps.autocontrast(image)
    return ImageOps.equalize(image) if name == "Equalize" else image
