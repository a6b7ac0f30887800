"""Write a copy of a function's body in place of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder
from toolkit.graph.subgraphs import copy

Functions = Mapping[tuple[str, str, str], ir.Function]


def body_of(node: ir.Node, functions: Functions | None = None) -> ir.Function | None:
    """The body of a node: the model's own function, a composite's, or the schema's; else None."""
    found = (functions or {}).get(node.op_identifier())
    if found is not None:
        return found
    if node.domain.startswith("toolkit."):
        from toolkit.graph import functions as composites

        return composites.instantiate(node.domain, node.op_type, node.attributes, node.inputs)
    from toolkit.graph.schema_functions import body_of_node

    return body_of_node(node)


def emit(
    b: Builder,
    function: ir.Function,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, ir.Attr],
) -> list[ir.Value | None]:
    """Write the body of `function` through `b`.

    Args:
        b: where to write.
        function: its nodes are copied, it is not changed.
        inputs: the call's inputs, None where left out.
        attributes: the call's attributes.

    Returns:
        The values of the function's outputs.
    """
    values: dict[Any, ir.Value | None] = {None: None, **dict.fromkeys(function.inputs)}
    values.update(zip(function.inputs, inputs, strict=False))
    for value in function.graph.initializers.values():
        assert value.const_value is not None
        values[value] = b.const(value.const_value.numpy())
    for node in function:
        bound = bind_attributes(node, function, attributes)
        if node.op_type == "Constant" and not node.domain:
            values[node.outputs[0]] = b.const(_constant(bound))
            continue
        for name, attribute in bound.items():
            if attribute.type == ir.AttributeType.GRAPH:
                known = {**function.attributes, **attributes}
                inner, _ = copy(attribute.as_graph(), values, known)
                bound[name] = ir.AttrGraph(name, inner)
        operands = [values.get(v, v) for v in node.inputs]  # A body may read outer values.
        results = b.call(node.domain, node.op_type, operands, bound, len(node.outputs))
        outputs = results if isinstance(results, Sequence) else (results,)
        values.update(zip(node.outputs, outputs, strict=True))
    return [values[v] for v in function.outputs]


def bind_attributes(
    node: ir.Node, function: ir.Function, given: Mapping[str, ir.Attr]
) -> dict[str, ir.Attr]:
    """The node's attributes with references to the function's attributes resolved."""
    bound = {}
    for name, attribute in node.attributes.items():
        if not attribute.is_ref():
            bound[name] = attribute
            continue
        reference = str(attribute.ref_attr_name)
        source = given.get(reference)
        if source is None:
            source = function.attributes.get(reference)
        if source is not None and source.value is not None:
            bound[name] = ir.Attr(name, source.type, source.value)
    return bound


def _constant(attributes: Mapping[str, ir.Attr]) -> object:
    import numpy as np

    for name, attribute in attributes.items():
        if name == "value":
            return attribute.as_tensor().numpy()
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, np.float32)
    raise UnsupportedOperatorError("Constant: a tensor or numbers are required, got strings.")
