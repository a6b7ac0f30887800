"""An LSTM hands its pre-activations to its gradient, which would compute them again.

`LSTM(...) -> Y` and `LSTMGrad(..., Y, ...)` of the same inputs in one program: both become fused,
with one value more between them, of size (time x batch, gates).
"""

from __future__ import annotations

from itertools import zip_longest

import onnx_ir as ir

from toolkit.runtime.constants import native_attributes
from toolkit.runtime.passes.region import FusedNode, Node, Region

ORDER = 10
_OPERANDS, _GRAD_INPUTS = 8, 12  # Of LSTM; of LSTMGrad: those, Y and three cotangents.
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node.domain == "toolkit.grad" and node.op_type == "LSTMGrad":
            _join(region, node)


def _join(region: Region, grad: Node) -> None:
    y = grad.inputs[_OPERANDS]
    node = region.producer(y)
    if y is None or y.dtype not in _FLOATS or not isinstance(node, ir.Node):
        return
    if node.domain != "" or node.op_type != "LSTM" or node.outputs[0] is not y:
        return
    same = zip_longest(node.inputs, grad.inputs[:_OPERANDS])
    attributes = native_attributes(node.attributes.values())
    if any(a is not b for a, b in same) or not isinstance(grad, ir.Node):
        return
    if native_attributes(grad.attributes.values()) != attributes:
        return
    gates = ir.Value(name=f"{node.name}.gates")
    left_out = [ir.Value(name="") for _ in range(3 - len(node.outputs))]
    outputs = [*node.outputs, *left_out, gates]
    region.replace([node], FusedNode("LSTM", node.inputs, outputs, attributes, node.name or ""))
    absent = [None] * (_GRAD_INPUTS - len(grad.inputs))
    region.replace(
        [grad],
        FusedNode(
            "LSTMGrad", [*grad.inputs, *absent, gates], grad.outputs, attributes, grad.name or "",
            "toolkit.grad",
        ),
    )  # fmt: skip
