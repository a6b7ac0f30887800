"""Common subexpressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import RECOMPUTED
from toolkit.graph.edit import constant_of
from toolkit.graph.walk import graphs_of

_RANDOM = frozenset(
    [
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    ]
)
_MAX_TENSOR = 1024


class CommonSubexpressionPass(ir.passes.InPlacePass):
    """Computes once what is computed twice.

    1. Two nodes of one graph with the same operator, inputs and attributes -> the first.
    2. Constant nodes and small initializers of the same value are the same input.
    3. Never: random operators, Dropout that trains, nodes with subgraphs, large tensor attributes;
       a node of a checkpoint, which is computed again to save memory, and the one it repeats.

    A node whose output is a graph's output stays: names of outputs are the model's interface.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        changed = False
        for graph in graphs_of(model):
            changed |= _merge(graph)
        return ir.passes.PassResult(model, changed)


def _merge(graph: ir.Graph) -> bool:
    changed = False
    seen: dict[Any, ir.Node] = {}
    constants: dict[Any, ir.Value] = {}
    for value in list(graph.initializers.values()):
        key = _constant_key(value)
        if key is None:
            continue
        first = constants.setdefault(key, value)
        if first is not value and not value.is_graph_output():
            ir.convenience.replace_all_uses_with(value, first)
            changed = True
    alike: dict[Any, list[ir.Node]] = {}
    for node in graph:
        others = alike.setdefault((node.op_type, node.inputs), [])
        others.append(node)
        if len(others) == 1:
            continue  # Most: no key is needed.
        if len(others) == 2 and (key := node_key(others[0])) is not None:
            seen.setdefault(key, others[0])
        key = node_key(node)
        if key is None:
            continue
        first_node = seen.setdefault(key, node)
        if first_node is node or any(v.is_graph_output() for v in node.outputs):
            continue
        for old, new in zip(node.outputs, first_node.outputs, strict=True):
            old.replace_all_uses_with(new)
        graph.remove(node, safe=True)
        changed = True
    return changed


def _constant_key(value: ir.Value) -> Any:
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or tensor.dtype == ir.DataType.STRING:
        return None
    if tensor.size > 16 or not value.uses():  # A parameter may be trained: small ones too.
        return None
    if tensor.dtype not in (ir.DataType.INT64, ir.DataType.BOOL):
        return None
    array = constant_of(value)
    return None if array is None else _array_key(array)


def _array_key(array: np.ndarray[Any, Any]) -> Any:
    return (str(array.dtype), array.shape, array.tobytes())


def node_key(node: ir.Node) -> Any:
    """Equal for nodes that compute the same; None where that cannot be told."""
    if not node.domain and (node.op_type in _RANDOM or _trains(node)):
        return None
    attributes: list[tuple[str, Any, Any]] = []
    for name, attr in node.attributes.items():
        if attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            return None
        if attr.is_ref():
            attributes.append((name, "ref", attr.ref_attr_name))
            continue
        value = attr.value
        if attr.type == ir.AttributeType.TENSOR:
            if value.size > _MAX_TENSOR or value.dtype == ir.DataType.STRING:
                return None
            value = _array_key(np.asarray(value.numpy()))
        elif isinstance(value, (list, tuple)):
            value = tuple(value)
        elif attr.type not in (
            ir.AttributeType.INT,
            ir.AttributeType.FLOAT,
            ir.AttributeType.STRING,
        ):
            return None
        attributes.append((name, attr.type, value))
    inputs = tuple(None if v is None else id(v) for v in node.inputs)
    outputs = tuple(v.name == "" for v in node.outputs)
    again = node.metadata_props.get(RECOMPUTED)
    try:
        sorted_attributes = tuple(sorted(attributes, key=lambda a: a[0]))
        key = (node.op_identifier(), inputs, outputs, sorted_attributes, again)
        hash(key)
    except TypeError:
        return None
    return key


def _trains(node: ir.Node) -> bool:
    return node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None
