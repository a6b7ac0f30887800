"""What a session says of its model: inputs and outputs, type strings, metadata."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from toolkit import dtypes
from toolkit.graph import map_types
from toolkit.runtime import _core

_TYPE_STRINGS = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class NodeArg:
    """An input or output: name, type string ("tensor(float)") and shape (int, name or None)."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class ModelMetadata:
    """What the file says of itself."""

    producer_name: str
    graph_name: str
    domain: str
    description: str
    graph_description: str
    version: int
    custom_metadata_map: dict[str, str]


def node_arg(value: ir.Value) -> NodeArg:
    """An input or output of a graph as onnxruntime describes it."""
    kind = map_types.of(value)
    if kind is not None:
        return NodeArg(value.name or "", map_string(kind), [])
    shape: list[int | str | None] = [
        d if isinstance(d, int) else d.value for d in (value.shape or ())
    ]
    return NodeArg(value.name or "", type_string(value.type), shape)


def metadata(model: ir.Model) -> ModelMetadata:
    """What the file says of itself."""
    return ModelMetadata(
        producer_name=model.producer_name or "",
        graph_name=model.graph.name or "",
        domain=model.domain or "",
        description=model.doc_string or "",
        graph_description=model.graph.doc_string or "",
        version=model.model_version or 0,
        custom_metadata_map=dict(model.metadata_props),
    )


def type_string(kind: ir.TypeProtocol | None) -> str:
    """Onnxruntime's name of a type: "tensor(float)", "seq(tensor(int64))"."""
    if isinstance(kind, ir.SequenceType):
        return f"seq({type_string(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({type_string(kind.elem_type)})"
    dtype = dtypes.BY_ONNX.get(int(kind.dtype)) if kind is not None else None
    return f"tensor({type_name(dtype)})" if dtype else "tensor()"


def type_name(dtype: dtypes.DType) -> str:
    """Onnxruntime's name of an element type."""
    return _TYPE_STRINGS.get(dtype.name, dtype.name)


def type_text(kind: ir.TypeProtocol | None) -> str:
    """A type as messages name it: a tensor by its element type alone."""
    if isinstance(kind, ir.TensorType) and int(kind.dtype) in dtypes.BY_ONNX:
        return dtypes.BY_ONNX[int(kind.dtype)].name
    return type_string(kind)


def described(value: _core.Tensor) -> ir.TypeProtocol | None:
    """The type of a value; None for an empty sequence's items, maps and missing optionals."""
    if value.dtype == _core.SEQUENCE:
        items = value.items()
        inner = described(items[0]) if items else None
        return ir.SequenceType(inner or ir.TensorType(ir.DataType.UNDEFINED))
    if value.dtype in (_core.MAP, _core.NONE):
        return None
    return ir.TensorType(ir.DataType(value.dtype))


def map_string(kind: onnx.TypeProto) -> str:
    """As `type_string`, of a type that may be a map: "seq(map(int64,tensor(float)))"."""
    name = kind.WhichOneof("value")
    if name == "sequence_type":
        return f"seq({map_string(kind.sequence_type.elem_type)})"
    if name == "map_type":
        key = dtypes.BY_ONNX[kind.map_type.key_type].name
        return f"map({key},{map_string(kind.map_type.value_type)})"
    return type_string(ir.serde.deserialize_type_proto_for_type(kind))
