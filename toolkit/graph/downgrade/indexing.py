"""Rules of the operators that pick and place elements."""

from __future__ import annotations

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit

_OLD_REDUCTIONS = ("none", "add", "mul")


@before("ScatterElements", "ScatterND", opset=18)
def scatter_18(edit: Edit) -> None:
    """Reductions min and max came with opset 18."""
    reduction = edit.get("reduction", "none")
    if reduction not in _OLD_REDUCTIONS:
        raise edit.fail("reduction none, add or mul is required before opset 18", reduction)


@before("ScatterElements", opset=11)
def scatter_elements_11(edit: Edit) -> None:
    """ScatterElements was Scatter."""
    edit.node.op_type = "Scatter"
