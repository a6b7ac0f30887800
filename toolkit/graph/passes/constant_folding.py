"""Constant folding. Execution is handed in: this layer runs nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import ToolkitError
from toolkit.graph.edit import constant_of, names
from toolkit.graph.held import held, initializer
from toolkit.graph.infer import GraphInference
from toolkit.graph.walk import subgraphs

Array = np.ndarray[Any, Any]
Evaluate = Callable[[ir.Node, Sequence[Array | None]], Sequence[Array]]
"""Runs one node on arrays; may raise a `ToolkitError` for a node that it cannot run."""

_NEVER = names(
    """
    Bernoulli Constant DequantizeLinear Dropout DynamicQuantizeLinear Multinomial QuantizeLinear
    RandomNormal RandomNormalLike RandomUniform RandomUniformLike
    """
)


class ConstantFoldingPass(ir.passes.InPlacePass):
    """Computes what does not depend on the inputs.

    1. `Constant` in the main graph -> an initializer of the same name.
    2. A value that shape arithmetic fixes (`Shape` of known dimensions, `Gather`, `Concat`, ... of
       such) -> a constant.
    3. With `evaluate`: a node all of whose inputs are constants -> constants, if they hold at most
       `limit` elements or no more than the inputs did.
    4. Never: random operators, quantization (its constants are smaller), nodes with subgraphs,
       nodes of other domains, values of the graph's outputs.

    Args:
        evaluate: Runs one node; without it only rules 1 and 2 hold.
        limit: The most elements of a result that is larger than the inputs.
        inference: What inferred the nodes as they are; without, they are inferred again.
    """

    def __init__(
        self,
        evaluate: Evaluate | None = None,
        limit: int = 65536,
        inference: GraphInference | None = None,
    ) -> None:
        super().__init__()
        self.evaluate = evaluate
        self.limit = limit
        self.inference = None if evaluate else inference  # What is evaluated tells more.

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        inference = self.inference or GraphInference(model.functions, False)
        changed = self._graph(model.graph, inference, True)
        return ir.passes.PassResult(model, changed)

    def _graph(self, graph: ir.Graph, inference: GraphInference, main: bool) -> bool:
        changed = False
        inference.opsets = inference.opsets or graph.opset_imports
        again = inference is not self.inference
        if again:
            inference.describe(graph)
        for node in tuple(graph):
            for inner in subgraphs(node):
                changed |= self._graph(inner, inference, False)
            if again and not (main and node.op_type == "Constant"):  # Which becomes an initializer.
                inference.node(node)
            changed |= self._node(graph, node, inference, main)
        return changed

    def _node(self, graph: ir.Graph, node: ir.Node, inference: GraphInference, main: bool) -> bool:
        if node.domain or any(v.is_graph_output() for v in node.outputs):
            return False
        if node.op_type == "Constant":
            array = constant_of(node.outputs[0]) if main else None
            return array is not None and _replace(graph, node, [array], main)
        known = inference.known.get(node.outputs[0])
        if known is not None and known.dtype != object and len(node.outputs) == 1:
            return _replace(graph, node, [known], main)
        results = self._run(node)
        return results is not None and _replace(graph, node, results, main)

    def _run(self, node: ir.Node) -> Sequence[Array] | None:
        if self.evaluate is None or node.op_type in _NEVER:
            return None
        if any(
            a.is_ref() or a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for a in node.attributes.values()
        ):
            return None
        inputs: list[Array | None] = []
        for value in node.inputs:
            array = None if value is None else constant_of(value)
            if value is not None and (array is None or array.dtype == object):
                return None
            inputs.append(array)
        if not inputs:
            return None
        try:
            results = self.evaluate(node, inputs)
        except ToolkitError:
            return None  # The runtime names the mistake when the node is run.
        given = sum(a.size for a in inputs if a is not None)
        made = sum(a.size for a in results)
        return results if made <= max(self.limit, given) else None


def _replace(graph: ir.Graph, node: ir.Node, arrays: Sequence[Array], main: bool) -> bool:
    """Puts constants in place of the node's outputs: initializers, or Constant nodes inside."""
    for value, array in zip(node.outputs, arrays, strict=False):
        name = value.name
        if not name:
            continue
        value.name = None
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        if main:
            new = initializer(name, array)
            graph.register_initializer(new)
        else:
            tensor = held(array, name)
            constant = ir.node("Constant", [], {"value": tensor})
            new = constant.outputs[0]
            new.name = name
            new.type, new.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
            graph.insert_before(node, constant)
        value.replace_all_uses_with(new)
    graph.remove(node, safe=True)
    return True
