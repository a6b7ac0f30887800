"""Brings a loaded model of any opset to the canonical one.

One walk in topological order: each node goes through the adapters of its operator, one for each
opset that changed its meaning, and is inferred, so that the next nodes' adapters know ranks and
element types. Adapters stand by family, one file each. Absent: ATen and LoopIndexTensor, which were
experimental in opset 1 and have no meaning of their own.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping, MutableMapping

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError, UnsupportedOperatorError
from toolkit.graph.edit import Edit, Names, run_rule, where
from toolkit.graph.infer import OPSET as CANONICAL_OPSET
from toolkit.graph.infer import GraphInference
from toolkit.graph.upgrade.registry import adapter, next_adapter
from toolkit.graph.walk import inner_graphs, subgraphs

__all__ = ["CANONICAL", "CANONICAL_OPSET", "adapter", "upgrade", "upgrade_function"]

CANONICAL = {"": CANONICAL_OPSET, "ai.onnx.ml": 5}
"""The canonical opset of each domain that has adapters.

The tree ensembles that `ai.onnx.ml` 5 deprecates stay operators of their own.
"""

for _family in pkgutil.iter_modules(__path__):  # Imported to register.
    importlib.import_module(f"{__name__}.{_family.name}")


def upgrade(model: ir.Model) -> GraphInference:
    """Rewrites `model` in place to `CANONICAL_OPSET` and infers its types and shapes.

    Returns:
        What inferred the nodes as they are now, with the values that it found.

    Raises:
        UnsupportedOperatorError: A node of an old opset has no equal at the canonical one.
        InvalidModelError: A node is not what its opset wants.
    """
    for function in model.functions.values():
        upgrade_function(function)
    versions = _versions(model.graph.opset_imports)
    inference = GraphInference(model.functions, strict=False)
    inference.opsets = _canonical(model.graph.opset_imports)
    _graph(model.graph, versions, Names(model.graph), inference, in_function=False)
    for graph in (model.graph, *inner_graphs(model.graph)):
        graph.opset_imports[""] = CANONICAL_OPSET
        _import_canonical(graph.opset_imports)
    return inference


def upgrade_function(function: ir.Function) -> None:
    """Rewrites a function's body in place to `CANONICAL`.

    Raises:
        UnsupportedOperatorError: As `upgrade`.
    """
    versions = _versions(function.opset_imports)
    inference = GraphInference({}, strict=False)
    inference.opsets = _canonical(function.opset_imports)
    _graph(function.graph, versions, Names(function.graph), inference, in_function=True)
    _import_canonical(function.opset_imports)


def _versions(imports: Mapping[str, int]) -> dict[str, int]:
    """The opsets to start from; "ai.onnx" is another name of the standard domain."""
    versions = {"" if domain == "ai.onnx" else domain: v for domain, v in imports.items()}
    # A model before IR version 3 names no opset: it is opset 1.
    versions.setdefault("", CANONICAL_OPSET if imports else 1)
    return versions


def _canonical(imports: Mapping[str, int]) -> dict[str, int]:
    return {**imports, **CANONICAL}


def _import_canonical(imports: MutableMapping[str, int]) -> None:
    if "ai.onnx" in imports:
        imports[""] = imports.pop("ai.onnx")
    for domain, version in CANONICAL.items():
        if domain in imports:
            imports[domain] = version


def _graph(
    graph: ir.Graph,
    versions: Mapping[str, int],
    names: Names,
    inference: GraphInference,
    in_function: bool,
) -> None:
    edit = Edit(graph, names, inference, in_function)
    inference.describe(graph)
    stale = any(v < CANONICAL.get(domain, 0) for domain, v in versions.items())
    for node in tuple(graph):
        if stale:
            for inner in subgraphs(node):
                _graph(inner, versions, names, inference, in_function)
            version = versions.get(node.domain, CANONICAL_OPSET)
            if version < CANONICAL.get(node.domain, 0):
                _adapt(edit, node, version)
        if node.graph is not None:
            _require_operator(node, inference)
            inference.node(node)


def _require_operator(node: ir.Node, inference: GraphInference) -> None:
    """ONNX's checker lets experimental operators pass."""
    if node.domain or _exists(node.op_type):
        return
    if node.op_identifier() not in inference.functions:
        need = f"an operator of opset {CANONICAL_OPSET}, or one that it replaces, is required"
        raise UnsupportedOperatorError(f"{where(node)}: {need}, got {node.op_type}.")


@functools.cache
def _exists(op_type: str) -> bool:
    try:
        return not onnx.defs.get_schema(op_type, CANONICAL_OPSET).deprecated
    except onnx.defs.SchemaError:
        return False


def _adapt(edit: Edit, node: ir.Node, version: int) -> None:
    """Runs the node through its adapters, from `version` up."""
    edit.at(node)
    node.version = None
    if not node.domain and version < 6:
        node.attributes.pop("consumed_inputs", None)  # A hint for in-place reuse.
    while (
        node.graph is not None
        and (step := next_adapter(node.op_type, version, node.domain)) is not None
    ):
        version, rule = step
        run_rule(rule, edit, InvalidModelError, f"a well-formed node of an opset below {version}")
