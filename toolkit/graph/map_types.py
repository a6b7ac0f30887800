"""Types of maps, and of sequences of maps, which onnx-ir lacks.

A file's are taken out before onnx-ir sees them, travel in the `meta` of their values, and are put
back when the model is written.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from toolkit.graph.survey import graphs_of

META_KEY = "toolkit.map_type"


def of(value: ir.Value) -> onnx.TypeProto | None:
    """The value's type, if it is a map or a sequence of maps."""
    found: onnx.TypeProto | None = value.meta.get(META_KEY)
    return found


def holds_map(kind: onnx.TypeProto) -> bool:
    """Whether a type is a map or one of maps."""
    name = kind.WhichOneof("value")
    if name in ("sequence_type", "optional_type"):
        return holds_map(getattr(kind, name).elem_type)
    return bool(name == "map_type")


def take(proto: onnx.ModelProto, nested: bool) -> tuple[onnx.ModelProto, dict[str, onnx.TypeProto]]:
    """The model without types of maps, and these by the name of their value.

    `nested`: nodes hold graphs.
    """
    graphs = graphs_of(proto.graph) if nested else [proto.graph]
    types = {v.name: v.type for graph in graphs for v in _infos(graph) if holds_map(v.type)}
    if not types:
        return proto, {}
    rest = onnx.ModelProto()
    rest.CopyFrom(proto)
    for graph in graphs_of(rest.graph):
        for info in _infos(graph):
            if info.name in types:
                info.ClearField("type")
    return rest, types


def give(model: ir.Model, types: dict[str, onnx.TypeProto]) -> None:
    """Notes the types at the values that have them."""
    for graph in model.graphs() if types else ():
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
            if value.name in types:
                value.meta[META_KEY] = types[value.name]


def put_back(proto: onnx.ModelProto, model: ir.Model) -> None:
    """Writes the types that values of the model have into its serialized form."""
    types = {}
    for graph in model.graphs():
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
            if (kind := of(value)) is not None:
                types[value.name] = kind
    for inner in graphs_of(proto.graph) if types else ():
        for info in _infos(inner):
            if info.name in types:
                info.type.CopyFrom(types[info.name])


def _infos(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from graph.input
    yield from graph.output
    yield from graph.value_info
