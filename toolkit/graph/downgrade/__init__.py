"""Brings a model at the canonical opset down to the one that an export asks for.

For each node, from the newest version of its operator down to the one that the target opset has:
1. a rule of `downgrade/` where attributes became inputs or the meaning changed;
2. else, attributes that the older version lacks must hold their defaults, inputs that it lacks
   must be absent, and the element types must be among its own;
3. where that fails, or no older version exists, the operator is expanded by its schema's body;
4. else the node is refused.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, ToolkitError, UnsupportedOperatorError
from toolkit.graph.downgrade.attributes import count_axes_from_front
from toolkit.graph.downgrade.ml import ML, oldest_version
from toolkit.graph.downgrade.registry import before, rule_of
from toolkit.graph.edit import Edit, Names, call_of, run_rule, set_inputs, where
from toolkit.graph.infer import OPSET, GraphInference
from toolkit.graph.schema_functions import inline_schema_function
from toolkit.graph.shapes.node import check_inputs, check_outputs

__all__ = ["MIN_EXPORT_OPSET", "before", "downgrade"]

for _family in pkgutil.iter_modules(__path__):  # Imported to register.
    importlib.import_module(f"{__name__}.{_family.name}")

MIN_EXPORT_OPSET = 7


def downgrade(model: ir.Model, opset: int) -> None:
    """Rewrites `model`, which is at the canonical opset, in place to `opset`.

    Raises:
        InvalidArgumentError: No such opset, or one below `MIN_EXPORT_OPSET`.
        UnsupportedOperatorError: A node cannot be expressed at `opset`.
    """
    if not MIN_EXPORT_OPSET <= opset <= OPSET:
        need = f"an opset from {MIN_EXPORT_OPSET} to {OPSET} is required"
        raise InvalidArgumentError(f"export: {need}, got {opset}.")
    for function in model.functions.values():
        if function.opset_imports.get("", opset) > opset:
            _graph(function.graph, opset, Names(function.graph), GraphInference({}, False), True)
            function.opset_imports[""] = opset
    inference = GraphInference(model.functions, False)
    _graph(model.graph, opset, Names(model.graph), inference, False)
    for graph in (model.graph, *model.graph.subgraphs()):
        graph.opset_imports[""] = opset
    scopes: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for scope in scopes:
        if ML in scope.opset_imports:
            scope.opset_imports[ML] = oldest_version(scope)


def _graph(
    graph: ir.Graph, opset: int, names: Names, inference: GraphInference, in_function: bool
) -> None:
    edit = Edit(graph, names, inference, in_function)
    inference.opsets = {**graph.opset_imports, "": OPSET}
    pending = list(reversed(list(graph)))
    while pending:
        node = pending.pop()
        if node.domain or node.graph is None:
            continue
        for attr in node.attributes.values():
            if attr.type == ir.AttributeType.GRAPH and not attr.is_ref():
                _graph(attr.as_graph(), opset, names, inference, in_function)
        pending.extend(reversed(_node(edit, node, opset)))
    if not in_function:
        _drop_folded(graph, edit)


def _node(edit: Edit, node: ir.Node, opset: int) -> list[ir.Node]:
    """Takes one node down; gives the nodes written in its place, still to be taken down."""
    edit.at(node)
    version = _since(node.op_type, OPSET)
    if version is None:
        raise UnsupportedOperatorError(f"{where(node)}: an operator of ONNX is required.")
    before_rules = (node.op_type, dict(node.attributes), node.inputs)
    try:
        while version > opset:
            older = _since(node.op_type, version - 1)
            rule = rule_of(node.op_type, version)
            if rule is not None:
                need = f"a well-formed node of opset {version}"
                run_rule(rule, edit, UnsupportedOperatorError, need)
                if node.graph is None:
                    break
                older = _since(node.op_type, version - 1)  # It may have another name now.
            if older is None:
                raise edit.fail(f"opset {version} is required", f"{opset}")
            _accept(edit, older, version)
            if older < 11 <= version:
                need = "an axis within the rank"
                run_rule(count_axes_from_front, edit, UnsupportedOperatorError, need)
            version = older
    except ToolkitError as refusal:
        _restore(node, *before_rules)
        edit.graph.remove(reversed(edit.added), safe=True)
        expanded = inline_schema_function(node, edit)
        if expanded is None:
            raise _refusal(opset, refusal) from None
        return expanded
    return edit.added


def _restore(
    node: ir.Node,
    op_type: str,
    attributes: dict[str, ir.Attr],
    inputs: Sequence[ir.Value | None],
) -> None:
    node.op_type = op_type
    node.attributes.clear()
    node.attributes.update(attributes)
    set_inputs(node, inputs)


def _refusal(opset: int, reason: ToolkitError) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{reason} It cannot be exported to opset {opset}: ask for a newer one, opset={OPSET}, or "
        "leave the operator out of the model."
    )


def _since(op_type: str, opset: int) -> int | None:
    """The version of an operator that an opset has; one that is deprecated there is none."""
    try:
        schema = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else int(schema.since_version)


def _accept(edit: Edit, version: int, newer: int) -> None:
    """Checks a node of `newer` against `version`; drops attributes that say the default."""
    node = edit.node
    schema = onnx.defs.get_schema(node.op_type, version)
    newest = onnx.defs.get_schema(node.op_type, OPSET).attributes
    for name in list(node.attributes):
        if name in schema.attributes:
            continue
        attr = node.attributes[name]
        default = newest[name].default_value if name in newest else None
        if attr.is_ref() or default is None or not _is_default(name, attr, default):
            need = f"{name} must hold its default before opset {newer}"
            raise edit.fail(need, repr(attr.value))
        node.attributes.pop(name)
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    if len(node.outputs) > schema.max_output:
        if any(edit.is_used(k) for k in range(schema.max_output, len(node.outputs))):
            need = f"at most {schema.max_output} outputs are required at opset {version}"
            raise edit.fail(need, str(len(node.outputs)))
        node.resize_outputs(schema.max_output)
    call = call_of(node)
    check_inputs(call, schema)
    check_outputs(call, schema, node.outputs)


def _is_default(name: str, attr: ir.Attr, default: onnx.AttributeProto) -> bool:
    if not default.name:
        return name == "dilations" and set(attr.value) == {1}
    value = onnx.helper.get_attribute_value(default)
    if isinstance(value, bytes):
        value = value.decode()
    given = attr.value.decode() if isinstance(attr.value, bytes) else attr.value
    return bool(given == value)


def _drop_folded(graph: ir.Graph, edit: Edit) -> None:
    """Removes constants that became attributes."""
    for name in edit.folded:
        value = graph.initializers.get(name)
        if value is None or value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        del graph.initializers[name]
    for node in reversed(list(graph)):
        value = node.outputs[0]
        if node.op_type != "Constant" or node.domain or value.name not in edit.folded:
            continue
        if not value.uses() and not value.is_graph_output():
            graph.remove(node, safe=True)
