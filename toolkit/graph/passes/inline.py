"""Inlining of model-local functions."""

from __future__ import annotations

import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.edit import Edit, Names, where
from toolkit.graph.infer import GraphInference
from toolkit.graph.schema_functions import inline_function

_MAX_DEPTH = 100


class InlineFunctionsPass(ir.passes.InPlacePass):
    """Replaces calls of model-local functions by their bodies.

    1. `y = f(x; a)` -> the nodes of f's body with x, a for its inputs and attributes, in subgraphs
       and in bodies that were just written too.
    2. Functions of the `toolkit.*` domains stay calls unless `composites` is set.
    3. Functions without a call left are removed.
    """

    def __init__(self, composites: bool = False) -> None:
        super().__init__()
        self.composites = composites

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        chosen = {
            key: function
            for key, function in model.functions.items()
            if self.composites or not function.domain.startswith("toolkit.")
        }
        if not chosen:
            return ir.passes.PassResult(model, False)
        names, inference = Names(model.graph), GraphInference(model.functions, False)
        inference.opsets = model.graph.opset_imports
        changed = _inline_calls(model.graph, chosen, names, inference)
        for function in model.functions.values():
            if function.identifier() in chosen:
                continue
            inner = GraphInference(model.functions, False)
            inner.opsets = function.opset_imports
            changed |= _inline_calls(function.graph, chosen, Names(function.graph), inner, True)
        for key, function in chosen.items():
            for domain, version in function.opset_imports.items():
                model.graph.opset_imports.setdefault(domain, version)
            del model.functions[key]
        return ir.passes.PassResult(model, changed or bool(chosen))


def _inline_calls(
    graph: ir.Graph,
    functions: dict[tuple[str, str, str], ir.Function],
    names: Names,
    inference: GraphInference,
    in_function: bool = False,
) -> bool:
    edit = Edit(graph, names, inference, in_function)
    changed = False
    pending = [(node, 0) for node in reversed(list(graph))]
    while pending:
        node, depth = pending.pop()
        for attr in node.attributes.values():
            if attr.type == ir.AttributeType.GRAPH and not attr.is_ref():
                changed |= _inline_calls(attr.as_graph(), functions, names, inference, in_function)
        function = functions.get(node.op_identifier())
        if function is None:
            continue
        if depth >= _MAX_DEPTH:
            need = f"functions nested less than {_MAX_DEPTH} deep are required"
            raise InvalidModelError(f"{where(node)}: {need}, got a function that calls itself.")
        new = inline_function(node, function, edit)
        pending.extend((n, depth + 1) for n in reversed(new))
        changed = True
    return changed
