"""Does a model take these data? Said before anything is compiled, with what would do."""

from __future__ import annotations

from typing import Any

from toolkit.data import Meta
from toolkit.errors import InvalidArgumentError
from toolkit.graph.summary import Summary

_ONNX = {"float": "float32", "double": "float64"}  # Where numpy's name is another one.


def check_inputs(summary: Summary, meta: Meta, where: str) -> tuple[int, ...]:
    """Compares the inputs of an `.onnx` with what the data give.

    Args:
        summary: of the file.
        meta: of the data.
        where: the file, for the error.

    Returns:
        For each input of the model, which member of a sample it takes: by name where all names
        are the data's, else in order.

    Raises:
        InvalidArgumentError: another number of inputs, a type or a shape that does not fit.
    """
    names = [name for name, _, _ in summary.inputs]
    given = meta.input_names
    order = tuple(range(len(meta.input_shapes)))
    if given and set(given) == set(names):
        order = tuple(given.index(name) for name in names)
    if len(names) != len(order):
        raise InvalidArgumentError(
            f"train: data for the inputs {', '.join(names)} of '{where}' are required, got "
            f"{len(order)} of '{meta.name}'. An npz file gives several: npz:FILE?inputs="
            f"{','.join(names)}."
        )
    for (name, onnx_type, dims), k in zip(summary.inputs, order, strict=True):
        dtype = onnx_type.lower()
        dtype = _ONNX.get(dtype, dtype)
        shape, found = meta.input_shapes[k], meta.input_dtypes[k]
        required = ", ".join("?" if d is None else str(d) for d in dims)
        got = f"{found} ({', '.join(['batch', *map(str, shape)])}) of '{meta.name}'"
        hint = _misfit(dtype, dims, found, shape, meta)
        if hint is not None:
            raise InvalidArgumentError(
                f"train: input '{name}' of '{where}' requires {dtype} ({required}), got {got}. "
                f"{hint}"
            )
    return order


def _misfit(
    dtype: str, dims: list[int | str | None], found: str, shape: tuple[int, ...], meta: Meta
) -> str | None:
    """What to do about it; None: it fits."""
    if dtype != found:
        return f"Give dtype={dtype} in the data's specification."
    wanted = dims[1:]
    fits = len(dims) == len(shape) + 1 and all(
        not isinstance(d, int) or d < 1 or d == n for d, n in zip(wanted, shape, strict=True)
    )
    if fits:
        return None
    images = meta.name.startswith("images:")
    if images and len(wanted) == 3:
        first, last = wanted[0] in (1, 3), wanted[-1] in (1, 3)
        given_first, given_last = shape[0] in (1, 3), shape[-1] in (1, 3)
        if (first and not last and given_last) or (last and not first and given_first):
            return f"Give layout={'nchw' if first else 'nhwc'}."
        channels, height, width = wanted if given_first else (wanted[2], *wanted[:2])
        if channels in (1, 3) and channels not in (shape[0], shape[-1]):
            return f"Give channels={'gray' if channels == 1 else 'rgb'}."
        if isinstance(height, int) and isinstance(width, int):
            return f"Give size={height}x{width}, or resize= and crop=."
    static = [d for d in wanted if isinstance(d, int)]
    size, need = 1, 1
    for n in shape:
        size *= n
    for d in static:
        need *= d
    if len(static) == len(wanted) and need == size and not images:
        return f"Give shape={'x'.join(map(str, static))}."
    return "The sizes behind the batch must be these."


def check_classes(step: Any, meta: Meta, where: str) -> None:
    """Refuses a model with fewer classes than the data have.

    Raises:
        InvalidArgumentError: it has.
    """
    shape = step.graph.predictions[0].shape
    if meta.task != "classification" or shape is None or len(shape) < 2:
        return
    found = shape[1]
    if isinstance(found, int) and 1 < found < meta.num_classes:
        raise InvalidArgumentError(
            f"train: an output of {meta.num_classes} classes is required by '{meta.name}', got "
            f"{found} of '{where}'. Give --head classes={meta.num_classes}."
        )
