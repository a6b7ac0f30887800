"""Bodies of operators that their own schemas define as functions.

`body_of_node` gives the body at the canonical opset; `inline_schema_function` writes it in place of
the node.
"""

from __future__ import annotations

import functools
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.graph.edit import Edit, set_inputs, take_place
from toolkit.graph.shapes.node import OPSET, encode, info_of
from toolkit.graph.shapes.registry import UNKNOWN
from toolkit.graph.upgrade import upgrade_function

__all__ = ["body_of_node", "inline_schema_function"]


def body_of_node(node: ir.Node) -> ir.Function | None:
    """The function body that the schema of a node's operator gives it.

    The body is at the canonical opset and its `attributes` hold the operator's defaults. One that
    depends on the inputs' types needs them known.

    Returns:
        The body, not to be changed; `None` where the schema has none, or none for these inputs.
    """
    if (node.domain, node.op_type) == ("ai.onnx.preview", "FlexAttention"):
        from toolkit.graph.flex_attention import flex_attention_body

        return flex_attention_body(node)  # The schema's own takes no subgraphs from us.
    schema = _schema(node.domain, node.op_type)
    if schema is None:
        return None
    if schema.has_function:
        return _fixed_body(node.domain, node.op_type)
    if not schema.has_context_dependent_function:
        return None
    proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain)
    for index, value in enumerate(node.inputs):
        proto.input.append("" if value is None else f"x{index}")
    proto.output.extend(f"y{i}" if _used(v) else "" for i, v in enumerate(node.outputs))
    for attr in node.attributes.values():
        if attr.is_ref():
            ir.serde.serialize_reference_attribute_into(proto.attribute.add(), attr)
        elif attr.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            ir.serde.serialize_attribute_into(proto.attribute.add(), attr)
    types = tuple(encode(UNKNOWN if v is None else info_of(v)) for v in node.inputs)
    return _dependent_body(node.domain, node.op_type, proto.SerializeToString(), types)


def _used(value: ir.Value) -> bool:
    return value.name != ""  # An output left out has an empty name.


def _schema(domain: str, op_type: str) -> Any:
    # Any: onnx's stub lacks what the schema says of its function bodies.
    try:
        if not domain:
            return onnx.defs.get_schema(op_type, OPSET)
        return onnx.defs.get_schema(op_type, domain=domain)
    except onnx.defs.SchemaError:
        return None


@functools.cache
def _fixed_body(domain: str, op_type: str) -> ir.Function | None:
    schema = _schema(domain, op_type)
    assert schema is not None
    version = max(schema.function_opset_versions)
    text = schema.get_function_with_opset_version(version)
    return _function(schema, onnx.FunctionProto.FromString(text), version)


@functools.lru_cache(maxsize=512)
def _dependent_body(
    domain: str, op_type: str, node: bytes, types: tuple[bytes, ...]
) -> ir.Function | None:
    schema = _schema(domain, op_type)
    assert schema is not None
    version = max(schema.context_dependent_function_opset_versions)
    try:
        text = schema.get_context_dependent_function_with_opset_version(version, node, types)
        return _function(schema, onnx.FunctionProto.FromString(text), version)
    except Exception:  # The schema's builder refuses these inputs, each in its own way.
        return None


def _function(schema: Any, proto: onnx.FunctionProto, version: int) -> ir.Function | None:
    if not proto.node:
        return None
    if not any(entry.domain in ("", "ai.onnx") for entry in proto.opset_import):
        proto.opset_import.add(domain="", version=version)
    _drop_unmade_outputs(proto)
    function = ir.serde.deserialize_function(proto)
    function.domain = schema.domain
    for name, attr in schema.attributes.items():
        if attr.default_value.name:
            function.attributes[name] = ir.serde.deserialize_attribute(attr.default_value)
    upgrade_function(function)
    return function


