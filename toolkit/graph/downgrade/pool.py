"""Rules of the pools."""

from __future__ import annotations

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit, call_of
from toolkit.graph.shapes.node import infer_call


@before("MaxPool", "AveragePool", "LpPool", opset=22)
def pool_22(edit: Edit) -> None:
    """With ceil_mode a last window that lies in the padding is left out since opset 22."""
    if not edit.get("ceil_mode", 0):
        return
    shape = edit.node.outputs[0].shape
    older = infer_call(call_of(edit.node), 21)[0].dims
    if shape is not None and older is not None and list(shape.dims) != list(older):
        raise edit.fail("opset 22 is required for this ceil_mode", "an older one")
