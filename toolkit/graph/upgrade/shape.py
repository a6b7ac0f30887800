"""Adapters of the operators that change or repeat shapes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Concat", to=4)
def concat_4(edit: Edit) -> None:
    """Attribute axis has no default any more: it was 1."""
    edit.put("axis", edit.get("axis", 1))


@adapter("Reshape", to=5)
def reshape_5(edit: Edit) -> None:
    """Attribute shape -> input."""
    shape = edit.attribute_as_input("shape")
    edit.set_inputs(edit.node.inputs[0], shape if shape is not None else edit.const([]))


@adapter("Squeeze", "Unsqueeze", to=13)
def squeeze_13(edit: Edit) -> None:
    """Attribute axes -> input."""
    edit.set_inputs(edit.node.inputs[0], edit.attribute_as_input("axes"))


@adapter("Split", to=2)
def split_2(edit: Edit) -> None:
    """The optional input split -> what opset 13 has again; axis defaults to 0."""
    edit.put("axis", edit.get("axis", 0) or 0)


@adapter("Split", to=13)
def split_13(edit: Edit) -> None:
    """Attribute split -> input."""
    split = edit.attribute_as_input("split")
    edit.set_inputs(edit.node.inputs[0], split if split is not None else edit.input(1))


@adapter("Split", to=18)
def split_18(edit: Edit) -> None:
    """Without split the number of outputs is said: num_outputs."""
    if edit.input(1) is None:
        edit.put("num_outputs", len(edit.node.outputs))


@adapter("Pad", to=2)
def pad_2(edit: Edit) -> None:
    """Attribute paddings -> pads."""
    edit.put("pads", edit.pop("paddings"))


@adapter("Pad", to=11)
def pad_11(edit: Edit) -> None:
    """Attributes pads, value -> inputs; value in the element type of data."""
    data = edit.node.inputs[0]
    assert data is not None
    value = edit.pop("value", 0.0)
    fill = edit.const_like(value, data, "value") if value else None
    edit.set_inputs(data, edit.attribute_as_input("pads"), fill)


@adapter("Tile", to=6)
def tile_6(edit: Edit) -> None:
    """Inputs tiles, axis (two scalars) -> repeats, a number for each axis.

    repeats = Where(Range(0, rank) == axis, tiles, 1)
    """
    x, tiles, axis = edit.node.inputs
    rank = edit.op("Size", [edit.op("Shape", [x])])
    positions = edit.op("Range", [edit.const(0), rank, edit.const(1)])
    whole = {"to": int(ir.DataType.INT64)}
    chosen = edit.op("Equal", [positions, edit.op("Cast", [axis], whole)])
    count = edit.op("Cast", [tiles], whole)
    edit.set_inputs(x, edit.op("Where", [chosen, count, edit.const(1)]))


@adapter("DFT", to=20)
def dft_20(edit: Edit) -> None:
    """Attribute axis (default 1) -> input."""
    axis = edit.const(edit.pop("axis", 1), np.int64, "axis")
    edit.set_inputs(edit.node.inputs[0], edit.input(1), axis)
