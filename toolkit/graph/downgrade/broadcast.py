"""Rules of what was not broadcast before opset 8, and of Expand and ConstantOfShape."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit


@before("Sum", opset=8)
def sum_8(edit: Edit) -> None:
    """Inputs of several shapes -> a chain of Add, which broadcasts."""
    if not _equal_shapes(edit):
        edit.replace(_added(edit))


@before("Mean", opset=8)
def mean_8(edit: Edit) -> None:
    """Inputs of several shapes -> a chain of Add, divided by their number."""
    if _equal_shapes(edit):
        return
    total = _added(edit)
    count = edit.const_like(float(len(edit.node.inputs)), total, "count")
    edit.replace(edit.op("Div", [total, count]))


@before("Max", "Min", opset=8)
def extremum_8(edit: Edit) -> None:
    """Inputs of several shapes -> each expanded to the common one, which must be known."""
    if _equal_shapes(edit):
        return
    dims = _known(edit.node.outputs[0])
    if dims is None:
        need = "inputs of one shape, or a known shape of the output are required before opset 8"
        raise edit.fail(need, "another")
    target = edit.const(dims, wish="shape")
    inputs = [
        v if v is None or _known(v) == dims else edit.op("Expand", [v, target])
        for v in edit.node.inputs
    ]
    edit.set_inputs(*inputs)


@before("Expand", opset=8)
def expand_8(edit: Edit) -> None:
    """Tile(Reshape(x, its shape with leading ones), repeats) for known shapes.

    For any shape where x has one element: Tile(Reshape(x, [1] * rank), shape).
    """
    x, shape = edit.node.inputs
    source, target = _known(x), _known(edit.node.outputs[0])
    if source is None:
        raise edit.fail("a known shape of input is required before opset 8", "another")
    if target is not None:
        padded = [1] * (len(target) - len(source)) + source
        repeats = edit.const([t // s if s else 1 for s, t in zip(padded, target, strict=True)])
    else:
        rank = edit.rank(edit.node.outputs[0])
        if rank is None or any(d != 1 for d in source) or rank < len(source):
            raise edit.fail("a known shape is required before opset 8", "another")
        padded, repeats = [1] * rank, shape
    aligned = x if padded == source else edit.op("Reshape", [x, edit.const(padded)])
    edit.replace(edit.op("Tile", [aligned, repeats]))


@before("ConstantOfShape", opset=9)
def constant_of_shape_9(edit: Edit) -> None:
    """Expand(value, shape)."""
    value = edit.get("value", None)
    array = np.zeros(1, np.float32) if value is None else np.asarray(value.numpy())
    scalar = edit.const(array.reshape(()), array.dtype, "value")
    edit.replace(edit.op("Expand", [scalar, edit.node.inputs[0]]))


def _added(edit: Edit) -> ir.Value:
    first, *rest = edit.node.inputs
    assert first is not None
    total: ir.Value = first
    for value in rest:
        total = edit.op("Add", [total, value])
    return total


def _equal_shapes(edit: Edit) -> bool:
    """Whether the inputs surely have one shape."""
    shapes = [None if v is None else v.shape for v in edit.node.inputs]
    first = shapes[0]
    if len(shapes) == 1:
        return True
    known = first is not None and all(isinstance(d, int) or d.value is not None for d in first)
    return known and all(s == first for s in shapes)


def _known(value: ir.Value | None) -> list[int] | None:
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return [int(d) for d in value.shape.numpy()]
