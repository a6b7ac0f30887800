"""Adapters of the reductions."""

from __future__ import annotations

import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.elementwise import through_float
from toolkit.graph.upgrade.registry import adapter

_REDUCTIONS = """ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSumSquare"""


@adapter("ReduceSum", to=13)
@adapter(*_REDUCTIONS.split(), to=18)
def axes_as_input(edit: Edit) -> None:
    """Attribute axes -> input; without axes, or with none named, all are reduced as before."""
    attr = edit.node.attributes.get("axes")
    if attr is not None and not attr.is_ref() and not attr.value:
        edit.pop("axes")
    edit.set_inputs(edit.node.inputs[0], edit.attribute_as_input("axes"))


@adapter("ReduceLogSum", "ReduceLogSumExp", to=28)
def reduce_log_28(edit: Edit) -> None:
    """Integers are no longer taken: Cast to double, reduce, Cast back."""
    through_float(edit, ir.DataType.DOUBLE)
