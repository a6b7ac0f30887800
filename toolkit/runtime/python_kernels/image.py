"""Decoding of image files, by Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError, ShapeError, UnsupportedOperatorError
from toolkit.runtime.python_kernels import Kernel

_FORMATS = ("BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def image_decoder(attributes: dict[str, Any]) -> Kernel:
    """An encoded file as (height, width, channels) of uint8; (0, 0, channels) if it is none.

    Raises:
        InvalidArgumentError: The pixel format is none of RGB, BGR and Grayscale.
        UnsupportedOperatorError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedOperatorError(
            "Pillow is required to decode images, got no such package. "
            "Install it: pip install 'toolkit[data]'."
        ) from None
    pixels = attributes["pixel_format"]
    if pixels not in ("RGB", "BGR", "Grayscale"):
        raise InvalidArgumentError(
            f"attribute 'pixel_format' must be RGB, BGR or Grayscale, got {pixels!r}."
        )
    gray = pixels == "Grayscale"

    def run(inputs: list[Any], outputs: int) -> list[Any]:
        (encoded,) = inputs
        if encoded.ndim != 1:
            raise ShapeError(f"a vector is required, got shape {tuple(encoded.shape)}.")
        try:
            with Image.open(io.BytesIO(encoded.tobytes()), formats=_FORMATS) as image:
                array = np.asarray(_eight_bits(image).convert("L" if gray else "RGB"))
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
            return [np.zeros((0, 0, 1 if gray else 3), np.uint8)]
        if gray:
            return [array[:, :, None]]
        return [np.ascontiguousarray(array[:, :, ::-1]) if pixels == "BGR" else array]

    def _eight_bits(image: Any) -> Any:
        """Pillow cuts samples of 16 bits off at 255; here their upper half counts."""
        if image.mode.startswith("I;16"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode == "I":
            return Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
        return image

    return run