def _drop_unmade_outputs(proto: onnx.FunctionProto) -> None:
    """A body for a node that leaves outputs out names them all the same, and makes them not."""
    made = {name for node in proto.node for name in node.output} | set(proto.input)
    while proto.output and proto.output[-1] not in made:
        proto.output.pop()
    for name in proto.output:
        if name not in made:
            proto.node.add(op_type="Identity", input=[proto.input[0]], output=[name])


def inline_schema_function(node: ir.Node, edit: Edit) -> list[ir.Node] | None:
    """Writes the schema's body in place of `node`.

    Args:
        node: A node at the canonical opset.
        edit: Edits of the graph that holds it.

    Returns:
        The new nodes, or `None` where there is no body; the graph is then as it was.
    """
    body = body_of_node(node)
    if body is None:
        return None
    return inline_function(node, body, edit)


def inline_function(node: ir.Node, body: ir.Function, edit: Edit) -> list[ir.Node]:
    """Writes a copy of `body` in place of its call `node`; gives the new nodes."""
    edit.at(node)
    values: dict[ir.Value, ir.Value | None] = dict.fromkeys(body.inputs)
    values.update(zip(body.inputs, node.inputs, strict=False))
    attributes = {**body.attributes, **node.attributes}
    new = [_copy(inner, values, attributes, edit) for inner in body]
    for old, result in zip(node.outputs, body.outputs, strict=False):
        value = values[result]
        assert value is not None
        if result in body.inputs or value.is_graph_output():
            value = edit.op("Identity", [value])
            new.append(edit.added[-1])
        take_place(old, value)
    edit.graph.remove(node, safe=True)
    return new


def _copy(
    inner: ir.Node,
    values: dict[ir.Value, ir.Value | None],
    attributes: dict[str, ir.Attr],
    edit: Edit,
) -> ir.Node:
    """Copies one node of a body before the call, with the call's inputs and attributes."""
    node = edit.node
    prefix = node.outputs[0].name or node.op_type
    given = []
    for name, attr in inner.attributes.items():
        if not attr.is_ref():
            given.append(_copy_attribute(attr, values, attributes, edit))
            continue
        bound = attributes.get(str(attr.ref_attr_name))
        if bound is None or bound.type == ir.AttributeType.UNDEFINED:
            continue  # The operator's own default holds.
        if bound.is_ref():
            given.append(ir.RefAttr(name, str(bound.ref_attr_name), bound.type))
        else:
            given.append(ir.Attr(name, bound.type, bound.value))
    outputs = [
        ir.Value(name=edit.names.new(f"{prefix}.{v.name}") if v.name else "") for v in inner.outputs
    ]
    copy = ir.Node(inner.domain, inner.op_type, (), given, overload=inner.overload, outputs=outputs)
    set_inputs(copy, [None if v is None else values[v] for v in inner.inputs])
    copy.name = outputs[0].name
    edit.graph.insert_before(node, copy)
    edit.inference.node(copy)
    edit.added.append(copy)
    values.update(zip(inner.outputs, outputs, strict=True))
    return copy


def _copy_attribute(
    attr: ir.Attr,
    values: dict[ir.Value, ir.Value | None],
    attributes: dict[str, ir.Attr],
    edit: Edit,
) -> ir.Attr:
    """A subgraph is cloned, with the values and attributes of the call for the body's."""
    if attr.type != ir.AttributeType.GRAPH:
        return attr
    from onnx_ir import _cloner

    cloner = _cloner.Cloner(
        attr_map=attributes,
        value_map=dict(values),
        metadata_props={},
        resolve_ref_attrs=True,
        allow_outer_scope_values=True,
    )
    graph = cloner.clone_graph(attr.as_graph())
    prefix = edit.node.outputs[0].name or edit.node.op_type
    for inner in (graph, *graph.subgraphs()):
        made = [v for n in inner for v in n.outputs]
        for value in (*inner.inputs, *inner.initializers.values(), *made):
            if value.name:
                value.name = edit.names.new(f"{prefix}.{value.name}")
    return ir.Attr(attr.name, attr.type, graph)
