"""The graphs that a node holds: what they read from outside, copies, dead nodes, names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir

from toolkit.graph.edit import Names
from toolkit.graph.walk import all_nodes, inner_graphs, subgraphs


def captured(graph: ir.Graph) -> list[ir.Value]:
    """The outer values that a subgraph reads, those of graphs inside it included, in order."""
    own: set[ir.Value] = set()
    read: dict[ir.Value, None] = {}
    for inner in (graph, *inner_graphs(graph)):
        own.update(inner.inputs)
        own.update(inner.initializers.values())
        for node in inner:
            own.update(node.outputs)
            read.update((v, None) for v in node.inputs if v is not None)
        read.update((v, None) for v in inner.outputs)
    return [v for v in read if v not in own]


def reads(node: ir.Node) -> list[ir.Value]:
    """The values a node reads, those that its subgraphs capture included."""
    values = [v for v in node.inputs if v is not None]
    for graph in subgraphs(node):
        values.extend(captured(graph))
    return values


def copy(
    graph: ir.Graph,
    values: Mapping[ir.Value, ir.Value | None] | None = None,
    attributes: Mapping[str, ir.Attr] | None = None,
) -> tuple[ir.Graph, dict[ir.Value, ir.Value | None]]:
    """A copy of a subgraph, which reads the same outer values.

    Args:
        graph: the subgraph.
        values: outer values to read in place of others.
        attributes: what references to a function's attributes stand for.

    Returns:
        The copy, and what became of each value.
    """
    from onnx_ir import _cloner

    made = dict(values or {})
    cloner = _cloner.Cloner(
        attr_map=attributes or {},
        value_map=made,
        metadata_props={},
        resolve_ref_attrs=attributes is not None,
        allow_outer_scope_values=True,
    )
    for value in graph.outputs:  # The cloner looks outputs up; an outer one stays itself.
        if value in captured(graph):
            made.setdefault(value, value)
    return cloner.clone_graph(graph), made


def copy_node(node: ir.Node, values: Mapping[ir.Value, ir.Value | None]) -> ir.Node:
    """A copy of a node, in no graph yet, that reads other values in place of some."""
    attributes = []
    for attribute in node.attributes.values():
        if not attribute.is_ref() and attribute.type == ir.AttributeType.GRAPH:
            attribute = ir.AttrGraph(attribute.name, copy(attribute.as_graph(), values)[0])
        attributes.append(attribute)
    inputs = [None if v is None else values.get(v, v) for v in node.inputs]
    made = ir.Node(
        node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs),
        overload=node.overload, metadata_props=dict(node.metadata_props),
    )  # fmt: skip
    made.meta.update(node.meta)
    for old, new in zip(node.outputs, made.outputs, strict=True):
        new.type = old.type
        new.shape = None if old.shape is None else old.shape.copy()
        if old.name == "":
            new.name = ""
    return made


def prune(
    graph: ir.Graph, nodes: Sequence[ir.Node] | None = None, keep: Collection[ir.Value] = ()
) -> None:
    """Remove the nodes of one graph that nothing reads.

    Args:
        graph: the graph.
        nodes: the nodes to look at, in order; all of them without.
        keep: values that are wanted though nothing reads them yet.
    """
    for node in reversed(list(graph) if nodes is None else nodes):
        if not any(v.uses() or v.is_graph_output() or v in keep for v in node.outputs):
            for inner in subgraphs(node):
                _forget(inner)
            graph.remove(node, safe=True)


def _forget(graph: ir.Graph) -> None:
    """Take the nodes of a graph that goes off the users of outer values."""
    for node in list(all_nodes(graph)):
        node.resize_inputs(0)
    for inner in (graph, *inner_graphs(graph)):
        inner.outputs.clear()


def unique_names(graph: ir.Graph) -> None:
    """Rename values of subgraphs whose names occur elsewhere: ONNX wants one scope."""
    inner = list(inner_graphs(graph))
    if not inner:
        return
    names = Names(ir.Graph([], [], nodes=[]))
    for value in [*graph.inputs, *graph.initializers.values()]:
        names.new(value.name or "")
    for node in graph:
        for value in node.outputs:
            if value.name is None or (value.name and names.new(value.name) != value.name):
                value.name = names.new(f"{node.op_type}_output")
    seen = {id(graph)}
    for body in inner:
        if id(body) in seen:
            continue
        seen.add(id(body))
        for value in [
            *body.inputs,
            *body.initializers.values(),
            *(v for node in body for v in node.outputs),
        ]:
            if value.name == "":
                continue
            name = names.new(value.name or "value")
            if name != value.name:
                value.name = name
