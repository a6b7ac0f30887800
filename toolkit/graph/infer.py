"""Types and shapes: of one node while tracing, and of a whole graph.

ONNX's own inference does the work node by node; `toolkit.graph.shapes` adds symbolic dimensions,
data propagation through shape arithmetic, composite operators and control flow.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import shape_inference

from toolkit.errors import DTypeError, InvalidModelError, ShapeError, ToolkitError
from toolkit.graph.shapes import composites, control_flow, data, registry, rules
from toolkit.graph.shapes.registry import (
    UNKNOWN,
    Data,
    NodeCall,
    TypeInfo,
    shape_function,
    shape_text,
    tensor_info,
)

__all__ = ["infer_node", "infer_shapes", "shape_function"]
_ = composites, control_flow, rules  # Imported to register.

OPSET = 28


def infer_node(
    op_type: str,
    domain: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | Sequence[ir.Attr] = (),
    outputs: int = 1,
    const_values: Mapping[int, Any] | None = None,
    name: str = "",
) -> list[tuple[ir.DataType | None, ir.Shape | None]]:
    """The dtype and shape of each output of one node, at the canonical opset.

    Args:
        op_type: The operator.
        domain: Its domain, "" for ONNX's own.
        inputs: The node's inputs; `None` for an omitted optional one.
        attributes: `ir.Attr` objects, or Python values by name.
        outputs: The number of outputs.
        const_values: Arrays of inputs by position; without, the inputs' `const_value` is used.
        name: The node's name for messages.

    Raises:
        ShapeError: The inputs' shapes do not fit.
        DTypeError: The operator does not take the inputs' element types.
        InvalidModelError: No such operator, or a wrong number of inputs.
    """
    if not isinstance(attributes, Mapping):
        attributes = {attr.name: attr for attr in attributes}
    constants = const_values or {}
    known = [
        np.asarray(constants[i]) if i in constants else (None if v is None else _constant_of(v))
        for i, v in enumerate(inputs)
    ]
    call = NodeCall(
        op_type,
        domain,
        attributes,
        [None if v is None else info_of(v) for v in inputs],
        known,
        outputs,
        name,
    )
    found = infer_call(call)
    return [(i.dtype, None if i.dims is None else ir.Shape(i.dims)) for i in found]


def info_of(value: ir.Value) -> TypeInfo:
    """What a value says of itself."""
    return TypeInfo(value.type, None if value.shape is None else tuple(value.shape.dims))


def _constant_of(value: ir.Value) -> Data | None:
    if value.const_value is None or value.is_graph_input():
        return None
    return data.small_value(value.const_value)


def infer_call(
    call: NodeCall, version: int = OPSET, opsets: Mapping[str, int] | None = None
) -> list[TypeInfo]:
    """As `infer_node`, on a `NodeCall`; the nodes' opset is `version`."""
    schema = _schema(call.op_type, call.domain, version)
    if schema is not None:
        check_inputs(call, schema)
    function = registry.find(call.domain, call.op_type)
    # The rules are the canonical opset's.
    if function is not None and (call.domain or version >= OPSET):
        found = function(call)
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
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


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
    formals = _formals(call.op_type, call.domain, schema.since_version)
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
    if kind is None:
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
    except shape_inference.InferenceError as error:
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


def infer_shapes(model_or_graph: ir.Model | ir.Graph, strict: bool = False) -> None:
    """Fills in type and shape of every value, in subgraphs too.

    Named dimensions are kept, and followed through Shape, Gather, Concat, ... into Reshape and its
    like. What follows from the nodes wins over what a file declared.

    Args:
        model_or_graph: A model, or a graph that calls no model-local functions; changed in place.
        strict: Raise at a node whose inputs do not fit; else its outputs stay as declared.

    Raises:
        ShapeError: With `strict`, shapes do not fit.
        DTypeError: With `strict`, element types do not fit.
    """
    if isinstance(model_or_graph, ir.Model):
        graph, functions = model_or_graph.graph, model_or_graph.functions
    else:
        graph, functions = model_or_graph, {}
    GraphInference(functions, strict).run(graph)


