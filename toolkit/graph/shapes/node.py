"""Types and shapes of the outputs of one node, by ONNX's own inference and the shape functions."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import shape_inference

from toolkit.errors import DTypeError, InvalidModelError, ShapeError, ToolkitError
from toolkit.graph.map_types import holds_map
from toolkit.graph.shapes import attention, composites, data, einsum, linalg, registry, rules
from toolkit.graph.shapes.registry import (
    UNKNOWN,
    Data,
    NodeCall,
    TypeInfo,
    shape_text,
    tensor_info,
)

_ = attention, composites, einsum, linalg, rules  # Imported to register.

OPSET = 28
"""The canonical opset: that of every graph inside."""


def info_of(value: ir.Value) -> TypeInfo:
    """What a value says of itself."""
    return TypeInfo(value.type, None if value.shape is None else tuple(value.shape.dims))


def constant_data(value: ir.Value) -> Data | None:
    """The numbers of a small initializer."""
    if value.const_value is None or value.is_graph_input():
        return None
    return data.small_value(value.const_value)


def infer_call(call: NodeCall, version: int = OPSET) -> list[TypeInfo]:
    """The type and shape of each output of a node of opset `version`.

    Raises:
        ShapeError: The inputs' shapes do not fit.
        DTypeError: The operator does not take the inputs' element types.
        InvalidModelError: No such operator, or a wrong number of inputs.
    """
    schema = _schema(call.op_type, call.domain, version)
    if schema is not None:
        check_inputs(call, schema)
    function = registry.find(call.domain, call.op_type)
    # The rules are the canonical opset's.
    if function is not None and (call.domain or version >= OPSET):
        try:
            found = function(call)
        except ToolkitError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            need = f"attributes that {call.op_type} has are required"
            raise call.fail(need, str(error), InvalidModelError) from None
        if found is not None:
            return [*found, *[UNKNOWN] * (call.outputs - len(found))]
    if schema is None:
        if call.domain in ("", "ai.onnx"):
            need = "an operator of ONNX is required"
            raise call.fail(need, f"{call.op_type} at opset {version}", InvalidModelError)
        return [UNKNOWN] * call.outputs
    return _infer_by_schema(call, schema, version)


@functools.cache
def _schema(op_type: str, domain: str, version: int) -> onnx.defs.OpSchema | None:
    """The schema at an opset; that of the last version that still had a deprecated operator."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
        if schema.deprecated and schema.since_version > 1:
            schema = onnx.defs.get_schema(op_type, schema.since_version - 1, domain)
    except (onnx.defs.SchemaError, TypeError):  # TypeError: a version of 64 bits.
        return None
    return schema


_schema("Identity", "", OPSET)  # Onnx makes all schemas at the first call: now, not at a load.

_RENAMED = {"float": "float32", "double": "float64"}


def type_text(kind: ir.TypeProtocol | None) -> str:
    """`float32`, `seq(int64)`: a type in a message; empty where it is not known."""
    if isinstance(kind, ir.TensorType):
        name = kind.dtype.name.lower()
        return "" if name == "undefined" else _RENAMED.get(name, name)
    if isinstance(kind, (ir.SequenceType, ir.OptionalType)):
        inner = type_text(kind.elem_type)
        outer = "seq" if isinstance(kind, ir.SequenceType) else "optional"
        return inner and f"{outer}({inner})"
    return ""


def _short_type(text: str) -> str:
    """A schema's type string in the form of `type_text`."""
    return re.sub(r"tensor\((\w+)\)", lambda m: _RENAMED.get(m[1], m[1]), text)


class _Formals:
    """A schema's inputs, prepared for the checks."""

    def __init__(self, schema: onnx.defs.OpSchema) -> None:
        self.minimum, self.maximum = schema.min_input, schema.max_input
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        self.inputs = []
        for formal in schema.inputs:
            types = allowed.get(formal.type_str, [formal.type_str])
            bound = formal.type_str if formal.is_homogeneous else ""
            self.inputs.append((formal.name, bound, frozenset(map(_short_type, types))))

    def at(self, index: int) -> tuple[str, str, frozenset[str]]:
        return self.inputs[min(index, len(self.inputs) - 1)]


