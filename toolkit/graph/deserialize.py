"""From a parsed file to onnx-ir: what most files hold is read here, the rest by onnx-ir itself.

onnx-ir's own reading takes three times as long. Absent: functions, graphs in nodes, annotations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.graph.held import HeldTensor
from toolkit.graph.shapes.registry import TypeInfo, tensor_info

_A = onnx.AttributeProto
_NUMPY = {
    int(t): (t, np.dtype(t.numpy()))
    for t in ir.DataType
    if t.name not in ("UNDEFINED", "STRING") and t.bitwidth % 8 == 0
}
_TYPED = {
    int(ir.DataType.FLOAT): "float_data",
    int(ir.DataType.DOUBLE): "double_data",
    int(ir.DataType.INT64): "int64_data",
}
Values = dict[str, ir.Value]


class _Rare(Exception):
    """The file holds what onnx-ir is to read."""


def deserialize(proto: onnx.ModelProto) -> ir.Model:
    """The model of a file, as onnx-ir reads it.

    Raises:
        Exception: the file is not valid; in onnx-ir's many ways.
    """
    try:
        return _model(proto)
    except _Rare:
        return ir.serde.deserialize_model(proto)


def _model(proto: onnx.ModelProto) -> ir.Model:
    graph = proto.graph
    if proto.functions or proto.configuration or graph.quantization_annotation:
        raise _Rare
    made = _graph(graph)
    for entry in proto.opset_import:
        made.opset_imports[entry.domain] = entry.version
    return ir.Model(
        made,
        ir_version=proto.ir_version,
        producer_name=_given(proto, "producer_name"),
        producer_version=_given(proto, "producer_version"),
        domain=_given(proto, "domain"),
        model_version=_given(proto, "model_version"),
        doc_string=_given(proto, "doc_string"),
        metadata_props=_props(proto.metadata_props),
    )


def _given(proto: Any, field: str) -> Any:
    return getattr(proto, field) if proto.HasField(field) else None


def _props(entries: Iterable[onnx.StringStringEntryProto]) -> dict[str, str] | None:
    return {entry.key: entry.value for entry in entries} or None


def _graph(proto: onnx.GraphProto) -> ir.Graph:
    inputs = [_describe(ir.Value(name=info.name), info) for info in proto.input]
    values: Values = {v.name or "": v for v in inputs}
    infos = {info.name: info for info in proto.value_info}
    initializers = [_initializer(tensor, values, infos) for tensor in proto.initializer]
    for node in proto.node:
        for name in node.output:
            if name in values:
                raise _Rare  # Made twice.
            if name:
                value = values[name] = ir.Value(name=name)
                if name in infos:
                    _describe(value, infos[name])
    nodes = [_node(node, values) for node in proto.node]
    outputs = [_describe(_find(info.name, values), info) for info in proto.output]
    return ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=initializers,
        doc_string=_given(proto, "doc_string"),
        name=_given(proto, "name"),
        metadata_props=_props(proto.metadata_props),
    )


def _find(name: str, values: Values) -> ir.Value:
    found = values.get(name)
    if found is None:
        raise _Rare  # Nothing makes it.
    return found


def _describe(value: ir.Value, info: onnx.ValueInfoProto) -> ir.Value:
    known = _type(info.type.SerializeToString())
    if known is None or info.HasField("doc_string") or info.metadata_props:
        return ir.serde.deserialize_value_info_proto(info, value)
    value.type, value.shape = known.type, ir.Shape(known.dims or ())
    return value


@functools.lru_cache(maxsize=4096)
def _type(text: bytes) -> TypeInfo | None:
    """What a type says, which many values share; None: onnx-ir is to read it."""
    kind = onnx.TypeProto.FromString(text)
    tensor = kind.tensor_type
    if not kind.HasField("tensor_type") or kind.HasField("denotation"):
        return None
    if tensor.elem_type not in _NUMPY or not tensor.HasField("shape"):
        return None
    dims: list[int | ir.SymbolicDim] = []
    for dim in tensor.shape.dim:
        if dim.HasField("denotation"):
            return None
        number = dim.HasField("dim_value")
        dims.append(dim.dim_value if number else ir.SymbolicDim(dim.dim_param or None))
    return tensor_info(_NUMPY[tensor.elem_type][0], dims)


def _initializer(
    proto: onnx.TensorProto, values: Values, infos: Mapping[str, onnx.ValueInfoProto]
) -> ir.Value:
    tensor, name = _tensor(proto), proto.name
    if not name:
        raise _Rare
    value = values.get(name)
    if value is not None:
        value.const_value = tensor
        return value
    value = values[name] = ir.Value(name=name, const_value=tensor)
    if name in infos:
        return _describe(value, infos[name])
    value.type, value.shape = tensor_info(tensor.dtype, None).type, ir.Shape(proto.dims)
    return value


def _tensor(proto: onnx.TensorProto) -> ir.TensorProtocol:
    known = _NUMPY.get(proto.data_type)
    if known is None or proto.data_location or proto.HasField("doc_string") or proto.metadata_props:
        return ir.serde.deserialize_tensor(proto)
    (dtype, element), dims = known, tuple(proto.dims)
    if proto.HasField("raw_data"):
        raw = proto.raw_data
        array = np.frombuffer(raw[: len(raw) // element.itemsize * element.itemsize], element)
        whole = len(raw) == array.nbytes
    else:
        field = _TYPED.get(proto.data_type)
        array = np.array(getattr(proto, field), element) if field else np.empty(0)
        whole = field is not None
    if not whole or array.size != math.prod(dims) or min(dims, default=0) < 0:
        return ir.serde.deserialize_tensor(proto)  # Which is checked later.
    return HeldTensor(array.reshape(dims), dtype, ir.Shape(dims, frozen=True), proto.name)


def _node(proto: onnx.NodeProto, values: Values) -> ir.Node:
    if proto.device_configurations:
        raise _Rare
    return ir.Node(
        proto.domain,
        proto.op_type,
        [_find(name, values) if name else None for name in proto.input],
        [_attribute(attr) for attr in proto.attribute],
        overload=proto.overload,
        outputs=[values[name] if name else ir.Value(name="") for name in proto.output],
        name=proto.name,
        doc_string=_given(proto, "doc_string"),
        metadata_props=_props(proto.metadata_props),
    )


def _attribute(proto: onnx.AttributeProto) -> ir.Attr:
    kind, name = proto.type, proto.name
    if kind in (_A.GRAPH, _A.GRAPHS):
        raise _Rare
    if not (proto.ref_attr_name or proto.doc_string):
        if kind == _A.INT:
            return ir.AttrInt64(name, proto.i)
        if kind == _A.INTS:
            return ir.AttrInt64s(name, proto.ints)
        if kind == _A.FLOAT:
            return ir.AttrFloat32(name, proto.f)
        if kind == _A.FLOATS:
            return ir.AttrFloat32s(name, proto.floats)
        if kind == _A.TENSOR:
            return ir.AttrTensor(name, _tensor(proto.t))
    return ir.serde.deserialize_attribute(proto)
