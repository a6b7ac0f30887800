"""What session options change of a model before it is compiled: dimensions and initializers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError
from toolkit.graph.infer import GraphInference
from toolkit.graph.io import load_inferred, load_model
from toolkit.runtime.api.options import SessionOptions

if TYPE_CHECKING:
    from toolkit.runtime.api.values import OrtValue


def load(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model, options: SessionOptions
) -> tuple[ir.Model, GraphInference | None]:
    """The model as its file and the options have it, and as `load_inferred`."""
    values = options._initializers
    if values:
        model, inference = _load_with(source, values), None
    else:
        model, inference = load_inferred(source, constants=True)
    if options._dims or options._denoted:
        _fix_dims(model, options._dims, options._denoted)
        inference = None
    return model, inference


def _load_with(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model,
    values: Mapping[str, OrtValue],
) -> ir.Model:
    """Loads with initializers replaced: while the file is read, they are inputs."""
    if isinstance(source, ir.Model):
        raise InvalidArgumentError(
            "add_initializer: a path, bytes or a ModelProto is required as model, got an ir.Model."
        )
    proto = onnx.ModelProto()
    if isinstance(source, onnx.ModelProto):
        proto.CopyFrom(source)
    elif isinstance(source, bytes):
        proto.ParseFromString(source)
    else:
        proto = onnx.load(os.fspath(source), load_external_data=False)
    replaced = {t.name for t in proto.graph.initializer} & values.keys()
    kept = [t for t in proto.graph.initializer if t.name not in replaced]
    listed = {v.name for v in proto.graph.input} & replaced
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for name in sorted(replaced - listed):
        tensor = values[name]
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(name, tensor.element_type(), tensor.shape())
        )
    if not isinstance(source, (bytes, onnx.ModelProto)):
        onnx.load_external_data_for_model(proto, os.path.dirname(os.path.abspath(source)))
    model = load_model(proto)
    graph = model.graph
    for value in [v for v in graph.inputs if v.name in replaced]:
        value.const_value = ir.Tensor(values[value.name or ""].numpy(), name=value.name)
        if value.name not in listed:
            graph.inputs.remove(value)
        graph.register_initializer(value)
    return model


def _fix_dims(model: ir.Model, names: Mapping[str, int], denoted: Mapping[str, int]) -> None:
    """Gives dimensions their sizes, wherever the graph names them."""
    found = dict(names)
    for value in model.graph.inputs:
        shape = value.shape
        for i, dim in enumerate(shape or ()):
            if shape is None or isinstance(dim, int):
                continue
            size = denoted.get(shape.get_denotation(i) or "")
            if size is not None and dim.value is not None:
                found[dim.value] = size
            elif size is not None:
                value.shape = ir.Shape([*shape[:i], size, *shape[i + 1 :]])
    for graph in model.graphs():
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
            if value.shape is not None:
                value.shape = ir.Shape(
                    d if isinstance(d, int) else found.get(d.value or "", d) for d in value.shape
                )
