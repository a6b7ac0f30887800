"""Pad with the input axes, which onnxruntime's transpose optimizer takes for pads of all axes."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.graph.build import constant_of
from toolkit.graph.pads import positions
from toolkit.graph.targets.registry import Call

V = Any  # An ir.Value under `arithmetic`.


def names_axes(node: ir.Node) -> bool:
    """Whether a node is a Pad of chosen axes that can be written as one of all axes."""
    if node.op_type != "Pad" or node.domain or len(node.inputs) < 4 or node.inputs[3] is None:
        return False
    x = node.inputs[0]
    return x is not None and x.shape is not None and constant_of(node.inputs[3]) is not None


def full_pad(c: Call, x: V, pads: V, value: V = None, axes: V = None) -> V:
    """Pads of all axes: Gather(Concat(pads, 0), positions)."""
    if axes is None or not names_axes(c.node):
        return None
    b = c.b
    places = positions(c.constant(axes, "axes").tolist(), c.rank(x))
    full = b.Gather(b.Concat(pads, b.const([0], pads.dtype), axis=0), places)
    return b.Pad(x, full, value, **c.attributes)
