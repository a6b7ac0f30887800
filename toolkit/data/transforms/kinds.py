"""What transforms take: Pillow's images and tensors (..., C, H, W); sizes, and what is refused."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit.errors import DTypeError, InvalidArgumentError


class InterpolationMode(enum.Enum):
    """How pixels between pixels are found."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"  # These three for Pillow's images only.
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def interpolation_of(mode: Any) -> InterpolationMode:
    """A mode by itself, its name or Pillow's number."""
    if isinstance(mode, int):
        numbers = {0: "nearest", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming", 1: "lanczos"}
        mode = numbers.get(int(mode), mode)
    try:
        return InterpolationMode(mode)
    except ValueError:
        known = ", ".join(m.value for m in InterpolationMode)
        raise InvalidArgumentError(
            f"interpolation: one of {known} is required, got {mode!r}."
        ) from None


def pillow_resampling(mode: InterpolationMode) -> Any:
    """Pillow's number of a mode."""
    from PIL import Image

    name = "NEAREST" if mode is InterpolationMode.NEAREST_EXACT else mode.name
    return Image.Resampling[name]


def is_pil(value: Any) -> bool:
    """Whether it is an image of Pillow; Pillow is not imported for the question."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor, also one of a trace."""
    return isinstance(value, TensorBase)


def is_image(value: Any) -> bool:
    """Whether transforms change it."""
    return isinstance(value, TensorBase) or is_pil(value)


def require_image(where: str, image: Any) -> None:
    """Refuses what is neither a tensor nor an image of Pillow."""
    if not is_image(image):
        raise DTypeError(
            f"{where}: a tensor or a Pillow image is required, got {type(image).__name__}."
        )
    if isinstance(image, TensorBase) and image.dim() < 2:
        raise InvalidArgumentError(
            f"{where}: a tensor (..., H, W) is required, got shape {tuple(image.shape)}."
        )


def require_tensor(where: str, image: Any) -> None:
    """Refuses what is no tensor."""
    if not is_tensor(image):
        raise DTypeError(
            f"{where}: a tensor is required, got {type(image).__name__}. Put ToImage before it."
        )


def size_of(image: Any) -> tuple[Any, Any]:
    """Height and width."""
    if is_pil(image):
        return image.size[1], image.size[0]
    return image.shape[-2], image.shape[-1]


def channels_of(image: Any) -> Any:
    """How many channels there are."""
    if is_pil(image):
        return len(image.getbands())
    return 1 if image.dim() == 2 else image.shape[-3]


def largest_value(dtype: Any) -> float:
    """White: 1 for floats, the largest number of an integer type."""
    if dtype.is_floating_point:
        return 1.0
    return 1 if dtype.numpy == np.bool_ else int(np.iinfo(dtype.numpy).max)


def pair(where: str, size: Any, what: str = "size") -> tuple[int, int]:
    """Height and width from one number, a sequence of one, or of two."""
    found = [size] * 2 if isinstance(size, int) else list(size) if _is_sequence(size) else []
    if len(found) == 1:
        found *= 2
    if len(found) != 2 or not all(isinstance(n, (int, np.integer)) for n in found):
        raise InvalidArgumentError(
            f"{where}: a whole number or two of them are required as {what}, got {size!r}."
        )
    return int(found[0]), int(found[1])


def sides(padding: Any) -> tuple[int, int, int, int]:
    """Left, top, right and bottom from one number, two (left/right, top/bottom) or four."""
    found = (
        [padding] if isinstance(padding, int) else list(padding) if _is_sequence(padding) else []
    )
    if len(found) not in (1, 2, 4) or not all(isinstance(n, (int, np.integer)) for n in found):
        raise InvalidArgumentError(
            f"pad: a whole number, 2 or 4 of them are required as padding, got {padding!r}."
        )
    left, top, right, bottom = (list(map(int, found)) * 4)[:4]
    return left, top, right, bottom


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str)


def range_of(
    where: str, value: Any, what: str, center: float = 0.0, least: float | None = None
) -> Any:
    """(low, high) from a number around `center`, or from two numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0:
            raise InvalidArgumentError(f"{where}: {what} >= 0 is required, got {value}.")
        low, high = center - value, center + value
        if least is not None:
            low = max(low, least)
    elif _is_sequence(value) and len(value) == 2:
        low, high = (float(v) for v in value)
    else:
        raise InvalidArgumentError(
            f"{where}: a number or a pair of them is required as {what}, got {value!r}."
        )
    if low > high or (least is not None and low < least):
        raise InvalidArgumentError(f"{where}: an ordered range is required as {what}, got {value}.")
    return float(low), float(high)
