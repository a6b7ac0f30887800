"""Brings a loaded model of any opset to the canonical one."""

from __future__ import annotations

import onnx_ir as ir

CANONICAL_OPSET = 28


def upgrade(model: ir.Model) -> None:
    """Rewrites `model` in place to `CANONICAL_OPSET`."""
    model.graph.opset_imports[""] = CANONICAL_OPSET
    for function in model.functions.values():
        if "" in function.opset_imports:
            function.opset_imports[""] = CANONICAL_OPSET
