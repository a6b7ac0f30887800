"""Brings a model at the canonical opset down to an older one."""

from __future__ import annotations

import onnx_ir as ir


def downgrade(model: ir.Model, opset: int) -> None:
    """Rewrites `model` in place to `opset`."""
    model.graph.opset_imports[""] = opset
    for function in model.functions.values():
        function.opset_imports[""] = opset
