"""Weights that another runtime trained, written into the model that they are of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.convert.states import Spec, read_arrays
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.graph.io import read_proto
from toolkit.train.export import TABLE
from toolkit.train.onefile import load_training

Array = np.ndarray[Any, Any]


def import_state(
    model: str | os.PathLike[str],
    state: str | os.PathLike[str],
    output: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Writes a model again with the weights that a training step elsewhere gave.

    Names, interface and opset are the model's, and only initializers differ. Of a file with
    training_info, optimizer state, step count and random state are taken too: its training goes on
    from there.

    Args:
        model: the `.onnx` that was exported.
        state: `.npz`, `.safetensors`, `.json` or `.bin` with the states by their names; what
            belongs to the optimizer may be missing.
        output: the file to write.
        table: the `training.json` of the export, which .bin needs; None: the one beside `state`, if
            it is there.

    Returns:
        The names of what was taken ("weights", or "states" with training_info), and of what the
        model has no place for ("left").

    Raises:
        InvalidArgumentError: a file that cannot be read, or one without the model's weights.
        ShapeError: a tensor of another shape or type.
    """
    found = _table(state, table)
    arrays = read_arrays(state, specs_of(found) if found else None)
    weights = [t["name"] for t in found["state"]["tensors"] if t["weight"]] if found else []
    missing = [name for name in weights if name not in arrays]
    if missing:
        raise InvalidArgumentError(
            f"import_state: all weights of the table are required in '{os.fspath(state)}', got "
            f"none for {missing[:5]}."
        )
    if read_proto(model).training_info:
        step = load_training(model)
        taken = _copied(step.state_dict(), arrays)
        step.save(output)
        return {"states": taken, "left": [n for n in arrays if n not in taken]}
    taken = _written(model, arrays, output)
    return {"weights": taken, "left": [n for n in arrays if n not in taken]}


def specs_of(table: Mapping[str, Any]) -> list[Spec]:
    """The states of a table, in the order in which a .bin file holds them."""
    tensors = table["state"]["tensors"]
    return [Spec(t["name"], np.dtype(t["dtype"]), tuple(t["shape"])) for t in tensors]


def _table(
    state: str | os.PathLike[str], table: str | os.PathLike[str] | None
) -> dict[str, Any] | None:
    path = Path(state).parent / TABLE if table is None else Path(table)
    if table is None and not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        _ = found["state"]["tensors"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"import_state: the {TABLE} of an export is required, got '{path}' ({error!r})."
        ) from None
    return found


def _written(
    model: str | os.PathLike[str], arrays: Mapping[str, Array], output: str | os.PathLike[str]
) -> list[str]:
    from toolkit.nn.graph_module import load

    module = load(model)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    taken = _copied({name: t.detach().numpy() for name, t in tensors.items()}, arrays)
    module.save(output)
    return taken


def _copied(current: Mapping[str, Array], arrays: Mapping[str, Array]) -> list[str]:
    """Puts arrays in the memory of those that have their names, all checked before."""
    taken = [name for name in arrays if name in current]
    if not taken:
        raise InvalidArgumentError(
            f"import_state: weights of the model, as {list(current)[:3]}, are required, got "
            f"{list(arrays)[:3]}."
        )
    for name in taken:
        new, old = arrays[name], current[name]
        if new.shape != old.shape or new.dtype != old.dtype:
            raise ShapeError(
                f"import_state: '{name}' must be {old.dtype}{list(old.shape)}, got "
                f"{new.dtype}{list(new.shape)}."
            )
    for name in taken:
        current[name][...] = arrays[name]
    return taken
