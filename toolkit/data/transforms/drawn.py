"""Transforms that draw from the default generator: crops, flips, turns, colours, erasure.

`manual_seed` (in a worker, its seed) decides what they draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.data.transforms import functional as F
from toolkit.data.transforms.base import (
    RandomTransform,
    Transform,
    integer,
    order,
    uniform,
)
from toolkit.data.transforms.kinds import (
    InterpolationMode,
    channels_of,
    interpolation_of,
    pair,
    range_of,
    require_tensor,
    sides,
    size_of,
)
from toolkit.errors import InvalidArgumentError

_BILINEAR, _NEAREST = InterpolationMode.BILINEAR, InterpolationMode.NEAREST


class RandomHorizontalFlip(RandomTransform):
    """Left and right exchanged with probability p."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.horizontal_flip(inpt)


class RandomVerticalFlip(RandomTransform):
    """Top and bottom exchanged with probability p."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.vertical_flip(inpt)


class RandomGrayscale(RandomTransform):
    """Gray with probability p, in as many channels."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.rgb_to_grayscale(inpt, 3 if channels_of(inpt) == 3 else 1)


class RandomCrop(Transform):
    """A part anywhere in the image.

    Args:
        size: height and width, or one number for both.
        padding: borders that are added first, see `functional.pad`.
        pad_if_needed: pad an image that is smaller, on both sides.
        fill: of the borders.
        padding_mode: of the borders.
    """

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = pair("RandomCrop", size)
        self.padding = None if padding is None else sides(padding)
        self.pad_if_needed, self.fill, self.padding_mode = pad_if_needed, fill, padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part."""
        (rows, columns), (height, width) = size_of(img), output_size
        if rows < height or columns < width:
            raise InvalidArgumentError(
                f"RandomCrop: an image of at least {height}x{width} is required, got "
                f"{rows}x{columns}. Give pad_if_needed=True."
            )
        top, left = integer(0, rows - height + 1), integer(0, columns - width + 1)
        return top, left, height, width

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if not flat_inputs:
            return {}
        padded = self._padded(flat_inputs[0])
        return {"part": self.get_params(padded, self.size)}

    def _padded(self, image: Any) -> Any:
        if self.padding is not None:
            image = F.pad(image, list(self.padding), self.fill, self.padding_mode)
        if self.pad_if_needed:
            (rows, columns), (height, width) = size_of(image), self.size
            more = [max(width - columns, 0), max(height - rows, 0)]
            if any(more):
                image = F.pad(image, more, self.fill, self.padding_mode)
        return image

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.crop(self._padded(inpt), *params["part"])


class RandomResizedCrop(Transform):
    """A part of random size and shape, resized.

    Args:
        size: height and width, or one number for both.
        scale: range of the part's share of the area.
        ratio: range of the part's width by its height.
        interpolation: see `InterpolationMode`.
        antialias: see `Resize`.
    """

    def __init__(
        self,
        size: Any,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Any = _BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = pair("RandomResizedCrop", size)
        self.scale = range_of("RandomResizedCrop", scale, "scale", least=0.0)
        self.ratio = range_of("RandomResizedCrop", ratio, "ratio", least=0.0)
        self.interpolation, self.antialias = interpolation_of(interpolation), antialias

    @staticmethod
    def get_params(img: Any, scale: Any, ratio: Any) -> tuple[int, int, int, int]:
        """Top, left, height and width of a part; the largest in the middle if ten do not fit."""
        rows, columns = size_of(img)
        low, high = math.log(ratio[0]), math.log(ratio[1])
        for _ in range(10):
            area = rows * columns * uniform(scale[0], scale[1])
            shape = math.exp(uniform(low, high))
            width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < width <= columns and 0 < height <= rows:
                top, left = integer(0, rows - height + 1), integer(0, columns - width + 1)
                return top, left, height, width
        width, height = columns, rows
        if columns / rows < min(ratio):
            height = round(columns / min(ratio))
        elif columns / rows > max(ratio):
            width = round(rows * max(ratio))
        return (rows - height) // 2, (columns - width) // 2, height, width

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if not flat_inputs:
            return {}
        return {"part": self.get_params(flat_inputs[0], self.scale, self.ratio)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        part = F.crop(inpt, *params["part"])
        return F.resize(part, self.size, self.interpolation, antialias=self.antialias)


class RandomRotation(Transform):
    """Turned by an angle of a range.

    Args:
        degrees: a range, or one number for (-degrees, degrees).
        interpolation: see `functional.rotate`.
        expand: make the image large enough for all of it.
        center: (x, y) in pixels; None: the middle.
        fill: what stands where nothing was.
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = _NEAREST,
        expand: bool = False,
        center: Any = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.degrees = range_of("RandomRotation", degrees, "degrees")
        self.interpolation = interpolation_of(interpolation)
        self.expand, self.center, self.fill = expand, center, fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """An angle."""
        return uniform(degrees[0], degrees[1])

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"angle": self.get_params(self.degrees)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.rotate(
            inpt, params["angle"], self.interpolation, self.expand, self.center, self.fill
        )


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by random factors, in a random order.

    Args:
        brightness: a range of factors, or a number b for (max(0, 1 - b), 1 + b); None: unchanged.
        contrast: as brightness.
        saturation: as brightness.
        hue: a range within [-0.5, 0.5], or a number h for (-h, h).
    """

    def __init__(
        self, brightness: Any = None, contrast: Any = None, saturation: Any = None, hue: Any = None
    ) -> None:
        super().__init__()
        given = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.ranges = {
            name: range_of("ColorJitter", value, name, 1.0, 0.0)
            for name, value in given.items()
            if value is not None
        }
        if hue is not None:
            self.ranges["hue"] = low, high = range_of("ColorJitter", hue, "hue")
            if low < -0.5 or high > 0.5:
                raise InvalidArgumentError(
                    f"ColorJitter: hue within [-0.5, 0.5] is required, got {hue}."
                )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        names = list(self.ranges)
        factors = {name: uniform(*self.ranges[name]) for name in names}
        return {"changes": [(names[i], factors[names[i]]) for i in order(len(names))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        for name, factor in params["changes"]:
            inpt = getattr(F, f"adjust_{name}")(inpt, factor)
        return inpt

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={limits}" for name, limits in self.ranges.items())


class RandomErasing(RandomTransform):
    """A rectangle of a tensor set to a value, with probability p.

    Args:
        p: probability.
        scale: range of the rectangle's share of the area.
        ratio: range of its width by its height.
        value: a number, one a channel, or "random" for numbers of the normal distribution.
        inplace: write into the image.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0.0,
        inplace: bool = False,
    ) -> None:
        super().__init__(p)
        self.scale = range_of("RandomErasing", scale, "scale", least=0.0)
        self.ratio = range_of("RandomErasing", ratio, "ratio", least=0.0)
        if isinstance(value, str) and value != "random":
            raise InvalidArgumentError(
                f"RandomErasing: a number, a list or 'random' is required as value, got {value!r}."
            )
        if self.scale[1] > 1:
            raise InvalidArgumentError(
                f"RandomErasing: scale within [0, 1] is required, got {scale}."
            )
        self.value, self.inplace = value, inplace

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if not flat_inputs:
            return {}
        image = flat_inputs[0]
        require_tensor("RandomErasing", image)
        (rows, columns), channels = size_of(image), channels_of(image)
        if isinstance(self.value, (list, tuple)) and len(self.value) not in (1, channels):
            raise InvalidArgumentError(
                f"RandomErasing: 1 or {channels} numbers are required as value, got {self.value}."
            )
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = rows * columns * uniform(*self.scale)
            shape = math.exp(uniform(low, high))
            height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if height < rows and width < columns:
                top, left = integer(0, rows - height + 1), integer(0, columns - width + 1)
                return {"part": (top, left, height, width), "v": self._values(image, height, width)}
        return {}

    def _values(self, image: Any, height: int, width: int) -> Any:
        from toolkit.tensor import randn, tensor

        if self.value == "random":
            return randn(channels_of(image), height, width).to(image.dtype)
        numbers = list(self.value) if isinstance(self.value, (list, tuple)) else [self.value]
        return tensor(numbers).to(image.dtype).reshape(-1, 1, 1)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not params:
            return inpt
        top, left, height, width = params["part"]
        return F.erase(inpt, top, left, height, width, params["v"], self.inplace)


class GaussianBlur(Transform):
    """The image under a Gaussian window of a random width.

    Args:
        kernel_size: of the window, odd; one number or (width, height).
        sigma: a range of widths in pixels, or one number.
    """

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        super().__init__()
        self.kernel_size = pair("GaussianBlur", kernel_size, "kernel_size")
        one = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
        self.sigma = range_of("GaussianBlur", one, "sigma", least=0.0)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        sigma = uniform(*self.sigma)
        return {"sigma": [sigma, sigma]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.gaussian_blur(inpt, self.kernel_size, params["sigma"])
