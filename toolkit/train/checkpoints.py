"""Checkpoints of a `Trainer`: reading one, and finding the newest that is whole."""

from __future__ import annotations

import json
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError, InvalidModelError, ToolkitError, ToolkitWarning
from toolkit.runtime.values import to_numpy
from toolkit.train.step import TrainStep, _kept

METADATA_KEY = "toolkit.trainer"
LAST, BEST = "last.onnx", "best.onnx"
NAMES = (LAST, BEST, "step-*.onnx")  # Of checkpoints in a run folder.


@dataclass
class Found:
    """A checkpoint: its file, the step, and the trainer's position as JSON holds it."""

    path: Path
    step: TrainStep
    position: dict[str, Any]


def checksum(step: TrainStep) -> int:
    """CRC-32 of names and bytes of what trains and of all weights: a flipped bit is seen."""
    total = 0
    arrays = {name or "": to_numpy(tensor) for name, tensor in _kept(step.graph).items()}
    for name, array in sorted(arrays.items()):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, total)
    return total


def read(path: str | Path) -> Found:
    """Reads a checkpoint.

    Raises:
        InvalidArgumentError: the file is a model, but no trainer wrote it.
        InvalidModelError: it is not whole.
    """
    from toolkit.train.onefile import load_training

    step = load_training(path)
    text = step.metadata.get(METADATA_KEY)
    if text is None:
        raise InvalidArgumentError(
            f"resume: a checkpoint written by Trainer is required, got '{path}'. "
            "Use tk.load_training to go on from another file."
        )
    try:
        position = dict(json.loads(text))
    except ValueError as error:
        raise InvalidModelError(f"resume: '{path}': a position is required: {error}.") from None
    expected = position.pop("checksum", None)
    if expected is not None and checksum(step) != expected:
        raise InvalidModelError(
            f"resume: states with the checksum {expected} are required in '{path}', got "
            f"{checksum(step)}. The file was changed after it was written."
        )
    return Found(Path(path), step, position)


def newest(folder: Path) -> Found | None:
    """The newest checkpoint of a run folder that is whole; a warning for each that is not."""
    found = [p for pattern in NAMES for p in folder.glob(pattern)]
    paths = sorted(found, key=lambda p: p.stat().st_mtime_ns, reverse=True)
    for path in paths:
        try:
            return read(path)
        except (ToolkitError, OSError) as error:
            warnings.warn(f"resume: passed over: {error}", ToolkitWarning, stacklevel=3)
    return None
