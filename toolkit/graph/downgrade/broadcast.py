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
    """Inputs of several shapes -> each expanded to the common one.

    That must be known, or be surely the shape of one of them.
    """
    if _equal_shapes(edit):
        return
    output, inputs = edit.node.outputs[0], [v for v in edit.node.inputs if v is not None]
    dims = _known(output)
    whole = [v for v in inputs if _is_named(v.shape) and v.shape == output.shape]
    rest = [v for v in inputs if (dims_of := _known(v)) is None or set(dims_of) - {1}]
    if not whole and len(rest) == 1 and edit.rank(rest[0]) == edit.rank(output):
        whole = rest  # All others hold one element.
    if dims is None and not whole:
        raise edit.fail("a known shape of the output is required before opset 8", "another")
    target = edit.op("Shape", [whole[0]]) if dims is None else edit.const(dims, wish="shape")
    edit.set_inputs(*[v if v in whole else edit.op("Expand", [v, target]) for v in inputs])


@before("Expand", opset=8)
def expand_8(edit: Edit) -> None:
    """Tile(Reshape(x, its shape with leading ones), repeats); the shape of x must be known.

    repeats is shape where the aligned dimension of x is 1, else 1.
    """
    x, shape = edit.node.inputs
    assert x is not None and shape is not None
    source, rank = _known(x), edit.rank(edit.node.outputs[0])
    length = None if shape.shape is None else shape.shape[0]
    if source is None or rank is None or (length != rank and edit.constant_of(1) is None):
        raise edit.fail("a known shape of input is required before opset 8", "another")
    padded = [1] * (rank - len(source)) + source
    aligned = x if padded == source else edit.op("Reshape", [x, edit.const(padded)])
    numbers = edit.constant_of(1)
    if numbers is not None:
        wanted = [1] * (rank - numbers.size) + numbers.tolist()
        repeats = edit.const([w if d == 1 else 1 for w, d in zip(wanted, padded, strict=True)])
    else:
        ones = [int(d == 1) for d in padded]
        repeats = edit.op("Mul", [shape, edit.const(ones)])
        repeats = edit.op("Add", [repeats, edit.const([1 - one for one in ones])])
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
    return len(shapes) == 1 or (_is_named(shapes[0]) and all(s == shapes[0] for s in shapes))


def _is_named(shape: ir.Shape | None) -> bool:
    return shape is not None and all(isinstance(d, int) or d.value is not None for d in shape)


def _known(value: ir.Value | None) -> list[int] | None:
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return [int(d) for d in value.shape.numpy()]
