"""Adapters of the activations: Selu, Clip, PRelu, Softmax, LogSoftmax, Hardmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Selu", to=6)
def selu_6(edit: Edit) -> None:
    """Defaults became more exact: the old ones (alpha 1.6732, gamma 1.0507) are written out."""
    edit.put("alpha", float(edit.get("alpha", 1.6732)))
    edit.put("gamma", float(edit.get("gamma", 1.0507)))


@adapter("PRelu", to=7)
def prelu_7(edit: Edit) -> None:
    """A slope of shape (C,) stood for the channels; now it broadcasts: (C,) -> (C, 1, ..., 1)."""
    x, slope = edit.input(0), edit.input(1)
    rank = edit.rank(x)
    if slope is None or edit.rank(slope) != 1 or rank == 2:
        return
    if slope.shape is not None and slope.shape[0] == 1:
        return
    if rank is None:
        raise edit.fail("the rank of X is required to align slope", "an unknown rank")
    axes = edit.const(list(range(1, rank - 1)), wish="axes")
    edit.set_inputs(x, edit.op("Unsqueeze", [slope, axes]))


@adapter("Clip", to=11)
def clip_11(edit: Edit) -> None:
    """Attributes min, max -> scalar inputs of the element type of the input."""
    x = edit.node.inputs[0]
    assert x is not None
    bounds: list[ir.Value | None] = []
    for name in ("min", "max"):
        value = edit.pop(name, None)
        edge = np.finfo(np.float32).max
        if value is None or (abs(value) >= edge and (value < 0) == (name == "min")):
            bounds.append(None)
        else:
            bounds.append(edit.const_like(value, x, name))
    edit.set_inputs(x, *bounds)


@adapter("Softmax", "LogSoftmax", "Hardmax", to=13)
def softmax_13(edit: Edit) -> None:
    """Over all axes from `axis` (default 1) on -> along the one axis.

    1. axis is the last one: y = Softmax(x, axis=-1).
    2. else: y = Reshape(Softmax(Flatten(x, axis), axis=-1), Shape(x)).
    """
    x = edit.node.inputs[0]
    axis = edit.get("axis", 1)
    rank = edit.rank(x)
    if rank is not None and axis % max(rank, 1) == rank - 1:
        edit.put("axis", -1)
        return
    flat = edit.op("Flatten", [x], {"axis": axis})
    y = edit.op(edit.node.op_type, [flat], {"axis": -1})
    edit.added[-1].name = edit.node.name
    edit.replace(edit.op("Reshape", [y, edit.op("Shape", [x])]))
