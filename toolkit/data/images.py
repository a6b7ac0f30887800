"""Images: class folders or a list of files, decoded as they are asked for, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data import files
from toolkit.data.dataset import Dataset
from toolkit.data.order import rng
from toolkit.data.parts import Joined, Raw, held_out
from toolkit.data.spec import Option, Spec, number, numbers, one_of, size, text_of, words
from toolkit.errors import OutOfBoundsError

Array = npt.NDArray[Any]

_AUGMENT_STREAM = 5
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_AUGMENTS = ("flip", "vflip", "crop", "shift")


def _statistic(name: str) -> Any:
    def parse(text: str) -> tuple[float, ...]:
        return _IMAGENET[name] if text == "imagenet" else numbers(text)

    return parse


def _augments(text: str) -> tuple[str, ...]:
    found = words(text)
    if not set(found) <= set(_AUGMENTS):
        raise ValueError(f"a list of {', '.join(_AUGMENTS)}")
    return found


OPTIONS = {
    "size": Option(size),
    "resize": Option(size),
    "crop": Option(size),
    "channels": Option(one_of("rgb", "bgr", "gray"), "rgb"),
    "layout": Option(one_of("nchw", "nhwc"), "nchw"),
    "scale": Option(number, 255.0),
    "mean": Option(_statistic("mean"), (0.0,)),
    "std": Option(_statistic("std"), (1.0,)),
    "augment": Option(_augments, ()),
    "classes": Option(words),
    "root": Option(text_of),
    "cache": Option(one_of("yes", "no"), "no"),
}


@dataclass(frozen=True)
class Transform:
    """From a file to an array: decode, resize, crop, channels, numbers, layout."""

    spec: Spec

    def pixels(self, path: Path) -> Array:
        """The image at the size that crops are taken from, uint8 (H, W, channels)."""
        from PIL import Image, UnidentifiedImageError

        o = self.spec.options
        try:
            with Image.open(path) as file:
                image = file.convert("L" if o["channels"] == "gray" else "RGB")
        except (*files.UNREADABLE, UnidentifiedImageError, Image.DecompressionBombError) as error:
            text = " ".join(str(error).split())
            raise self.spec.error(f"a readable image is required: {text}", path) from None
        if o["size"] is not None:
            height, width = o["size"]
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        elif o["resize"] is not None:
            shorter = min(o["resize"])
            factor = shorter / min(image.size)
            wanted = [max(shorter, round(side * factor)) for side in image.size]
            image = image.resize((wanted[0], wanted[1]), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.uint8)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        return pixels[:, :, ::-1] if o["channels"] == "bgr" else pixels

    def __call__(self, pixels: Array, path: Path, draw: np.random.Generator | None) -> Array:
        """Crops and turns into numbers; with a generator at random where `augment` says so."""
        o = self.spec.options
        augment = o["augment"] if draw is not None else ()
        if draw is not None and "shift" in augment:
            pixels = _shifted(pixels, draw)
        if o["crop"] is not None:
            pixels = self._cropped(pixels, path, draw if "crop" in augment else None)
        if draw is not None and "flip" in augment and draw.random() < 0.5:
            pixels = pixels[:, ::-1]
        if draw is not None and "vflip" in augment and draw.random() < 0.5:
            pixels = pixels[::-1]
        x: Array = pixels.astype(np.float32) / np.float32(o["scale"])
        x = (x - np.asarray(o["mean"], np.float32)) / np.asarray(o["std"], np.float32)
        return np.ascontiguousarray(x.transpose(2, 0, 1) if o["layout"] == "nchw" else x)

    def _cropped(self, pixels: Array, path: Path, draw: np.random.Generator | None) -> Array:
        height, width = self.spec["crop"]
        rows, columns = pixels.shape[0] - height, pixels.shape[1] - width
        if rows < 0 or columns < 0:
            raise self.spec.error(
                f"an image of at least {height}x{width} is required by crop, got "
                f"{pixels.shape[0]}x{pixels.shape[1]}. Give resize= too.",
                path,
            )
        top, left = rows // 2, columns // 2
        if draw is not None:
            top, left = (int(draw.integers(0, n + 1)) for n in (rows, columns))
        return pixels[top : top + height, left : left + width]


def _shifted(pixels: Array, draw: np.random.Generator) -> Array:
    """Moved by up to an eighth of its size, with zeros where nothing was."""
    pads = [max(1, n // 8) for n in pixels.shape[:2]]
    padded = np.pad(pixels, ((pads[0],) * 2, (pads[1],) * 2, (0, 0)))
    top, left = (int(draw.integers(0, 2 * p + 1)) for p in pads)
    return padded[top : top + pixels.shape[0], left : left + pixels.shape[1]]


class ImageDataset(Dataset[Any]):
    """Images and labels of files. Augmentation is a function of seed, epoch and sample.

    Args:
        paths: the files.
        labels: int64, one a file.
        transform: from file to array.
        seed: of the augmentation; None: nothing is drawn.
    """

    def __init__(
        self, paths: Sequence[Path], labels: Array, transform: Transform, seed: int | None
    ) -> None:
        self.paths, self.labels, self.transform, self.seed = list(paths), labels, transform, seed
        self.epoch = 0
        self.shape: tuple[int, ...] | None = None  # Of the first image: the others must have it.
        self._cache: dict[int, Array] | None = {} if transform.spec["cache"] == "yes" else None

    def __len__(self) -> int:
        return len(self.paths)

    def set_epoch(self, epoch: int) -> None:
        """Other draws; the loader says so."""
        self.epoch = epoch

    def __getitem__(self, index: Any) -> tuple[Array, np.int64]:
        if not -len(self) <= index < len(self):
            raise OutOfBoundsError(
                f"ImageDataset: an index in [-{len(self)}, {len(self)}) is required, got {index}."
            )
        index %= len(self)
        draw = None
        if self.seed is not None and self.transform.spec["augment"]:
            draw = rng(self.seed, _AUGMENT_STREAM, (self.epoch << 40) + index)
        path = self.paths[index]
        x = self.transform(self._pixels(index), path, draw)
        if self.shape is None:
            self.shape = x.shape
        if x.shape != self.shape:
            raise self.transform.spec.error(
                f"images of one size are required, got {x.shape} after {self.shape}. "
                "Give size=, or resize= and crop=.",
                path,
            )
        return x, self.labels[index]

    def _pixels(self, index: int) -> Array:
        if self._cache is None:
            return self.transform.pixels(self.paths[index])
        if index not in self._cache:
            self._cache[index] = self.transform.pixels(self.paths[index])
        return self._cache[index]


@dataclass
class ImageFiles:
    """Files with labels."""

    paths: list[Path]
    target: Array
    transform: Transform
    held_out: float = 0.2

    def __len__(self) -> int:
        return len(self.paths)

    def split(self, share: float, seed: int) -> tuple[ImageFiles, ImageFiles]:
        """A random choice by the seed alone."""
        train, test = held_out(len(self), share, seed)
        return self._take(train), self._take(test)

    def _take(self, index: Array) -> ImageFiles:
        paths = [self.paths[i] for i in index]
        return ImageFiles(paths, self.target[index], self.transform)

    def labels(self) -> Array | None:
        """The classes."""
        return self.target

    def join(self, test: ImageFiles, spec: Spec) -> Joined:
        """Only what trains is augmented."""
        train = ImageDataset(self.paths, self.target, self.transform, spec.seed)
        rest = ImageDataset(test.paths, test.target, test.transform, None)
        shape = rest[0][0].shape
        train.shape = rest.shape = shape
        o = self.transform.spec.options
        mean, std = (np.multiply(o[name], o["scale"]) for name in ("mean", "std"))
        return Joined(train, rest, (shape,), ("float32",), "int64", mean=mean, std=std)


def read_images(spec: Spec, known: Raw | None) -> Raw:
    """A folder with a folder for each class (or with such for training and testing), or a list."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise spec.error(
            "the package pillow is required. Install it: pip install 'toolkit[data]'."
        ) from None
    channels = 1 if spec["channels"] == "gray" else 3
    for name in ("mean", "std"):
        if len(spec[name]) not in (1, channels):
            raise spec.error(f"{channels} numbers (or 1) are required as {name}, got {spec[name]}.")
    classes = known.classes if known is not None else spec["classes"]
    found = files.class_files(spec, files.IMAGE_ENDINGS, "images", classes)
    transform = Transform(spec)
    parts = [ImageFiles(paths, labels, transform) for paths, labels, _ in found]
    return Raw(parts[0], parts[1] if parts[1:] else None, "classification", found[0][2])
