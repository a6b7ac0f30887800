"""Adapters of the operators that pick and place elements."""

from __future__ import annotations

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Slice", to=10)
def slice_10(edit: Edit) -> None:
    """Attributes starts, ends, axes -> inputs."""
    inputs = [edit.attribute_as_input(name) for name in ("starts", "ends", "axes")]
    edit.set_inputs(edit.node.inputs[0], *inputs)


@adapter("TopK", to=10)
def top_k_10(edit: Edit) -> None:
    """Attribute k -> input."""
    edit.set_inputs(edit.node.inputs[0], edit.attribute_as_input("k"))


@adapter("Scatter", to=11)
def scatter_11(edit: Edit) -> None:
    """Scatter is ScatterElements."""
    edit.node.op_type = "ScatterElements"