@functools.cache
def _formals(op_type: str, domain: str, since: int) -> _Formals:
    return _Formals(onnx.defs.get_schema(op_type, since, domain))


def check_inputs(call: NodeCall, schema: onnx.defs.OpSchema) -> None:
    """Number and element types of the inputs against the schema."""
    key = (schema.since_version, call.op_type, call.domain, *map(_element, call.inputs))
    if key in _FIT:
        return
    _compare(call, _formals(call.op_type, call.domain, schema.since_version))
    if None not in key:
        _FIT.add(key)


_FIT: set[tuple[Any, ...]] = set()
"""Operators with element types of their inputs that were found to be right."""


def _element(info: TypeInfo | None) -> Any:
    """0: an absent input; None: no tensor, or one of an unknown type."""
    if info is None:
        return 0
    return info.type.dtype if type(info.type) is ir.TensorType else None


def _compare(call: NodeCall, formals: _Formals) -> None:
    given = len(call.inputs)
    if not formals.minimum <= given <= formals.maximum:
        span = f"{formals.minimum} to {formals.maximum}"
        counts = f"{formals.minimum}" if formals.minimum == formals.maximum else span
        raise call.fail(f"{counts} inputs are required", f"{given}", InvalidModelError)
    bound: dict[str, tuple[str, str]] = {}
    for index, info in enumerate(call.inputs):
        dtype = "" if info is None else type_text(info.type)
        if not dtype:
            continue
        label, type_str, allowed = formals.at(index)
        if dtype not in allowed:
            need = f"{label} must be one of {', '.join(sorted(allowed))}"
            raise call.fail(need, dtype, DTypeError)
        other = bound.setdefault(type_str, (label, dtype)) if type_str else ("", dtype)
        if other[1] != dtype:
            need = f"{other[0]} and {label} must have one element type"
            raise call.fail(need, f"{other[1]} and {dtype}", DTypeError)


def check_outputs(call: NodeCall, schema: onnx.defs.OpSchema, outputs: Sequence[ir.Value]) -> None:
    """Element types of the outputs, where they are known, against the schema."""
    formals = _output_types(call.op_type, call.domain, schema.since_version)
    for index, value in enumerate(outputs):
        dtype = type_text(value.type)
        if not dtype or not formals:
            continue
        allowed = formals[min(index, len(formals) - 1)]
        if dtype not in allowed:
            need = f"output {index} must be one of {', '.join(sorted(allowed))}"
            raise call.fail(need, dtype, DTypeError)


@functools.cache
def _output_types(op_type: str, domain: str, since: int) -> list[frozenset[str]]:
    schema = onnx.defs.get_schema(op_type, since, domain)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    types = [allowed.get(formal.type_str, [formal.type_str]) for formal in schema.outputs]
    return [frozenset(map(_short_type, some)) for some in types]


@functools.lru_cache(maxsize=65536)
def _encode(elem_type: int, dims: tuple[Any, ...] | None) -> bytes:
    proto = onnx.TypeProto()
    tensor = proto.tensor_type
    tensor.elem_type = elem_type
    if dims is not None:
        tensor.shape.SetInParent()
        for dim in dims:
            entry = tensor.shape.dim.add()
            if isinstance(dim, int):
                entry.dim_value = dim
            elif dim.value is not None:
                entry.dim_param = dim.value
    return bytes(proto.SerializeToString())


def encode(info: TypeInfo) -> bytes:
    """A serialized `TypeProto`."""
    if type(info.type) is ir.TensorType:
        return _encode(int(info.type.dtype), info.dims)
    proto = onnx.TypeProto()
    if info.type is not None:
        ir.serde.serialize_type_into(proto, info.type)
        if info.dims is not None:
            ir.serde.serialize_shape_into(proto, ir.Shape(info.dims))
    return bytes(proto.SerializeToString())


