"""Removal of what no output needs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass


class DeadCodePass(ir.passes.InPlacePass):
    """Removes what no output needs; the model's inputs stay.

    1. A node none of whose outputs is used is removed, in subgraphs and functions too.
    2. An optional output that is not used is left out.
    3. An initializer that is not used, and is no input, is removed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        changed = RemoveUnusedNodesPass()(model).modified
        for graph in model.graph.subgraphs():
            for name, value in list(graph.initializers.items()):
                if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                    del graph.initializers[name]
                    changed = True
        return ir.passes.PassResult(model, changed)
