"""If, Loop, Scan and SequenceMap: their subgraphs become programs of their own.

What a subgraph reads of the graphs around it are inputs of its program, after its own; the node
passes them on. Constants of the outer graphs are shared, so that kernels can pack them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph import subgraphs, walk
from toolkit.runtime.constants import native_attributes
from toolkit.runtime.values import to_numpy

if TYPE_CHECKING:
    from toolkit.runtime.lowering import Lowering

OPERATORS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def captured(node: ir.Node) -> list[ir.Value]:
    """The values of outer graphs that the subgraphs of `node` read, each once.

    Of an If whose condition is a constant, only those of the branch that is taken.
    """
    graphs = _reachable(node)
    return list(dict.fromkeys(v for g in graphs for v in subgraphs.captured(g))) if graphs else []


def _reachable(node: ir.Node) -> list[ir.Graph]:
    condition = node.inputs[0] if node.op_type == "If" and not node.domain else None
    if condition is None or condition.const_value is None or condition.const_value.size != 1:
        return walk.subgraphs(node)
    taken = bool(condition.const_value.numpy().item())
    return [node.attributes["then_branch" if taken else "else_branch"].as_graph()]


def add(lowering: Lowering, node: ir.Node, attributes: Mapping[str, ir.Attr]) -> None:
    """Adds a node with subgraphs to the program; an If whose condition is known, as its branch."""
    inputs = [lowering.slot_of(v) for v in node.inputs]
    if node.op_type == "If":
        condition = lowering.known.get(inputs[0])
        if condition is not None and condition.size == 1:
            name = "then_branch" if to_numpy(condition).item() else "else_branch"
            _write_out(lowering, node, _graph(node, attributes, name))
            return
        then, else_ = (
            _program(lowering, _graph(node, attributes, name))
            for name in ("then_branch", "else_branch")
        )
        values: dict[str, Any] = {
            "then_branch": then.program,
            "else_branch": else_.program,
            "then_captures": len(then.captures),
        }
        inputs += [*then.captures, *else_.captures]
    else:
        graph = _graph(node, attributes, "body")
        if len(graph.inputs) != max(len(inputs), 2 if node.op_type == "Loop" else 0):
            raise InvalidModelError(
                f"{node.op_type} '{node.name}': a body with an input for each of the node's "
                f"{len(inputs)} is required, got one of {len(graph.inputs)}."
            )
        inputs += [-1] * (len(graph.inputs) - len(inputs))
        body = _program(lowering, graph)
        plain = [a for a in attributes.values() if a.type != ir.AttributeType.GRAPH]
        values = native_attributes(plain) | _empty_scans(graph, _carried(node, attributes))
        values |= {"body": body.program, "own_inputs": len(inputs)}
        inputs += body.captures
    lowering.add_instruction(node, values, inputs)


def _graph(node: ir.Node, attributes: Mapping[str, ir.Attr], name: str) -> ir.Graph:
    attr = attributes.get(name)
    if attr is None or attr.type != ir.AttributeType.GRAPH:
        raise InvalidModelError(
            f"{node.op_type} '{node.name}': a graph as attribute '{name}' is required, got none."
        )
    return attr.as_graph()


def _carried(node: ir.Node, attributes: Mapping[str, ir.Attr]) -> int:
    """How many of the body's outputs are no scan outputs."""
    if node.op_type == "Loop":
        return max(len(node.inputs) - 2, 0) + 1
    if node.op_type == "SequenceMap":
        return len(node.outputs)
    return len(node.inputs) - attributes["num_scan_inputs"].as_int()


def _program(outer: Lowering, graph: ir.Graph) -> Lowering:
    """The program of a subgraph."""
    from toolkit.runtime.lowering import Lowering, needed_nodes

    inner = Lowering(
        outer.functions,
        parent=outer,
        scope=outer.scope,
        depth=outer.depth + 1,
        fuse=outer.fuse,
    )
    if inner.depth > 64:
        raise InvalidModelError("graph: subgraphs nest at most 64 deep, got more.")
    for value in graph.inputs:
        inner.slots[value] = inner.program.add_input(value.name or "")
    inner.add_nodes(needed_nodes(graph.outputs, inner.slots, graph), graph.outputs)
    for value in graph.outputs:
        inner.program.add_output(inner.slot_of(value))
    inner.program.finalize()
    return inner


def _write_out(lowering: Lowering, node: ir.Node, graph: ir.Graph) -> None:
    """The nodes of a branch in place of the If."""
    from toolkit.runtime.lowering import needed_nodes

    for inner in needed_nodes(graph.outputs, lowering.slots, graph):
        lowering.add_node(inner)
    for value, result in zip(node.outputs, graph.outputs, strict=True):
        lowering.slots[value] = lowering.slot_of(result)


def _empty_scans(graph: ir.Graph, carried: int) -> dict[str, Any]:
    """Type and shape of each scan output's items, for loops that never turn; 0 where unknown."""
    outputs = list(graph.outputs)[carried:]
    values: dict[str, Any] = {"scan_types": [int(v.dtype or 0) for v in outputs]}
    for k, value in enumerate(outputs):
        dims = () if value.shape is None else value.shape
        values[f"scan_shape_{k}"] = [d if isinstance(d, int) else 0 for d in dims]
    return values
