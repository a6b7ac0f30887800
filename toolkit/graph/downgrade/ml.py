"""The version of `ai.onnx.ml` that an export imports: the oldest that has what the nodes say."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from toolkit.errors import ToolkitError, UnsupportedOperatorError
from toolkit.graph.edit import call_of, where
from toolkit.graph.shapes.node import check_inputs

ML = "ai.onnx.ml"


def oldest_version(scope: ir.Graph | ir.Function) -> int:
    """The oldest version of `ai.onnx.ml` that takes all its nodes in a graph or function.

    Raises:
        UnsupportedOperatorError: No version takes them all: TreeEnsemble came when the older tree
            ensembles went.
    """
    versions = set(range(1, onnx.defs.onnx_ml_opset_version() + 1))
    for node in scope.all_nodes():
        if node.domain != ML:
            continue
        fitting = {v for v in versions if _takes(node, v)}
        if not fitting:
            need = f"one version of {ML} for all its operators is required"
            raise UnsupportedOperatorError(f"{where(node)}: {need}, got another before.")
        versions = fitting
    return min(versions)


def _takes(node: ir.Node, version: int) -> bool:
    try:
        schema = onnx.defs.get_schema(node.op_type, version, ML)
    except onnx.defs.SchemaError:
        return False
    if schema.deprecated or not set(node.attributes) <= set(schema.attributes):
        return False
    try:
        check_inputs(call_of(node), schema)
    except ToolkitError:
        return False
    return True
