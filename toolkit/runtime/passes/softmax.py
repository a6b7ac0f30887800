"""Softmax written out becomes Softmax.

`Div(e, ReduceSum(e, axis))` with e = `Exp(Sub(x, ReduceMax(x, axis)))`, both reductions over the
same constant axis and with keepdims -> `Softmax(x, axis)`. Without the maximum it stays: it
overflows where Softmax does not.
"""

from __future__ import annotations

import onnx_ir as ir

from toolkit.runtime.passes.match import become, made_by
from toolkit.runtime.passes.region import Node, Region, attribute

ORDER = 10


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node in region and node.domain == "" and node.op_type == "Div":
            _match(region, node)


def _match(region: Region, div: Node) -> None:
    e, total = div.inputs[:2]
    exp, reduce = made_by(region, e, "Exp"), made_by(region, total, "ReduceSum")
    if exp is None or reduce is None or reduce.inputs[0] is not e:
        return
    sub = made_by(region, exp.inputs[0], "Sub")
    if sub is None or sub.inputs[0] is None:
        return
    x, largest = sub.inputs[:2]
    top = made_by(region, largest, "ReduceMax")
    if x is None or top is None or top.inputs[0] is not x:
        return
    axis = one_axis(region, reduce, x)
    if axis is None or axis != one_axis(region, top, x):
        return
    become(region, [div, exp, reduce, sub, top], "Softmax", [x], {"axis": axis})


def one_axis(region: Region, node: Node, x: ir.Value) -> int | None:
    """The one axis, from 0, that a reduction of `x` keeps with size 1."""
    axes = region.array(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or axes.size != 1 or x.shape is None or not attribute(node, "keepdims", 1):
        return None
    axis, rank = int(axes.reshape(())), len(x.shape)
    return axis % rank if -rank <= axis < rank else None
