"""Removal of what no output needs."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from toolkit.graph.infer import OPSET
from toolkit.graph.walk import graphs_of, subgraphs

_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


class DeadCodePass(ir.passes.InPlacePass):
    """Removes what no output needs; the model's inputs stay.

    1. A node none of whose outputs is used is removed, in subgraphs and functions too.
    2. An optional output that is not used is left out; so are absent inputs at the end.
    3. An initializer that is not used, and is no input, is removed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        changed = _prune(model.graph)
        for function in model.functions.values():
            changed |= _prune(function.graph)
        for graph in graphs_of(model):
            for name, value in tuple(graph.initializers.items()):
                if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                    del graph.initializers[name]
                    changed = True
        return ir.passes.PassResult(model, changed)


def _prune(graph: ir.Graph) -> bool:
    changed = False
    for node in reversed(graph):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
            changed = True
            continue
        count = len(node.inputs)
        while count and node.inputs[count - 1] is None:
            count -= 1
        node.resize_inputs(count)
        if len(node.outputs) > 1:
            _leave_out(node)
        for inner in subgraphs(node):
            changed |= _prune(inner)
    return changed


def _leave_out(node: ir.Node) -> None:
    """Rule 2. BatchNormalization that trains computes its first output otherwise without them."""
    if node.domain or (
        node.op_type == "BatchNormalization"
        and (mode := node.attributes.get("training_mode")) is not None
        and (mode.is_ref() or mode.as_int())
    ):
        return
    try:
        formal = onnx.defs.get_schema(node.op_type, OPSET).outputs
    except onnx.defs.SchemaError:
        return
    for value, output in zip(node.outputs, formal, strict=False):
        if output.option == _OPTIONAL and not value.uses() and not value.is_graph_output():
            value.name = ""
    count = len(node.outputs)
    while not node.outputs[count - 1].name:
        count -= 1
    node.resize_outputs(count)
