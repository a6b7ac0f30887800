"""Removal of nodes that give their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import constant_of
from toolkit.graph.shapes.registry import is_known
from toolkit.graph.walk import graphs_of

_RULES: dict[str, Callable[[ir.Node], bool]] = {}


class NoOpPass(ir.passes.InPlacePass):
    """Replaces the output of a node that gives its input by that input.

    1. `Identity(x)`; `Dropout(x)` that does not train and whose mask is not used.
    2. `Cast(x)` to x's own type; `Transpose(x)` that leaves the axes where they are.
    3. `Reshape`, `Expand`, `Flatten`, `Squeeze`, `Unsqueeze` to x's own shape; `Pad` by nothing.
    4. `Concat`, `Sum`, `Mean`, `Max`, `Min` of one input.
    5. `x * 1`, `x / 1`, `x - 0` where the number does not widen x's shape.

    A graph's output keeps its name: x takes it over, unless x is an input, an initializer, another
    output or a value of an outer graph; then the node stays.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        changed = False
        for graph in graphs_of(model):
            for node in graph:
                rule = _RULES.get(node.op_type) if not node.domain else None
                if rule is not None and node.inputs and node.inputs[0] is not None and rule(node):
                    changed |= _bypass(graph, node)
        return ir.passes.PassResult(model, changed)


def _bypass(graph: ir.Graph, node: ir.Node) -> bool:
    """Puts the node's input in place of its output, where that is allowed."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if y.is_graph_output():
        producer = x.producer()
        if producer is None or producer.graph is not graph or x.is_graph_output():
            return False
        name, y.name = y.name, None
        x.name = name
    if x.type is None:
        x.type = y.type
    if x.shape is None:
        x.shape = y.shape
    ir.convenience.replace_all_uses_with(y, x, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True


def _rule(*op_types: str) -> Callable[[Callable[[ir.Node], bool]], Callable[[ir.Node], bool]]:
    def register(function: Callable[[ir.Node], bool]) -> Callable[[ir.Node], bool]:
        _RULES.update(dict.fromkeys(op_types, function))
        return function

    return register


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _constant(node: ir.Node, index: int) -> np.ndarray[Any, Any] | None:
    value = _input(node, index)
    return None if value is None else constant_of(value)


@_rule("Identity")
def _identity(node: ir.Node) -> bool:
    return True


@_rule("Dropout")
def _dropout(node: ir.Node) -> bool:
    used = [v for v in node.outputs[1:] if v.uses() or v.is_graph_output()]
    training = _constant(node, 2)
    return not used and (_input(node, 2) is None or (training is not None and not training.any()))


@_rule("Cast")
def _cast(node: ir.Node) -> bool:
    to, x = node.attributes.get("to"), node.inputs[0]
    return to is not None and not to.is_ref() and x is not None and x.dtype == to.as_int()


@_rule("Transpose")
def _transpose(node: ir.Node) -> bool:
    perm, x = node.attributes.get("perm"), node.inputs[0]
    if perm is None:
        return x is not None and x.shape is not None and len(x.shape) <= 1
    return not perm.is_ref() and list(perm.as_ints()) == list(range(len(perm.as_ints())))


@_rule("Reshape", "Expand", "Flatten", "Squeeze", "Unsqueeze")
def _same_shape(node: ir.Node) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or y.shape is None:
        return False
    return all(map(is_known, x.shape.dims)) and tuple(x.shape.dims) == tuple(y.shape.dims)


@_rule("Pad")
def _pad(node: ir.Node) -> bool:
    pads = _constant(node, 1)
    return pads is not None and not pads.any()


@_rule("Concat", "Sum", "Mean", "Max", "Min")
def _one_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


@_rule("Mul", "Div", "Sub")
def _neutral(node: ir.Node) -> bool:
    x, other = node.inputs[0], _constant(node, 1)
    if x is None or x.shape is None or other is None or other.size != 1:
        return False
    neutral = 0 if node.op_type == "Sub" else 1
    return other.ndim <= len(x.shape) and bool(other.reshape(()) == neutral)