@functools.lru_cache(maxsize=65536)
def _decode(text: bytes) -> TypeInfo:
    proto = onnx.TypeProto.FromString(text)
    kind = proto.WhichOneof("value")
    if kind is None or holds_map(proto):
        return UNKNOWN
    if kind != "tensor_type":
        shape = ir.serde.deserialize_type_proto_for_shape(proto)
        found = ir.serde.deserialize_type_proto_for_type(proto)
        return TypeInfo(found, None if shape is None else tuple(shape.dims))
    tensor = proto.tensor_type
    dims: list[Any] | None = None
    if tensor.HasField("shape"):
        dims = [
            d.dim_value if d.HasField("dim_value") else ir.SymbolicDim(d.dim_param or None)
            for d in tensor.shape.dim
        ]
    dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else None
    return tensor_info(dtype, dims)


_MAX_DATA = 256


def _infer_by_schema(call: NodeCall, schema: onnx.defs.OpSchema, version: int) -> list[TypeInfo]:
    """ONNX's own inference of one node: types and constants in, types out."""
    node = onnx.NodeProto(op_type=call.op_type, domain=call.domain)
    types: dict[str, bytes] = {}
    constants: dict[str, bytes] = {}
    for index, info in enumerate(call.inputs):
        if info is None:
            node.input.append("")
            continue
        key = str(index)
        node.input.append(key)
        if info.type is None:
            return [UNKNOWN] * call.outputs
        types[key] = encode(info)
        value = data.concrete(call.known(index))
        if value is not None and value.size <= _MAX_DATA and value.dtype.kind in "iufb":
            constants[key] = onnx.numpy_helper.from_array(
                np.ascontiguousarray(value).reshape(value.shape)
            ).SerializeToString()
    node.output.extend(f"y{k}" for k in range(call.outputs))
    for name, attr in call.attributes.items():
        _add_attribute(node, name, attr)
    try:
        found = _run_schema(schema, node.SerializeToString(), types, constants, version)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        raise _explain(call, str(error)) from None
    return [
        _decode(found[key]) if (key := f"y{k}") in found else UNKNOWN for k in range(call.outputs)
    ]


def _run_schema(
    schema: onnx.defs.OpSchema,
    node: bytes,
    types: dict[str, bytes],
    constants: dict[str, bytes],
    version: int,
) -> dict[str, bytes]:
    run: Any = schema._infer_node_outputs  # The typed stub lacks the last arguments.
    if onnx.defs.get_schema(schema.name, version, schema.domain).deprecated:
        version = schema.since_version
    found: dict[str, bytes] = run(
        node, types, constants, {}, {schema.domain: version}, onnx.IR_VERSION
    )
    return found


def _add_attribute(node: onnx.NodeProto, name: str, attr: Any) -> None:
    if attr is None:
        return
    if not isinstance(attr, ir.Attr):
        if isinstance(attr, np.ndarray):
            attr = ir.tensor(attr)
        attr = ir.convenience.convert_attribute(name, attr)
    if attr.is_ref():
        ir.serde.serialize_reference_attribute_into(node.attribute.add(), attr)
    elif attr.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        ir.serde.serialize_attribute_into(node.attribute.add(), attr)


_NEEDS = {
    "MatMul": "inner dimensions must match",
    "Concat": "dimensions other than axis must match",
    "Gemm": "inner dimensions must match",
    "Einsum": "operands must fit the equation",
}


def _explain(call: NodeCall, text: str) -> ToolkitError:
    """ONNX's inference error in toolkit's form."""
    text = re.sub(r"\[\w+Error\]\s*|\(op_type:[^)]*\):?\s*", "", text).strip().split("\n")[0]
    need = _NEEDS.get(call.op_type, "inputs must fit together")
    labels = _formals(call.op_type, call.domain, _schema_since(call))
    shapes = [
        f"{labels.at(i)[0]} {shape_text(info.dims)}"
        for i, info in enumerate(call.inputs)
        if info is not None and info.dims is not None
    ]
    error = call.fail(need, " and ".join(shapes) or "no known shape")
    return ShapeError(f"{error} {text.rstrip('.')}.")


def _schema_since(call: NodeCall) -> int:
    newest = onnx.defs.onnx_opset_version() if not call.domain else 2**31 - 1
    schema = _schema(call.op_type, call.domain, newest)
    assert schema is not None
    return int(schema.since_version)
