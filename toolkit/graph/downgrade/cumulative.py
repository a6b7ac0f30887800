"""Rules of operators that run along an axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit


@before("CumProd", opset=26)
def cum_prod_26(edit: Edit) -> None:
    """A Scan along the axis whose state is the product so far."""
    x, rank = edit.node.inputs[0], edit.rank(edit.node.inputs[0])
    axes = edit.constant_of(1)
    if x is None or x.dtype is None or rank is None or axes is None:
        raise edit.fail("a known element type, rank and axis are required before opset 26", "none")
    axis = int(axes.reshape(-1)[0]) % rank
    others = edit.const([i for i in range(rank) if i != axis], np.int64, "others")
    shape = edit.op("Gather", [edit.op("Shape", [x]), others])
    ones = edit.op("Expand", [edit.const(1, x.dtype.numpy(), "one"), shape])
    state, element = (
        ir.Value(name=edit.names.new(n), type=ir.TensorType(x.dtype)) for n in ("state", "element")
    )
    product = ir.Node("", "Mul", [state, element], num_outputs=1)
    given = ir.Node("", "Identity", [state if edit.get("exclusive", 0) else product.outputs[0]])
    for node in (product, given):
        node.outputs[0].name = edit.names.new(node.op_type)
    results = [product.outputs[0], given.outputs[0]]
    body = ir.Graph([state, element], results, nodes=[product, given], name="step")
    way = [int(edit.get("reverse", 0))]
    attributes = [
        ir.AttrGraph("body", body),
        ir.AttrInt64("num_scan_inputs", 1),
        ir.AttrInt64s("scan_input_axes", [axis]),
        ir.AttrInt64s("scan_output_axes", [axis]),
        ir.AttrInt64s("scan_input_directions", way),
        ir.AttrInt64s("scan_output_directions", way),
    ]
    edit.replace(edit.op("Scan", [ones, x], attributes, 2)[1])
