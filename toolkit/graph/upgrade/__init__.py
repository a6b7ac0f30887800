"""Brings a loaded model of any opset to the canonical one.

One walk in topological order: each node goes through the adapters of its operator, one for each
opset that changed its meaning, and is inferred, so that the next nodes' adapters know ranks and
element types. Adapters stand by family, one file each. Absent: opset 8's Scan (its batch axis),
experimental operators of opset 1, and the operators of `ai.onnx.ml`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import onnx_ir as ir

from toolkit.graph.edit import Edit, Names
from toolkit.graph.infer import OPSET as CANONICAL_OPSET
from toolkit.graph.infer import GraphInference
from toolkit.graph.upgrade.registry import adapter, next_adapter

__all__ = ["CANONICAL_OPSET", "adapter", "upgrade", "upgrade_function"]

for _family in pkgutil.iter_modules(__path__):  # Imported to register.
    importlib.import_module(f"{__name__}.{_family.name}")


def upgrade(model: ir.Model) -> None:
    """Rewrites `model` in place to `CANONICAL_OPSET` and infers its types and shapes.

    Raises:
        UnsupportedOperatorError: A node of an old opset has no equal at the canonical one.
    """
    for function in model.functions.values():
        upgrade_function(function)
    version = _version(model.graph.opset_imports)
    inference = GraphInference(model.functions, strict=False)
    inference.opsets = _canonical(model.graph.opset_imports)
    _graph(model.graph, version, Names(model.graph), inference, in_function=False)
    for graph in (model.graph, *model.graph.subgraphs()):
        graph.opset_imports[""] = CANONICAL_OPSET


def upgrade_function(function: ir.Function) -> None:
    """Rewrites a function's body in place to `CANONICAL_OPSET`.

    Raises:
        UnsupportedOperatorError: As `upgrade`.
    """
    version = _version(function.opset_imports)
    inference = GraphInference({}, strict=False)
    inference.opsets = _canonical(function.opset_imports)
    _graph(function.graph, version, Names(function.graph), inference, in_function=True)
    if "" in function.opset_imports:
        function.opset_imports[""] = CANONICAL_OPSET


def _version(imports: Mapping[str, int]) -> int:
    # A model before IR version 3 names no opset: it is opset 1.
    return imports.get("", 1 if not imports else CANONICAL_OPSET)


def _canonical(imports: Mapping[str, int]) -> dict[str, int]:
    return {**imports, "": CANONICAL_OPSET}


def _graph(
    graph: ir.Graph, version: int, names: Names, inference: GraphInference, in_function: bool
) -> None:
    edit = Edit(graph, names, inference, in_function)
    inference.describe(graph)
    for node in tuple(graph):
        if not node.domain and version < CANONICAL_OPSET:
            for inner in _subgraphs(node):
                _graph(inner, version, names, inference, in_function)
            _adapt(edit, node, version)
        if node.graph is not None:
            inference.node(node)


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attr in node.attributes.values():
        if attr.type == ir.AttributeType.GRAPH and not attr.is_ref():
            found.append(attr.as_graph())
        elif attr.type == ir.AttributeType.GRAPHS and not attr.is_ref():
            found.extend(attr.as_graphs())
    return found


def _adapt(edit: Edit, node: ir.Node, version: int) -> None:
    """Runs the node through its adapters, from `version` up."""
    edit.at(node)
    node.version = None
    if version < 6:
        node.attributes.pop("consumed_inputs", None)  # A hint for in-place reuse.
    while node.graph is not None and (step := next_adapter(node.op_type, version)) is not None:
        version, rule = step
        rule(edit)
