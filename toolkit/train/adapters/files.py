"""Adapters in a file of their own: an `.onnx` that holds their tensors and how they are set up.

It has no nodes: it is read onto the model that it was trained on, or a copy.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, TypeVar

from toolkit.errors import InvalidArgumentError, InvalidModelError
from toolkit.nn import Module
from toolkit.train.adapters.apply import adapter_parameters, adapters_of, hosts_of, lora
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.peft import is_peft, read_peft

M = TypeVar("M", bound=Module)
KEY = "toolkit.adapters"  # The metadata entry that holds the options.


def save_adapters(model: Module, path: str | os.PathLike[str]) -> None:
    """Writes the adapters of a model, and what trains beside them, without its other weights.

    Raises:
        InvalidArgumentError: the model has no adapters.
    """
    import onnx

    from toolkit.graph.io import write_proto

    adapters = _only(model, "save_adapters")
    graph = onnx.GraphProto(name="adapters")
    for name, parameter in adapter_parameters(model).items():
        graph.initializer.append(onnx.numpy_helper.from_array(parameter.detach().numpy(), name))
    proto = onnx.helper.make_model(
        graph, producer_name="toolkit", opset_imports=[onnx.helper.make_opsetid("", 21)]
    )
    proto.ir_version = 10
    setup = {
        **asdict(adapters.config),
        "targets": [host.name for host in adapters.hosts],
        "modules_to_save": adapters.saved,
    }
    onnx.helper.set_model_props(proto, {KEY: json.dumps(setup)})
    write_proto(proto, path)


def load_adapters(model: M, path: str | os.PathLike[str]) -> M:
    """Puts the adapters of a file on a model, or their values on the adapters that it has.

    Args:
        model: with the layers that the file names.
        path: what `save_adapters` wrote; or the folder that peft wrote, whose layers are those of
            the model by path: of a loaded model the names of weights, or of nodes.

    Returns:
        The model.

    Raises:
        InvalidModelError: the file holds no adapters.
        InvalidArgumentError: they do not fit the model.
    """
    setup, arrays = read_peft(path, list(hosts_of(model))) if is_peft(path) else _read(path)
    if not any(True for _ in adapters_of(model)):
        lora(model, **setup)
    config = {name: setup[name] for name in asdict(LoraConfig())}
    found = _only(model, "load_adapters").config
    if found != LoraConfig(**config):
        raise InvalidArgumentError(
            f"load_adapters '{os.fspath(path)}': adapters of {LoraConfig(**config)} are required, "
            f"got a model with {found}."
        )
    names = adapter_parameters(model).keys()
    if names != arrays.keys():
        raise InvalidArgumentError(
            f"load_adapters '{os.fspath(path)}': the adapters of the model are required, got a "
            f"difference in {sorted(names ^ arrays.keys())[:4]}."
        )
    model.load_state_dict(arrays, strict=False)
    return model


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of `lora` and the tensors of our own file."""
    import onnx

    from toolkit.graph.io import read_proto

    proto = read_proto(path)
    props = {entry.key: entry.value for entry in proto.metadata_props}
    if KEY not in props:
        raise InvalidModelError(
            f"load_adapters '{os.fspath(path)}': a file that save_adapters wrote is required, got "
            "another model."
        )
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    return json.loads(props[KEY]), arrays


def _only(model: Module, where: str) -> Any:
    found = list(adapters_of(model))
    if len(found) != 1 or found[0][0]:
        raise InvalidArgumentError(
            f"{where}: the model that lora was called with is required, got one with adapters at "
            f"{[path for path, _ in found]}."
        )
    return found[0][1]
