"""Sounds: WAV files of 8 to 32 bits or floats, mapped into memory; a class a folder, or a list."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data import files
from toolkit.data.dataset import Dataset
from toolkit.data.parts import Joined, Raw, held_out
from toolkit.data.spec import Option, Spec, count, one_of, text_of, words
from toolkit.errors import InvalidArgumentError, OutOfBoundsError

Array = npt.NDArray[Any]

OPTIONS = {
    "length": Option(count),
    "rate": Option(count),
    "channels": Option(one_of("keep", "mono"), "keep"),
    "classes": Option(words),
    "root": Option(text_of),
}
_ENDINGS = frozenset({".wav", ".wave"})
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TYPES = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "u1",  # Three of them a number.
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


@dataclass(frozen=True)
class Wav:
    """What the header of a WAV file says.

    Attributes:
        rate: frames a second.
        channels: numbers in a frame.
        tag: 1 for whole numbers, 3 for floats.
        bits: of a number.
        start: where the frames begin in the file.
        frames: how many there are.
    """

    rate: int
    channels: int
    tag: int
    bits: int
    start: int
    frames: int


def wav_header(path: str | Path) -> Wav:
    """Reads the header of a WAV file and compares it with the file's size.

    Raises:
        InvalidArgumentError: a missing, truncated or other file, or one that is compressed.
    """
    path = Path(path)

    def refuse(what: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"'{path}': {what}.")

    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(12)
            if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
                raise refuse(f"a WAV file is required, got one that begins with {head[:4].hex()!r}")
            form = None
            for name, start, length in _chunks(file, size):
                if name == b"fmt ":
                    form = file.read(min(length, 40))
                elif name == b"data":
                    if form is None:
                        raise refuse("a fmt chunk before the data is required, got none")
                    return _checked(refuse, form, start, length, size)
    except OSError as error:
        raise refuse(f"a readable file is required: {error.strerror}") from None
    raise refuse("a data chunk is required, got none")


def _chunks(file: Any, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of each chunk, with the file at its start."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        yield name, at + 8, length
        at += 8 + length + length % 2


def _checked(refuse: Any, form: bytes, start: int, length: int, size: int) -> Wav:
    if len(form) < 16:
        raise refuse(f"16 bytes of format are required, got {len(form)}")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack("<H", form[24:26])
    if (tag, bits) not in _TYPES:
        raise refuse(
            f"whole numbers of 8, 16, 24 or 32 bits or floats of 32 or 64 are required, got format "
            f"{tag} of {bits} bits"
        )
    if channels < 1 or rate < 1 or block != channels * bits // 8:
        raise refuse(
            f"channels and a rate of 1 or more and frames of their size are required, got "
            f"{channels} channels, rate {rate}, {block} bytes a frame"
        )
    if start + length > size:
        raise refuse(f"{length} bytes of sound are required by the header, got {size - start}")
    return Wav(rate, channels, tag, bits, start, length // block)


def read_wav(path: str | Path, length: int | None = None) -> tuple[int, Array]:
    """Frames a second, and float32 (channels, frames) in [-1, 1].

    Args:
        path: the file; only what is asked for is read.
        length: at most so many frames.

    Raises:
        InvalidArgumentError: a missing, truncated or other file, or one that is compressed.
    """
    wav = wav_header(path)
    frames = wav.frames if length is None else min(length, wav.frames)
    dtype = np.dtype(_TYPES[wav.tag, wav.bits])
    shape = (frames, wav.channels * (3 if wav.bits == 24 else 1))
    if frames == 0:
        return wav.rate, np.zeros((wav.channels, 0), np.float32)
    raw = np.memmap(path, dtype, "r", wav.start, shape)
    x: Array
    if wav.tag == _FLOAT:
        x = raw.astype(np.float32)
    elif wav.bits == 8:
        x = (raw.astype(np.float32) - 128) / 128
    elif wav.bits == 24:
        low, middle, high = (raw[:, i::3].astype(np.int32) for i in range(3))
        # The sign is in the highest of the three bytes.
        x = ((low | middle << 8 | high << 16) ^ 0x800000).astype(np.float32) / 2**23 - 1
    else:
        x = (raw.astype(np.float64) / 2.0 ** (wav.bits - 1)).astype(np.float32)
    return wav.rate, np.ascontiguousarray(np.asarray(x).T)


class SoundDataset(Dataset[Any]):
    """Sounds (channels, length) and labels of files; shorter ones end in zeros."""

    def __init__(self, paths: list[Path], labels: Array, spec: Spec, first: Wav) -> None:
        self.paths, self.labels, self.spec = paths, labels, spec
        self.rate = spec["rate"] or first.rate
        self.channels = 1 if spec["channels"] == "mono" else first.channels
        self.length = spec["length"] or first.frames

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> tuple[Array, np.int64]:
        if not -len(self) <= index < len(self):
            raise OutOfBoundsError(
                f"SoundDataset: an index in [-{len(self)}, {len(self)}) is required, got {index}."
            )
        path = self.paths[index]
        rate, x = read_wav(path, None if self.spec["length"] is None else self.length)
        if self.spec["channels"] == "mono":
            x = x.mean(axis=0, keepdims=True)
        if rate != self.rate or len(x) != self.channels:
            raise self.spec.error(
                f"{self.channels} channels at rate {self.rate} are required, got {len(x)} at "
                f"{rate}.",
                path,
            )
        if x.shape[1] != self.length:
            if self.spec["length"] is None:
                raise self.spec.error(
                    f"sounds of one length are required, got {x.shape[1]} frames after "
                    f"{self.length}. Give length=.",
                    path,
                )
            x = np.pad(x, ((0, 0), (0, self.length - x.shape[1])))
        return x, self.labels[index]


@dataclass
class SoundFiles:
    """Files with labels."""

    paths: list[Path]
    target: Array
    spec: Spec
    held_out: float = 0.2

    def __len__(self) -> int:
        return len(self.paths)

    def split(self, share: float, seed: int) -> tuple[SoundFiles, SoundFiles]:
        """A random choice by the seed alone."""
        train, test = held_out(len(self), share, seed)
        return self._take(train), self._take(test)

    def _take(self, index: Array) -> SoundFiles:
        return SoundFiles([self.paths[i] for i in index], self.target[index], self.spec)

    def labels(self) -> Array | None:
        """The classes."""
        return self.target

    def join(self, test: SoundFiles, spec: Spec) -> Joined:
        """All are as the first training file is, where nothing else is said."""
        first = wav_header(self.paths[0])
        train, rest = (SoundDataset(p.paths, p.target, self.spec, first) for p in (self, test))
        shape = (train.channels, train.length)
        return Joined(train, rest, (shape,), ("float32",), "int64")


def read_sounds(spec: Spec, known: Raw | None) -> Raw:
    """A folder with a folder for each class (or with such for training and testing), or a list."""
    classes = known.classes if known is not None else spec["classes"]
    found = files.class_files(spec, _ENDINGS, "WAV files", classes)
    parts = [SoundFiles(paths, labels, spec) for paths, labels, _ in found]
    return Raw(parts[0], parts[1] if parts[1:] else None, "classification", found[0][2])