class GraphInference:
    """One walk over a graph in topological order.

    `known` holds the values of small integer tensors that data propagation found.
    """

    def __init__(
        self,
        functions: Mapping[tuple[str, str, str], ir.Function],
        strict: bool,
        opsets: Mapping[str, int] | None = None,
    ) -> None:
        self.functions = functions
        self.strict = strict
        self.opsets = opsets
        self.known: dict[ir.Value, Data] = {}

    def run(self, graph: ir.Graph) -> None:
        """Infers every node of `graph`."""
        if self.opsets is None:
            self.opsets = graph.opset_imports
        self.describe(graph)
        for node in graph:
            self.node(node)

    def describe(self, graph: ir.Graph) -> None:
        """Gives the initializers their types and shapes."""
        for value in graph.initializers.values():
            _describe_initializer(value)

    def node(self, node: ir.Node) -> None:
        """Infers one node and writes its outputs' types."""
        call = NodeCall(
            node.op_type,
            node.domain,
            node.attributes,
            [None if v is None else info_of(v) for v in node.inputs],
            [None if v is None else self.value_of(v) for v in node.inputs],
            len(node.outputs),
            node.name or "",
        )
        try:
            found = self._outputs(node, call)
        except ToolkitError:
            if self.strict:
                raise
            return
        for value, info in zip(node.outputs, found, strict=False):
            _write(value, info)
        if len(node.outputs) == 1:
            value_data = data.propagate(call)
            if value_data is not None:
                self.known[node.outputs[0]] = value_data

    def _outputs(self, node: ir.Node, call: NodeCall) -> Sequence[TypeInfo]:
        if not call.domain and call.op_type in control_flow.OPERATORS:
            return control_flow.infer(self, node, call)
        function = self.functions.get(node.op_identifier())
        if function is not None and registry.find(node.domain, node.op_type) is None:
            return self._function(function, call)
        default = 1 if call.domain else OPSET
        return infer_call(call, (self.opsets or {}).get(call.domain, default))

    def _function(self, function: ir.Function, call: NodeCall) -> Sequence[TypeInfo]:
        """Infers a call through a private copy of the function's body."""
        body = function.clone()
        for value, info in zip(body.inputs, call.inputs, strict=False):
            if info is not None:
                _write(value, info)
        _bind_attributes(body, call)
        inner = GraphInference(self.functions, self.strict, body.opset_imports)
        for value, known in zip(body.inputs, call.data, strict=False):
            if known is not None:
                inner.known[value] = known
        inner.run(body.graph)
        return [info_of(v) for v in body.outputs]

    def value_of(self, value: ir.Value) -> Data | None:
        """The numbers a value is known to hold."""
        found = self.known.get(value)
        if found is None:
            found = _constant_of(value)
            if found is not None:
                self.known[value] = found
        return found


def _bind_attributes(body: ir.Function, call: NodeCall) -> None:
    """Puts the call's attributes where the body refers to them."""
    for node in body.all_nodes():
        for name, attr in list(node.attributes.items()):
            if not attr.is_ref():
                continue
            given = call.attributes.get(str(attr.ref_attr_name))
            if given is None:
                given = body.attributes.get(str(attr.ref_attr_name))
            if isinstance(given, ir.Attr) and not given.is_ref() and given.value is not None:
                node.attributes[name] = ir.Attr(name, given.type, given.value)
            else:
                node.attributes.pop(name)


def _describe_initializer(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is None:
        return
    if value.type is None:
        value.type = ir.TensorType(tensor.dtype)
    if value.shape is None:
        value.shape = ir.Shape(tensor.shape)  # type: ignore[arg-type]


def _write(value: ir.Value, info: TypeInfo) -> None:
    """Puts what was inferred on a value; an unknown dimension keeps what was declared."""
    if info.type is not None and value.type != info.type:
        value.type = info.type
    if info.dims is None:
        return
    old = value.shape
    if old is None or len(old) != len(info.dims):
        value.shape = ir.Shape(info.dims)
        return
    merged = [d if registry.is_known(d) else o for d, o in zip(info.dims, old.dims, strict=True)]
    if list(old.dims) != merged:
        value.shape = ir.Shape(merged)
