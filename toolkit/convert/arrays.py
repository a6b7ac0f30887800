"""Arrays from and to files: what the command line feeds a model with."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.graph.atomic import write_atomically

_NUMPY_NAMES = {"float": "float32", "double": "float64"}


class _Arg(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> list[int | str | None]: ...


def read_inputs(
    args: Sequence[_Arg],
    specs: Mapping[str, str],
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    batch: int | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays for a session's inputs.

    Args:
        args: the session's inputs.
        specs: by input name a path of a `.npy` file or an image, or "random"; what is missing is
            random.
        seed: of the random values.
        sizes: of symbolic dimensions by name; 1 where none is given.
        batch: of first dimensions whose size is not known otherwise.

    Raises:
        InvalidArgumentError: an unknown input or dimension, or a file that cannot be read.
    """
    names = [arg.name for arg in args]
    for name in specs:
        if name not in names:
            raise InvalidArgumentError(
                f"--input: an input among {names} is required, got '{name}'."
            )
    named = sorted({d for arg in args for d in arg.shape if isinstance(d, str)})
    for dim in sizes or {}:
        if dim not in named:
            raise InvalidArgumentError(
                f"--dim: a dimension among {named} is required, got '{dim}'."
            )
    rng = np.random.default_rng(seed)
    shapes = {arg.name: _shape(arg, sizes or {}, batch) for arg in args}
    return {a.name: _read(a, shapes[a.name], specs.get(a.name, "random"), rng) for a in args}


def _shape(arg: _Arg, sizes: Mapping[str, int], batch: int | None) -> tuple[int, ...]:
    """The declared shape with every dimension known."""
    shape = [d if isinstance(d, int) else sizes.get(d or "") for d in arg.shape]
    if shape and shape[0] is None:
        shape[0] = batch
    return tuple(d or 1 for d in shape)


def _read(
    arg: _Arg, shape: tuple[int, ...], spec: str, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    type_name = arg.type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype(_NUMPY_NAMES.get(type_name, type_name))
    if spec == "random":
        if dtype.kind == "f":
            return rng.standard_normal(shape).astype(dtype)
        return rng.integers(0, 2, shape).astype(dtype)
    if spec.endswith(".npy"):
        try:
            return np.asarray(np.load(spec, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise InvalidArgumentError(
                f"input '{arg.name}': a readable .npy file is required, got '{spec}' ({error})."
            ) from None
    return _read_image(arg.name, spec, shape, dtype)


def _read_image(
    name: str, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    """An image as (1, C, H, W) in [0, 1], resized to the model's H and W."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InvalidArgumentError(
            f"input '{name}': Pillow is required to read '{path}'. pip install 'toolkit[data]'."
        ) from None
    if len(shape) not in (3, 4) or shape[-3] not in (1, 3):
        raise InvalidArgumentError(
            f"input '{name}': an image fits shapes (N, 1 or 3, H, W), got {shape} for '{path}'."
        )
    try:
        with Image.open(path) as image:
            pixels = image.convert("L" if shape[-3] == 1 else "RGB").resize((shape[-1], shape[-2]))
    except (OSError, UnidentifiedImageError) as error:
        raise InvalidArgumentError(
            f"input '{name}': a .npy file, an image or 'random' is required, "
            f"got '{path}' ({error})."
        ) from None
    array = np.asarray(pixels, dtype=np.float32).reshape(shape[-2], shape[-1], -1) / 255
    return array.transpose(2, 0, 1).reshape((1,) * (len(shape) - 3) + shape[-3:]).astype(dtype)


def save_array(path: str, array: np.ndarray[Any, Any]) -> None:
    """Writes a `.npy` file; on failure nothing is left at `path`."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    write_atomically(Path(path), stream.getvalue())


def describe(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Dtype, shape and the first values, for printing."""
    head = [v.item() for v in array.reshape(-1)[:8]]
    return {"dtype": str(array.dtype), "shape": list(array.shape), "head": head}
