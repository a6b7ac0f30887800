"""Operators of onnxruntime (com.microsoft), written out as ONNX's own when a model is loaded.

The table is op -> body, one family a module: what onnxruntime's optimizer, quantizer and
transformers tool write, and the operators of onnxruntime-training 1.19. A body writes standard
operators and `toolkit.grad.*` composites. An operator without a body stays as it is; who runs it
says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.contrib.adopt import adopt, nodes_of
from toolkit.graph.contrib.registry import DOMAIN, NCHWC, Call, Origin, bodies, contrib
from toolkit.graph.functions import take_places
from toolkit.graph.infer import GraphInference
from toolkit.graph.passes import inline_functions
from toolkit.graph.passes.dead_code import DeadCodePass
from toolkit.graph.walk import subgraphs

__all__ = ["DOMAIN", "NCHWC", "adopt", "bodies", "contrib", "nodes_of", "write_out"]


def write_out(model: ir.Model) -> None:
    """Replaces the nodes of com.microsoft that have a body, in place.

    Args:
        model: at the canonical opset; what follows from the new nodes' types is inferred.

    Raises:
        UnsupportedOperatorError: a node cannot be written out, as its inputs' ranks are unknown.
    """
    if any(_has_body(n) for f in model.functions.values() for n in f.all_nodes()):
        inline_functions(model)
    inference = GraphInference(model.functions, strict=False)
    inference.opsets = model.opset_imports
    if _graph(model.graph, inference, {}):
        DeadCodePass()(model)
    left = {node.domain for node in model.graph.all_nodes()}
    for domain in (DOMAIN, NCHWC):
        if domain not in left:
            model.opset_imports.pop(domain, None)


def _has_body(node: ir.Node) -> bool:
    return node.op_type in bodies(node.domain)


def _graph(graph: ir.Graph, inference: GraphInference, origins: dict[ir.Value, Origin]) -> bool:
    """Whether anything was replaced in the graph or its subgraphs."""
    changed = False
    b = Builder(graph)
    inference.describe(graph)
    for node in tuple(graph):
        for inner in subgraphs(node):
            changed |= _graph(inner, inference, origins)
        if _has_body(node):
            b.before = node
            _node(Call(b, node, origins), origins)
            changed = True
        elif changed:
            inference.node(node)
    return changed


def _node(call: Call, origins: dict[ir.Value, Origin]) -> None:
    node = call.node
    origin = Origin(node.op_type, tuple(node.inputs), dict(node.attributes))
    with arithmetic(call.b):
        results = bodies(node.domain)[node.op_type](call, *node.inputs)
    results = results if isinstance(results, Sequence) else (results,)
    missing = [v.name for i, v in enumerate(node.outputs)
               if call.wants(i) and (i >= len(results) or results[i] is None)]  # fmt: skip
    if missing:
        raise call.fail(f"{len(results)} outputs at most are required", f"{missing} besides")
    origins.update({v: origin for v in results if v is not None})
    assert node.graph is not None
    take_places(call.b, node, results)
