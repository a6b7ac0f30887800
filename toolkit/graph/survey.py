"""What a parsed file holds, found in one walk: most files hold little that is rare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx

_A = onnx.AttributeProto
_EXTERNAL = onnx.TensorProto.EXTERNAL


@dataclass
class Survey:
    """Of the main graph, the graphs in its nodes included.

    Attributes:
        operators: domains and names of its nodes.
        nested: whether nodes hold graphs.
        sparse: whether there are sparse tensors.
        external: whether tensors lie in other files, those of functions and training included.
        ordered: whether each node stands behind what it reads.
    """

    operators: set[tuple[str, str]] = field(default_factory=set)
    nested: bool = False
    sparse: bool = False
    external: bool = False
    ordered: bool = True


def survey(proto: onnx.ModelProto) -> Survey:
    """Walks over a file."""
    found = Survey()
    _graph(proto.graph, found)
    rest = Survey(external=found.external)
    for info in proto.training_info:
        _graph(info.algorithm, rest)
        _graph(info.initialization, rest)
    for function in proto.functions:
        for node in function.node:
            _attributes(node, rest)
    found.external = rest.external
    return found


def _graph(graph: onnx.GraphProto, found: Survey) -> None:
    if graph.sparse_initializer:
        found.sparse = True
    for tensor in graph.initializer:
        if tensor.data_location == _EXTERNAL:
            found.external = True
    nodes = graph.node
    later = {name for node in nodes for name in node.output}
    later.discard("")
    for node in nodes:
        found.operators.add((node.domain, node.op_type))
        names: set[str] = set()
        if node.attribute:
            names = _attributes(node, found)
        if not later.isdisjoint(node.input) or (names and not later.isdisjoint(names)):
            found.ordered = False
        later.difference_update(node.output)


def _attributes(node: onnx.NodeProto, found: Survey) -> set[str]:
    """What the graphs among a node's attributes read from outside."""
    names: set[str] = set()
    for attr in node.attribute:
        kind = attr.type
        if kind == _A.TENSOR:
            if attr.t.data_location == _EXTERNAL:
                found.external = True
        elif kind in (_A.GRAPH, _A.GRAPHS):
            found.nested = True
            for inner in (attr.g, *attr.graphs):
                _graph(inner, found)
                names |= outer_names(inner)
        elif kind == _A.SPARSE_TENSOR:
            found.sparse = True
    return names


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs_of(inner)


def outer_names(graph: onnx.GraphProto) -> set[str]:
    """The names that a graph in a node reads, but for its own."""
    names = {value.name for value in graph.output}
    for node in graph.node:
        names |= reads(node)
    return names - _made(graph)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds."""
    for attr in node.attribute:
        if attr.type == _A.GRAPH:
            yield attr.g
        elif attr.type == _A.GRAPHS:
            yield from attr.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, names that its subgraphs capture included."""
    names = set(node.input)
    for graph in subgraphs(node):
        names |= outer_names(graph)
    return names - {""}


def _made(graph: onnx.GraphProto) -> set[str]:
    made = {value.name for value in graph.input} | {t.name for t in graph.initializer}
    made.update(t.values.name for t in graph.sparse_initializer)
    return made.union(*(node.output for node in graph.node))
