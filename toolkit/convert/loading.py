"""`tk.load`: one name for the files that models and their weights come in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from toolkit.convert.safetensors import read_safetensors
from toolkit.convert.states import write_arrays
from toolkit.convert.torch_files import load_pt
from toolkit.convert.torch_writer import save_pt
from toolkit.device import NAMES, Device, device
from toolkit.errors import InvalidArgumentError
from toolkit.nn import graph_module
from toolkit.tensor import Tensor, from_numpy

_LEGACY = b"\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # The pickled magic number.


def load(
    path: str | os.PathLike[str] | bytes | BinaryIO,
    trainable: Any = None,
    batch_norm: str = "train",
    *,
    map_location: Any = None,
    weights_only: bool | None = True,
    mmap: bool | None = None,
) -> Any:
    """Reads a file by what it holds.

    - `.onnx`: a module that trains, see `toolkit.nn.graph_module.load`.
    - `.pt`, `.pth`, `.bin`, `.ckpt` of `torch.save`: its state_dict or data, see `convert.load_pt`.
    - `.safetensors`, or the `.index.json` of several: tensors by name.

    Args:
        path: a path, an open file, or the file's bytes.
        trainable: of a model: which parameters train, a pattern of names or several.
        batch_norm: of a model: "train" or "frozen".
        map_location: None, "cpu", or a dict or function of places: everything comes to the CPU.
            Also the second argument by position, as PyTorch has it.
        weights_only: of no effect: nothing in a file is ever executed.
        mmap: of no effect: weights are mapped where they can be.

    Raises:
        InvalidArgumentError: no such file, or one that is damaged.
        InvalidModelError: it is no valid model.

    Example:
        model = tk.load("resnet18.onnx", trainable=["layer4.*", "fc.*"])
        network.load_state_dict(tk.load("resnet18.pth"))
    """
    if _is_place(trainable):
        trainable, map_location = None, trainable  # PyTorch's order.
    _check_place(map_location)
    if not isinstance(path, (str, os.PathLike, bytes)):
        path = path.read()
    head = _head(path)
    if head.startswith(b"PK\x03\x04") or head.startswith(_LEGACY):
        return load_pt(path)
    if isinstance(path, bytes):
        return graph_module.load(path, trainable, batch_norm)
    if str(path).endswith((".safetensors", ".json")):
        return load_safetensors(path)
    if str(path).endswith((".pt", ".pth", ".ckpt")):
        return load_pt(path)  # It says what is wrong with it.
    return graph_module.load(path, trainable, batch_norm)


def _is_place(value: Any) -> bool:
    name = value.partition(":")[0] if isinstance(value, str) else None
    return name in NAMES or isinstance(value, (Device, Mapping)) or callable(value)


def _check_place(place: Any) -> None:
    """Refuses a place that tensors cannot come to; what a function says of places is not asked."""
    places = place.values() if isinstance(place, Mapping) else [place]
    for one in places:
        if one is not None and not callable(one):
            device(one)


def _head(path: Any) -> bytes:
    if isinstance(path, bytes):
        return path[:16]
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except OSError as error:
        raise InvalidArgumentError(f"load: a file is required, got {error}.") from None


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors of a `.safetensors` file, or of the files that an `.index.json` names.

    They share the mapped file's memory until they are written to.

    Raises:
        InvalidArgumentError: no such file, or one that is not as the format says.
    """
    if str(path).endswith(".json"):
        return load_sharded(path)
    return {name: from_numpy(array) for name, array in read_safetensors(path).items()}


def save_object(value: Any, path: Any) -> None:
    """Writes what `torch.save` takes: tensors by name to `.safetensors`, else PyTorch's format.

    Raises:
        InvalidArgumentError: the file cannot hold it.
    """
    ending = "" if hasattr(path, "write") else Path(path).suffix
    if ending == ".onnx":
        raise InvalidArgumentError(
            f"save: data go to .pt or .safetensors, got '{path}'. A model goes to .onnx: "
            "model.save(path, inputs=x), or save(path, model, ...) with its training."
        )
    if ending != ".safetensors":
        save_pt(value, path)
        return
    state = value if isinstance(value, Mapping) else {"": value}
    for name, item in state.items():
        if not isinstance(item, Tensor):
            raise InvalidArgumentError(
                f"save: tensors by name are required, got {type(item).__name__} for '{name}'. A "
                "name that ends in .pt takes numbers, text and nested data too."
            )
    write_arrays(path, {name: item.numpy(force=True) for name, item in state.items()})


def load_sharded(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors of several files by name: `weight_map` of an index says which holds which.

    Args:
        path: `model.safetensors.index.json` or `pytorch_model.bin.index.json`.

    Raises:
        InvalidArgumentError: a broken index, or a file that is missing or lacks a tensor.
    """
    where = f"load_sharded '{os.fspath(path)}'"
    try:
        places = json.loads(Path(path).read_bytes())["weight_map"]
        items = [(str(name), str(file)) for name, file in places.items()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidArgumentError(
            f"{where}: an index with a weight_map is required, got {type(error).__name__}: {error}."
        ) from None
    shards: dict[str, Any] = {}
    for _, file in items:
        if Path(file).name != file or file in ("", "..", "."):
            raise InvalidArgumentError(
                f"{where}: files beside the index are required, got {file!r}."
            )
        if file not in shards:
            read = load_safetensors if file.endswith(".safetensors") else load_pt
            shards[file] = read(Path(path).parent / file)
    for name, file in items:
        if not isinstance(shards[file], dict) or name not in shards[file]:
            raise InvalidArgumentError(f"{where}: '{name}' in '{file}' is required, got none.")
    return {name: shards[file][name] for name, file in items}
